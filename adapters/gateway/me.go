package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
)

// MeResource is what a ticket for the WebSocket of one's own things is bound to.
const MeResource = "me"

// Me serves GET /ws/me.
func (g *Gateway) Me(w http.ResponseWriter, r *http.Request) {
	who, err := g.authenticate(r, MeResource)
	if err == nil {
		err = who.Allow(domain.ScopeJobsRead)
	}
	if err = g.admit(r, who, err); err != nil {
		refuse(w, err)
		return
	}
	// From before the client knows that it is connected, so that it misses nothing.
	news := g.subscribe(who)
	conn, err := g.owners.Upgrade(w, r, nil)
	if err != nil {
		news.cancel()
		return // the upgrader has answered
	}
	conn.SetReadLimit(viewerLimit)
	v := &viewer{g: g, who: who, conn: conn}
	if !g.take(conn, func() { v.tell(news) }) {
		news.cancel()
	}
}

// news is everything that happens to what somebody owns.
type news struct {
	jobs, hosts, busy, loads <-chan []byte
	cancel                   func()
}

// subscribe listens for an account. Without the scope to read hosts, theirs stay silent.
func (g *Gateway) subscribe(who domain.Actor) news {
	var n news
	var cancels []func()
	listen := func(topic string) <-chan []byte {
		messages, cancel := g.Live.Subscribe(topic)
		cancels = append(cancels, cancel)
		return messages
	}
	n.jobs = listen(jobs.RenterTopic(who.User))
	if who.Allow(domain.ScopeHostsRead) == nil {
		n.hosts, n.busy = listen(hosts.OwnerTopic(who.User)), listen(jobs.HostsTopic(who.User))
		n.loads = listen(hosts.LoadTopic(who.User))
	}
	n.cancel = func() {
		for _, cancel := range cancels {
			cancel()
		}
	}
	return n
}

// tell sends what happens until the connection ends.
func (v *viewer) tell(n news) {
	defer n.cancel()
	ctx, cancel := v.g.Identity.Lasting(v.g.ctx, v.who)
	defer cancel()
	var reading sync.WaitGroup
	defer reading.Wait()
	defer v.conn.Close() //nolint:errcheck // wakes the reader
	reading.Go(func() {
		defer cancel()
		v.drain()
	})
	ping := time.NewTicker(viewerPing)
	defer ping.Stop()
	for ok := true; ok; {
		select {
		case <-ctx.Done():
			v.over(ctx)
			return
		case message := <-n.jobs:
			ok = v.tellJob(ctx, message)
		case message := <-n.hosts:
			ok = v.tellHost(ctx, message)
		case message := <-n.busy:
			ok = v.tellHost(ctx, message)
		case message := <-n.loads:
			ok = v.tellLoad(message)
		case <-ping.C:
			ok = v.ping()
		}
	}
}

// resync tells the viewer to read its lists again, because messages were lost.
func (v *viewer) resync() bool { return v.text(map[string]any{"type": "resync"}) }

func (v *viewer) tellJob(ctx context.Context, message []byte) bool {
	view, known, err := v.g.Jobs.ToldInList(ctx, v.who, message)
	switch {
	case err != nil:
		return v.lost(ctx, err)
	case !known:
		return v.resync()
	}
	return v.text(map[string]any{"type": "job", "job": v.g.JobJSON(view)})
}

func (v *viewer) tellHost(ctx context.Context, message []byte) bool {
	id, change, ok := hosts.ReadChange(message)
	if !ok {
		return v.resync()
	}
	view, handle, err := v.g.Hosts.Told(ctx, v.who, id, change)
	if err != nil {
		return v.lost(ctx, err)
	}
	return v.text(map[string]any{"type": "host", "host": v.g.HostJSON(view, handle, v.g.Hosts.Settings().Currency)})
}

func (v *viewer) tellLoad(message []byte) bool {
	var l hosts.Loads
	if message == nil {
		return true // the next heartbeat tells it all
	}
	if err := json.Unmarshal(message, &l); err != nil {
		v.g.Log.Error("a load cannot be read", "error", err)
		return true
	}
	return v.text(map[string]any{
		"type": "load", "host_id": l.Host.Prefixed("hst"), "time": l.At, "devices": v.g.LoadJSON(l.Devices),
	})
}

// lost says that something cannot be shown: the viewer asks for itself.
func (v *viewer) lost(ctx context.Context, err error) bool {
	if ctx.Err() == nil {
		v.g.Log.WarnContext(ctx, "a change cannot be told", "error", err)
	}
	return v.resync()
}
