// Package eventbus is for carrying events to their reactions: a bus inside the
// process, and the relay that feeds a bus from the outbox.
//
// No bus drops an event that cannot be handled. The outbox keeps it, its key waits,
// and the relay tries again; there is no queue for poisoned messages beside it.
package eventbus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/faults"
)

// How often a handler is tried before Publish fails: nine times within some 2 s. The
// outbox has the patience for more.
const (
	retries    = 8
	firstRetry = 10 * time.Millisecond
	longest    = time.Second
)

// handlersMayTake is how long Run waits for handlers when it is stopped.
const handlersMayTake = 30 * time.Second

var errStopped = domain.Unavailable("bus_stopped", "the event bus has stopped")

// Memory is the bus inside one process. Nothing of it is durable, so Publish waits
// until every consumer has handled the event. Events of different keys are handled at
// the same time, those of one key in the order of the calls.
type Memory struct {
	log       watermill.LoggerAdapter
	channel   *gochannel.GoChannel
	consumers map[string][]consumer // by type of event; fixed once Run is called
	running   chan struct{}
	stopped   chan struct{}

	mu    sync.Mutex
	tails map[domain.ID]chan struct{} // the latest delivery of a key, closed when it is over
}

type consumer struct {
	name    string
	handler ports.Handler
}

// NewMemory makes a bus. Its own messages about itself are for debugging.
func NewMemory(log *slog.Logger) *Memory {
	logger := watermill.NewSlogLoggerWithLevelMapping(log, map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug})
	return &Memory{
		log: logger,
		// The publisher's context reaches the handlers: its end, its trace, and the delivery.
		channel:   gochannel.NewGoChannel(gochannel.Config{PreserveContext: true}, logger),
		consumers: map[string][]consumer{},
		running:   make(chan struct{}),
		stopped:   make(chan struct{}),
		tails:     map[domain.ID]chan struct{}{},
	}
}

// Subscribe implements ports.Bus. A consumer has one handler for a type.
func (b *Memory) Subscribe(name string, handler ports.Handler, types ...string) {
	for _, typ := range types {
		for _, c := range b.consumers[typ] {
			if c.name == name {
				panic("eventbus: " + name + " subscribes to " + typ + " twice")
			}
		}
		b.consumers[typ] = append(b.consumers[typ], consumer{name, handler})
	}
}

// Run implements ports.Bus. It is called once.
func (b *Memory) Run(ctx context.Context) error {
	defer close(b.stopped)
	if len(b.consumers) == 0 {
		close(b.running)
		<-ctx.Done() // a router without handlers would not see it
		return nil
	}
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: handlersMayTake}, b.log)
	if err != nil {
		return err
	}
	// The first is the outermost: what is left of the retries goes to Publish.
	router.AddMiddleware(settle, middleware.Retry{
		MaxRetries: retries, InitialInterval: firstRetry, MaxInterval: longest, Multiplier: 2,
		ShouldRetry: func(middleware.RetryParams) bool { return ctx.Err() == nil },
	}.Middleware, middleware.Recoverer)
	for typ, consumers := range b.consumers {
		for _, c := range consumers {
			router.AddConsumerHandler(c.name+" "+typ, typ, b.channel, func(msg *message.Message) error {
				if ctx.Err() != nil {
					return errStopped
				}
				return c.handle(msg)
			})
		}
	}
	go func() {
		select {
		case <-router.Running():
			close(b.running)
		case <-ctx.Done():
		}
	}()
	err = router.Run(ctx)
	return errors.Join(err, b.channel.Close())
}

// handle gives each consumer an event of its own.
func (c consumer) handle(msg *message.Message) error {
	ctx := msg.Context()
	e := deliveryOf(ctx).event
	e.Data = bytes.Clone(e.Data)
	if err := c.handler(ctx, e); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return faults.Point("consumer.after_effect_before_ack")
}

// Publish implements ports.Bus. Before Run it waits for it.
func (b *Memory) Publish(ctx context.Context, e domain.Event) error {
	select {
	case <-b.running:
	case <-b.stopped:
		return errStopped
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	n := len(b.consumers[e.Type])
	if n == 0 {
		return nil
	}
	over, err := b.queue(ctx, e.Key)
	if err != nil {
		return err
	}
	d := &delivery{event: e, left: n, done: make(chan struct{})}
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

// queue waits until the earlier deliveries of a key are over; over ends this one.
func (b *Memory) queue(ctx context.Context, key domain.ID) (over func(), err error) {
	b.mu.Lock()
	before, mine := b.tails[key], make(chan struct{})
	b.tails[key] = mine
	b.mu.Unlock()
	end := func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.tails[key] == mine {
			delete(b.tails, key)
		}
		close(mine)
	}
	if before == nil {
		return end, nil
	}
	select {
	case <-before:
		return end, nil
	case <-ctx.Done():
		go func() {
			<-before
			end()
		}()
		return nil, ctx.Err()
	}
}

// delivery is one event on its way to its consumers. It travels in the context of the
// messages.
type delivery struct {
	event domain.Event
	done  chan struct{} // closed when every consumer has answered

	mu   sync.Mutex
	left int
	errs []error
}

type deliveryKey struct{}

func deliveryOf(ctx context.Context) *delivery {
	return ctx.Value(deliveryKey{}).(*delivery) //nolint:forcetypeassert // nothing else is published here
}

func (d *delivery) answer(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.errs = append(d.errs, err)
	}
	if d.left--; d.left == 0 {
		close(d.done)
	}
}

func (d *delivery) err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.errs...)
}

// settle tells the publisher what became of a message, and acknowledges it in any
// case: a channel that keeps it would send it again at once, and for ever.
func settle(h message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		d := deliveryOf(msg.Context())
		_, err := h(msg)
		d.answer(err)
		return nil, nil
	}
}
