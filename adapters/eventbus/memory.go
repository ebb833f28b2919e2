// Package eventbus is for carrying events to their reactions: a bus inside the
// process, one for several over Redis, and the relay that feeds a bus from the outbox.
//
// No bus drops an event that cannot be handled. The outbox keeps it, its key waits,
// and the relay tries again; there is no queue for poisoned messages beside it.
package eventbus

import (
	"context"
	"errors"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/peergpu/peergpu/domain"
)

// Memory is the bus inside one process. Nothing of it is durable, so Publish waits
// until every consumer has handled the event. Events of different keys are handled at
// the same time, those of one key in the order of the calls.
type Memory struct {
	*bus
	channel *gochannel.GoChannel
}

// NewMemory makes a bus.
func NewMemory(log *slog.Logger) *Memory {
	b := newBus(log)
	// The publisher's context reaches the handlers: its end, its trace, and the delivery.
	return &Memory{b, gochannel.NewGoChannel(gochannel.Config{PreserveContext: true}, b.log)}
}

// Run implements ports.Bus. It is called once.
func (b *Memory) Run(ctx context.Context) error {
	err := b.run(ctx, func(r *message.Router) {
		for typ, consumers := range b.consumers {
			for _, c := range consumers {
				attach(ctx, r, c.name+" "+typ, typ, b.channel, func(msg *message.Message) error {
					return c.handle(msg.Context(), deliveryOf(msg.Context()).event)
				}, func(msg *message.Message, err error) { deliveryOf(msg.Context()).answer(c.name, err) })
			}
		}
	})
	return errors.Join(err, b.channel.Close())
}

// Publish implements ports.Bus. Before Run it waits for it.
func (b *Memory) Publish(ctx context.Context, e domain.Event) error {
	d, over, err := b.begin(ctx, e)
	if d == nil || err != nil {
		return err
	}
	msg := message.NewMessageWithContext(context.WithValue(ctx, deliveryKey{}, d), e.ID.String(), message.Payload(e.Data))
	if err := b.channel.Publish(e.Type, msg); err != nil {
		over()
		return errStopped.With(err)
	}
	// The key is free when the handlers have returned, also when nobody waits for that
	// any more: the next event must not overtake them.
	go func() {
		select {
		case <-d.done:
		case <-b.stopped: // it may have been thrown away on the way
		}
		over()
	}()
	select {
	case <-d.done:
		return d.err()
	case <-ctx.Done():
		return ctx.Err()
	case <-b.stopped:
	}
	select {
	case <-d.done:
		return d.err()
	default:
		return errStopped
	}
}

// The delivery travels in the context of the messages.
type deliveryKey struct{}

func deliveryOf(ctx context.Context) *delivery {
	return ctx.Value(deliveryKey{}).(*delivery) //nolint:forcetypeassert // nothing else is published here
}
