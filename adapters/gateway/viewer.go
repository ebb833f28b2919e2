package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/peergpu/peergpu/application/identity"
	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
)

const (
	viewerPing  = 20 * time.Second
	viewerLimit = 64 << 10 // of a frame that a viewer sends
)

// viewer is somebody who watches something.
type viewer struct {
	g    *Gateway
	who  domain.Actor
	job  domain.ID // zero: everything of their own
	conn *websocket.Conn

	writing sync.Mutex
}

// JobResource is what a ticket for a job's WebSocket is bound to.
func JobResource(job domain.ID) string { return "job:" + job.String() }

// Job serves GET /ws/job/{job_id}; job is the id as it stands in the path.
func (g *Gateway) Job(w http.ResponseWriter, r *http.Request, job string) {
	id, err := domain.ParsePrefixed("job", job)
	if err != nil {
		refuse(w, err)
		return
	}
	who, err := g.authenticate(r, JobResource(id))
	if err = g.admit(r, who, err); err != nil {
		refuse(w, err)
		return
	}
	view, err := g.Jobs.Get(r.Context(), who, id)
	if err != nil {
		refuse(w, err)
		return
	}
	from, attempt, err := position(r)
	if err != nil {
		refuse(w, err)
		return
	}
	conn, err := g.viewers.Upgrade(w, r, nil)
	if err != nil {
		return // the upgrader has answered
	}
	conn.SetReadLimit(viewerLimit)
	v := &viewer{g: g, who: who, job: id, conn: conn}
	g.take(conn, func() { v.serve(view, from, attempt) })
}

// authenticate takes a bearer token, or the ticket that a browser sends as a
// subprotocol.
func (g *Gateway) authenticate(r *http.Request, resource string) (domain.Actor, error) {
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return g.Identity.Authenticate(r.Context(), bearer)
	}
	for _, p := range websocket.Subprotocols(r) {
		if ticket, ok := strings.CutPrefix(p, ticketPrefix); ok {
			return g.Identity.Redeem(r.Context(), ticket, resource)
		}
	}
	return domain.Actor{}, domain.Unauthenticated("send a bearer token or a ticket")
}

func position(r *http.Request) (from int64, attempt int, err error) {
	q := r.URL.Query()
	if s := q.Get("from"); s != "" {
		if from, err = strconv.ParseInt(s, 10, 64); err != nil || from < 0 {
			return 0, 0, domain.Invalid("invalid_offset", "from is a number of bytes")
		}
	}
	if s := q.Get("attempt"); s != "" {
		if attempt, err = strconv.Atoi(s); err != nil || attempt < 1 {
			return 0, 0, domain.Invalid("invalid_attempt", "attempt is a number from 1")
		}
	}
	return from, attempt, nil
}

func (v *viewer) serve(view jobs.View, from int64, attempt int) {
	ctx, cancel := v.g.Identity.Lasting(v.g.ctx, v.who)
	defer cancel()
	var tasks sync.WaitGroup
	defer tasks.Wait()
	// The last to begin is the first to end: the reader ends when the connection does.
	defer v.conn.Close() //nolint:errcheck // wakes the reader
	tasks.Go(func() {
		defer cancel()
		v.drain()
	})
	tasks.Go(func() {
		defer cancel()
		v.watch(ctx, view)
	})
	v.follow(ctx, from, attempt)
	v.over(ctx)
	cancel()
}

// over tells the viewer if it ends because they may look no longer.
func (v *viewer) over(ctx context.Context) {
	if errors.Is(context.Cause(ctx), identity.ErrOver) {
		v.close(4401, "the session is over")
	}
}

// watch sends the job whenever it changed, and pings.
func (v *viewer) watch(ctx context.Context, view jobs.View) {
	changes, cancel := v.g.Live.Subscribe(jobs.JobTopic(v.job))
	defer cancel()
	ping := time.NewTicker(viewerPing)
	defer ping.Stop()
	for v.text(map[string]any{"type": "job", "job": v.g.JobJSON(view)}) {
		var news []byte
		select {
		case <-ctx.Done():
			return
		case news = <-changes:
		case <-ping.C:
			if !v.ping() {
				return
			}
		}
		fresh, err := v.g.Jobs.Told(ctx, v.who, v.job, news)
		if err != nil {
			return
		}
		view = fresh
	}
}

// drain reads until the connection ends. Viewers have nothing to say, but their answers
// to pings have to be read.
func (v *viewer) drain() {
	for {
		if _, _, err := v.conn.ReadMessage(); err != nil {
			return
		}
	}
}

// ping looks whether the viewer is there.
func (v *viewer) ping() bool {
	return v.conn.WriteControl(websocket.PingMessage, nil, v.g.Clock.Now().Add(writeTimeout)) == nil
}

// follow sends the log of the latest attempt, and of those that come after it, until
// the job has ended. from is an offset in the log of the attempt that the viewer has
// seen; 0 is none.
func (v *viewer) follow(ctx context.Context, from int64, seen int) {
	last := 0
	for ctx.Err() == nil {
		log, err := v.g.Jobs.OpenLog(ctx, v.who, v.job, 0)
		if err != nil {
			return
		}
		if before := max(seen, last); before != 0 && log.Attempt > before {
			from = 0
			v.text(map[string]any{"type": "reset", "attempt": log.Attempt})
		}
		if log.Attempt == last && last != 0 {
			if !v.waitForNext(ctx, last) {
				return
			}
			continue
		}
		err = log.Follow(ctx, v.who, from, func(batch []byte) error { return v.binary(batch) })
		if err != nil {
			return
		}
		last = log.Attempt
		if log.Seen.State.Terminal() && log.Seen.Attempt() == last {
			view, err := v.g.Jobs.Show(ctx, v.who, log.Seen)
			if err != nil {
				return
			}
			v.text(map[string]any{"type": "job", "job": v.g.JobJSON(view)})
			v.text(map[string]any{"type": "end"})
			v.close(websocket.CloseNormalClosure, "")
			return
		}
	}
}

// waitForNext waits until the job has another attempt, or none will come.
func (v *viewer) waitForNext(ctx context.Context, last int) bool {
	changes, cancel := v.g.Live.Subscribe(jobs.JobTopic(v.job))
	defer cancel()
	for {
		view, err := v.g.Jobs.Get(ctx, v.who, v.job)
		if err != nil {
			return false
		}
		if view.Attempt() > last {
			return true
		}
		if view.State.Terminal() {
			v.text(map[string]any{"type": "job", "job": v.g.JobJSON(view)})
			v.text(map[string]any{"type": "end"})
			v.close(websocket.CloseNormalClosure, "")
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-changes:
		}
	}
}

func (v *viewer) text(message any) bool {
	data, err := json.Marshal(message)
	if err != nil {
		v.g.Log.Error("a message cannot be encoded", "job", v.job.Prefixed("job"), "error", err)
		return false
	}
	return v.write(websocket.TextMessage, data) == nil
}

func (v *viewer) binary(batch []byte) error { return v.write(websocket.BinaryMessage, batch) }

func (v *viewer) write(kind int, data []byte) error {
	v.writing.Lock()
	defer v.writing.Unlock()
	if err := v.conn.SetWriteDeadline(v.g.Clock.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return v.conn.WriteMessage(kind, data)
}

func (v *viewer) close(code int, reason string) {
	_ = v.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), v.g.Clock.Now().Add(closeTimeout))
}
