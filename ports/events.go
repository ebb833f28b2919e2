package ports

import (
	"context"

	"github.com/peergpu/peergpu/domain"
)

// Outbox is the queue of events that storage wrote together with the changes that
// recorded them, for the relay.
type Outbox interface {
	// Pending gives the oldest events that are not done, in the order of their Seq.
	// Events of one key keep the order in which they were recorded.
	Pending(ctx context.Context, limit int) ([]domain.Event, error)
	// Done marks events as published; they are never pending again. Marking twice
	// changes nothing.
	Done(ctx context.Context, ids ...domain.ID) error
	// Wake gives a channel that receives soon after this process stored events. It
	// may receive without any; several stores may give one signal.
	Wake() <-chan struct{}
}

// Handler reacts to an event. It may be called more than once for the same event, and
// an error makes the bus try again later.
type Handler func(ctx context.Context, e domain.Event) error

// Bus carries events from the relay to their reactions.
type Bus interface {
	// Publish returns when the event is durable, or for an in-process bus, when every
	// subscriber has handled it. A failed Publish may be repeated.
	Publish(ctx context.Context, e domain.Event) error
	// Subscribe makes handler react, under the name of the consumer, to events of the
	// types. Events of one key arrive in order; an event whose handler fails is tried
	// again before the next of its key. Each consumer gets every event. It is called
	// before Run.
	Subscribe(consumer string, handler Handler, types ...string)
	// Run delivers events until ctx ends, and then returns nil after the handlers that
	// run have returned.
	Run(ctx context.Context) error
}

// Live fans out what is only worth something now: log bytes, load, changes of state.
// It is lossy by design; who needs everything reads storage.
type Live interface {
	// Publish hands data to those who are subscribed to topic now. It never blocks: a
	// subscriber that does not keep up loses messages and is told by a nil message.
	// The data is not changed afterwards by anybody.
	Publish(topic string, data []byte)
	// Elsewhere is Publish to those alone who are subscribed at other replicas.
	Elsewhere(topic string, data []byte)
	// Subscribe receives what is published to topic from now on, in order, until
	// cancel is called; then the channel is closed. Cancelling twice is allowed. What
	// another replica published shortly before may be among it.
	Subscribe(topic string) (messages <-chan []byte, cancel func())
}
