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

// consumers are who reacts to a type of event; fixed once Run is called.
type consumers map[string][]consumer

type consumer struct {
	name    string
	handler ports.Handler
}

// Subscribe implements ports.Bus. A consumer has one handler for a type.
func (all consumers) Subscribe(name string, handler ports.Handler, types ...string) {
	for _, typ := range types {
		for _, c := range all[typ] {
			if c.name == name {
				panic("eventbus: " + name + " subscribes to " + typ + " twice")
			}
		}
		all[typ] = append(all[typ], consumer{name, handler})
	}
}

// handle gives each consumer an event of its own.
func (c consumer) handle(ctx context.Context, e domain.Event) error {
	e.Data = bytes.Clone(e.Data)
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

// quietly is the bus's own log: its messages about itself are for debugging.
func quietly(log *slog.Logger) watermill.LoggerAdapter {
	return watermill.NewSlogLoggerWithLevelMapping(log, map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug})
}

// state is where a bus is between Run and its end.
type state struct{ running, stopped chan struct{} }

func newState() state { return state{make(chan struct{}), make(chan struct{})} }

// runs notes that the router runs, unless ctx ends before.
func (s state) runs(ctx context.Context, r *message.Router) {
	select {
	case <-r.Running():
		close(s.running)
	case <-ctx.Done():
	}
}

// await waits for Run.
func (s state) await(ctx context.Context) error {
	select {
	case <-s.running:
	case <-s.stopped:
		return errStopped
	case <-ctx.Done():
	}
	return ctx.Err()
}

// keys are the aggregates whose events are on their way.
type keys struct {
	mu    sync.Mutex
	tails map[domain.ID]chan struct{} // the latest delivery of a key, closed when it is over
}

func newKeys() *keys { return &keys{tails: map[domain.ID]chan struct{}{}} }

// queue waits until the earlier deliveries of a key are over; over ends this one.
func (k *keys) queue(ctx context.Context, key domain.ID) (over func(), err error) {
	k.mu.Lock()
	before, mine := k.tails[key], make(chan struct{})
	k.tails[key] = mine
	k.mu.Unlock()
	end := func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.tails[key] == mine {
			delete(k.tails, key)
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
