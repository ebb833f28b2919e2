package eventbus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/rueidis"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

var _ ports.Bus = (*Redis)(nil)

const (
	eventsTopic = "events"
	// handledAtOnce is how many events a consumer handles at a time in one replica.
	handledAtOnce = relayKeys
	// lookAgain is how often Publish looks whether Redis still has its event, and answerBy
	// how long it waits for the consumers.
	lookAgain = 2 * time.Second
	answerBy  = time.Minute
	// metadataReply names the delivery in the metadata of a message: where the answers go.
	// metadataFor names the consumers, separated by spaces.
	metadataReply = "reply"
	metadataFor   = "for"
)

var (
	errGone     = domain.Unavailable("event_gone", "redis lost the event before every consumer had handled it")
	errUnheard  = domain.Unavailable("event_unanswered", "a consumer did not answer in time")
	errOverhear = domain.Unavailable("answers_lost", "answers of consumers may be missing")
)

// Redis is the bus between replicas. Each consumer is a group that reads the stream of
// events: one of the replicas handles an event, and another if that one dies. Redis may be
// flushed or lost at any moment, so nothing counts on it: Publish waits until every
// consumer has answered, over the live fan-out, and fails where that may never happen. The
// outbox has the event still, and the relay publishes it again.
type Redis struct {
	*bus
	streams *Streams
	live    ports.Live
	replies string // the topic of the answers to this replica

	mu      sync.Mutex
	waiting map[string]*delivery
}

// NewRedis makes a bus. Its keys begin with the prefix; answers go over live.
func NewRedis(client rueidis.Client, prefix string, live ports.Live, log *slog.Logger) *Redis {
	return &Redis{
		bus: newBus(log), streams: NewStreams(client, prefix), live: live, replies: "bus:" + rand.Text(), waiting: map[string]*delivery{},
	}
}

// answered is what a consumer says about a delivery.
type answered struct {
	Delivery, Consumer, Error string
}

// Run implements ports.Bus. It is called once.
func (b *Redis) Run(ctx context.Context) error {
	answers, cancel := b.live.Subscribe(b.replies)
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		b.listen(answers)
	}()
	defer func() {
		cancel()
		<-listening
	}()
	return b.run(ctx, func(r *message.Router) {
		names := map[string]map[string]consumer{} // by name and type
		for typ, consumers := range b.consumers {
			for _, c := range consumers {
				if names[c.name] == nil {
					names[c.name] = map[string]consumer{}
				}
				names[c.name][typ] = c
			}
		}
		for name, of := range names {
			attach(ctx, r, name, eventsTopic, NewGroup(b.streams, name, handledAtOnce, b.log),
				func(msg *message.Message) error { return react(msg, name, of) },
				func(msg *message.Message, err error) { b.answer(msg, name, err) })
		}
	})
}

// meant says whether the publisher waits for a consumer.
func meant(msg *message.Message, name string) bool {
	return slices.Contains(strings.Fields(msg.Metadata.Get(metadataFor)), name)
}

// react handles an event that is meant for a consumer, of which the handlers are given by
// type. A replica of an older version may not have the one that a newer one counts on: it
// refuses, until the newer is asked.
func react(msg *message.Message, name string, handlers map[string]consumer) error {
	if !meant(msg, name) {
		return nil
	}
	var e domain.Event
	if err := json.Unmarshal(msg.Payload, &e); err != nil {
		return err
	}
	c, ok := handlers[e.Type]
	if !ok {
		return fmt.Errorf("%s does not know %s here", name, e.Type)
	}
	return c.handle(msg.Context(), e)
}

// answer tells the replica that published an event what became of it at a consumer.
func (b *Redis) answer(msg *message.Message, name string, err error) {
	if !meant(msg, name) {
		return
	}
	topic, id, _ := strings.Cut(msg.Metadata.Get(metadataReply), " ")
	a := answered{Delivery: id, Consumer: name}
	if err != nil {
		a.Error = err.Error()
	}
	data, _ := json.Marshal(a) // strings alone
	b.live.Publish(topic, data)
}

// listen takes answers until the channel is closed.
func (b *Redis) listen(answers <-chan []byte) {
	for data := range answers {
		var a answered
		if data == nil || json.Unmarshal(data, &a) != nil {
			b.mu.Lock()
			for _, d := range b.waiting {
				d.abandon(errOverhear)
			}
			b.mu.Unlock()
			continue
		}
		b.mu.Lock()
		d := b.waiting[a.Delivery]
		b.mu.Unlock()
		if d == nil {
			continue
		}
		var err error
		if a.Error != "" {
			err = errors.New(a.Error)
		}
		d.answer(a.Consumer, err)
	}
}

// Publish implements ports.Bus. Before Run it waits for it.
func (b *Redis) Publish(ctx context.Context, e domain.Event) error {
	d, over, err := b.begin(ctx, e)
	if d == nil || err != nil {
		return err
	}
	defer over()
	payload, err := json.Marshal(e)
	if err != nil {
		return err
	}
	id := rand.Text()
	b.mu.Lock()
	b.waiting[id] = d
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.waiting, id)
		b.mu.Unlock()
	}()
	msg := message.NewMessageWithContext(ctx, e.ID.String(), payload)
	msg.Metadata.Set(metadataReply, b.replies+" "+id)
	msg.Metadata.Set(metadataFor, strings.Join(d.unanswered(), " "))
	entry, err := b.streams.add(ctx, eventsTopic, msg)
	if err != nil {
		return domain.Unavailable("event_not_sent", "redis did not take the event").With(err)
	}
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	late := time.NewTimer(answerBy)
	defer late.Stop()
	var silent map[string]bool
	for {
		select {
		case <-d.done:
			return d.err()
		case <-look.C:
			if there, err := b.streams.has(ctx, eventsTopic, entry); err == nil && !there {
				d.abandon(errGone)
			}
			silent = b.silent(ctx, d, entry, silent)
		case <-late.C:
			return errUnheard
		case <-ctx.Done():
			return ctx.Err()
		case <-b.stopped:
			return errStopped
		}
	}
}

// silent gives the consumers that have acknowledged an entry and not answered. Who is among
// them for the second time died in between, or its answer was lost.
func (b *Redis) silent(ctx context.Context, d *delivery, entry string, before map[string]bool) map[string]bool {
	now := map[string]bool{}
	for _, name := range d.unanswered() {
		if over, err := b.streams.acked(ctx, eventsTopic, name, entry); err != nil || !over {
			continue
		}
		if now[name] = true; before[name] {
			d.abandon(errOverhear)
		}
	}
	return now
}
