package gateway

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/openapi/wire"
)

// callsTopic is where replicas call for agents that are connected elsewhere: the kind of the
// call, the host, and what the kind needs.
const callsTopic = "agents"

const (
	callWake  = 'w' // look for orders
	callClose = 'c' // end the session, for the reason that follows
	callFence = 'f' // end sessions older than the epoch that follows, 8 bytes, big endian
)

func (c *Channels) tell(kind byte, host domain.ID, more []byte) {
	c.live.Elsewhere(callsTopic, slices.Concat([]byte{kind}, host[:], more))
}

// fence ends the sessions of a host at other replicas that are older.
func (c *Channels) fence(host domain.ID, epoch int64) {
	c.tell(callFence, host, binary.BigEndian.AppendUint64(nil, uint64(epoch)))
}

// Listen answers the calls of other replicas until ctx ends. A call that is lost costs
// time: orders are looked for every two seconds, and sessions are looked over at once when
// that messages were lost is known.
func (g *Gateway) Listen(ctx context.Context) error {
	calls, cancel := g.Live.Subscribe(callsTopic)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return nil
		case call := <-calls:
			if call == nil {
				g.lookOver(ctx)
				continue
			}
			g.channels.hear(call)
		}
	}
}

// hear does what a call of another replica asks for.
func (c *Channels) hear(call []byte) {
	var host domain.ID
	if len(call) < 1+len(host) {
		return
	}
	copy(host[:], call[1:])
	s, more := c.find(host), call[1+len(host):]
	if s == nil {
		return
	}
	switch call[0] {
	case callWake:
		s.wake()
	case callClose:
		c.close(host, string(more))
	case callFence:
		if len(more) == 8 && uint64(s.Epoch) < binary.BigEndian.Uint64(more) {
			go s.end(wire.CloseFenced, "a newer session of this host took over")
		}
	}
}

// lookOver ends the sessions of hosts that may not be connected any more. Where that cannot
// be said they go on.
func (g *Gateway) lookOver(ctx context.Context) {
	for _, s := range g.channels.all() {
		if ctx.Err() != nil {
			return
		}
		switch err := g.Hosts.Admit(ctx, s.who); domain.KindOf(err) {
		case domain.KindForbidden, domain.KindNotFound:
			s.refuse(err)
			s.cancel()
		default:
			continue
		}
	}
}
