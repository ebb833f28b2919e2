package eventbus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
	"github.com/peergpu/peergpu/tests/faults"
)

// How often a handler is tried before Publish fails: nine times within some 5 s, because the
// pause is doubled twice (the middleware tells ShouldRetry the next one). The outbox has the
// patience for more.
const (
	retries    = 8
	firstRetry = 10 * time.Millisecond
	longest    = time.Second
)

// handlersMayTake is how long Run waits for handlers when it is stopped.
const handlersMayTake = 30 * time.Second

var errStopped = domain.Unavailable("bus_stopped", "the event bus has stopped")

// bus is what both buses are made of: who reacts to what, the order of keys, and where it
// is between Run and its end.
type bus struct {
	log              watermill.LoggerAdapter
	consumers        map[string][]consumer // by type of event; fixed once Run is called
	running, stopped chan struct{}

	queueing sync.Mutex
	tails    map[domain.ID]chan struct{} // the latest delivery of a key, closed when it is over
}

// newBus makes one. Its messages about itself are for debugging.
func newBus(log *slog.Logger) *bus {
	return &bus{
		log:       watermill.NewSlogLoggerWithLevelMapping(log, map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug}),
		consumers: map[string][]consumer{}, running: make(chan struct{}), stopped: make(chan struct{}),
		tails: map[domain.ID]chan struct{}{},
	}
}

type consumer struct {
	name    string
	handler ports.Handler
}

// Subscribe implements ports.Bus. A consumer has one handler for a type.
func (b *bus) Subscribe(name string, handler ports.Handler, types ...string) {
	for _, typ := range types {
		for _, c := range b.consumers[typ] {
			if c.name == name {
				panic("eventbus: " + name + " subscribes to " + typ + " twice")
			}
		}
		b.consumers[typ] = append(b.consumers[typ], consumer{name, handler})
	}
}

// run serves what build gives to a router, until ctx ends.
func (b *bus) run(ctx context.Context, build func(*message.Router)) error {
	defer close(b.stopped)
	if len(b.consumers) == 0 {
		close(b.running)
		<-ctx.Done() // a router without handlers would not see it
		return nil
	}
	r, err := message.NewRouter(message.RouterConfig{CloseTimeout: handlersMayTake}, b.log)
	if err != nil {
		return err
	}
	build(r)
	go func() {
		select {
		case <-r.Running():
			close(b.running)
		case <-ctx.Done():
		}
	}()
	return r.Run(ctx)
}

// begin waits for Run, and until it is the event's turn among those of its key; over ends
// that. Where nobody reacts to the event there is no delivery.
func (b *bus) begin(ctx context.Context, e domain.Event) (d *delivery, over func(), err error) {
	select {
	case <-b.running:
	case <-b.stopped:
		return nil, nil, errStopped
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	to := b.consumers[e.Type]
	if len(to) == 0 {
		return nil, nil, nil
	}
	over, err = b.queue(ctx, e.Key)
	return newDelivery(e, to), over, err
}

// handle gives each consumer an event of its own.
func (c consumer) handle(ctx context.Context, e domain.Event) error {
	e.Data = bytes.Clone(e.Data)
	ctx = ports.WithLog(ctx, slog.String("event", e.Type), slog.String("event_key", e.Key.String()))
	if err := c.handler(ctx, e); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return faults.Point("consumer.after_effect_before_ack")
}

// attach gives the messages of a topic to handle, under a name of the router's, until ctx
// ends. What is left of the retries goes to settle, and the message is acknowledged in any
// case: one that is refused would come again at once, and for ever.
func attach(ctx context.Context, r *message.Router, name, topic string, from message.Subscriber, handle func(*message.Message) error, settle func(*message.Message, error)) {
	h := r.AddConsumerHandler(name, topic, from, func(msg *message.Message) error {
		if ctx.Err() != nil {
			return errStopped
		}
		return handle(msg)
	})
	// The first is the outermost.
	h.AddMiddleware(func(next message.HandlerFunc) message.HandlerFunc {
		return func(msg *message.Message) ([]*message.Message, error) {
			_, err := next(msg)
			settle(msg, err)
			return nil, nil
		}
	}, middleware.Retry{
		MaxRetries: retries, InitialInterval: firstRetry, MaxInterval: longest, Multiplier: 2,
		ShouldRetry: func(middleware.RetryParams) bool { return ctx.Err() == nil },
	}.Middleware, middleware.Recoverer)
}

// queue waits until the earlier deliveries of a key are over; over ends this one.
func (b *bus) queue(ctx context.Context, key domain.ID) (over func(), err error) {
	b.queueing.Lock()
	before, mine := b.tails[key], make(chan struct{})
	b.tails[key] = mine
	b.queueing.Unlock()
	end := func() {
		b.queueing.Lock()
		defer b.queueing.Unlock()
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

// delivery is one event on its way to its consumers.
type delivery struct {
	event domain.Event
	done  chan struct{} // closed when every consumer has answered

	mu   sync.Mutex
	left map[string]bool // consumers that have not
	errs []error
}

func newDelivery(e domain.Event, to []consumer) *delivery {
	d := &delivery{event: e, left: make(map[string]bool, len(to)), done: make(chan struct{})}
	for _, c := range to {
		d.left[c.name] = true
	}
	return d
}

// answer notes what became of it at a consumer. Only the first answer of each counts.
func (d *delivery) answer(name string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.left[name] {
		return
	}
	delete(d.left, name)
	if err != nil {
		d.errs = append(d.errs, err)
	}
	if len(d.left) == 0 {
		close(d.done)
	}
}

// unanswered names the consumers that have not answered.
func (d *delivery) unanswered() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.left))
}

// abandon ends the wait for answers that may never come.
func (d *delivery) abandon(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.left) > 0 {
		clear(d.left)
		d.errs = append(d.errs, err)
		close(d.done)
	}
}

func (d *delivery) err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.errs...)
}
