package eventbus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/redis/rueidis"
)

var (
	_ message.Publisher  = (*Streams)(nil)
	_ message.Subscriber = (*Group)(nil)
)

const (
	// kept is how many messages a stream keeps, about: what all groups have read stays
	// until newer ones push it out.
	kept = "10000"
	// block is how long one call waits for messages, and so how long a stop takes.
	block = 250 * time.Millisecond
	// beat is how often a consumer says that it still handles a message, and idle how long
	// one that does not say so keeps it before another takes it over.
	beat = time.Second
	idle = 5 * time.Second
	// answerTime is how long Redis has to take an acknowledgement.
	answerTime = 3 * time.Second
	// pauseOnError is before a command that failed is tried again.
	pauseOnError = 200 * time.Millisecond
	// resend is before a message that was refused is given again.
	resend = 10 * time.Millisecond
)

// The fields of an entry of a stream.
const (
	fieldUUID     = "uuid"
	fieldPayload  = "payload"
	fieldMetadata = "metadata" // a JSON object of strings
)

var errClosed = errors.New("it is closed")

// Streams publishes to Redis streams, one for each topic. A stream lives as long as Redis
// does: what has to survive it is published again by whoever stores it.
type Streams struct {
	client rueidis.Client
	prefix string
	closed chan struct{}
	close  func()
}

// NewStreams makes a publisher. Its topics are keys that begin with the prefix.
func NewStreams(client rueidis.Client, prefix string) *Streams {
	s := &Streams{client: client, prefix: prefix, closed: make(chan struct{})}
	s.close = sync.OnceFunc(func() { close(s.closed) })
	return s
}

// key is that of a topic's stream.
func (s *Streams) key(topic string) string { return s.prefix + ":stream:" + topic }

// Publish implements message.Publisher: it returns when Redis has the messages.
func (s *Streams) Publish(topic string, messages ...*message.Message) error {
	for _, m := range messages {
		if _, err := s.add(m.Context(), topic, m); err != nil {
			return err
		}
	}
	return nil
}

// add appends a message and returns the id of its entry.
func (s *Streams) add(ctx context.Context, topic string, m *message.Message) (string, error) {
	select {
	case <-s.closed:
		return "", errClosed
	default:
	}
	metadata, err := json.Marshal(m.Metadata)
	if err != nil {
		return "", err
	}
	return s.client.Do(ctx, s.client.B().Xadd().Key(s.key(topic)).Maxlen().Almost().Threshold(kept).Id("*").
		FieldValue().FieldValue(fieldUUID, m.UUID).FieldValue(fieldPayload, rueidis.BinaryString(m.Payload)).
		FieldValue(fieldMetadata, string(metadata)).Build()).ToString()
}

// has says whether an entry is there still.
func (s *Streams) has(ctx context.Context, topic, id string) (bool, error) {
	found, err := s.client.Do(ctx, s.client.B().Xrange().Key(s.key(topic)).Start(id).End(id).Build()).AsXRange()
	return len(found) > 0, err
}

// acked is 1 for an entry that a group has been given and does not have in hand any more.
var acked = rueidis.NewLuaScript(`
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1) > 0 then return 0 end
local time, number = string.match(ARGV[2], '(%d+)-(%d+)')
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local of = {}
  for i = 1, #group, 2 do of[group[i]] = group[i + 1] end
  if of['name'] == ARGV[1] then
    local last, at = string.match(of['last-delivered-id'], '(%d+)-(%d+)')
    local after = tonumber(time) - tonumber(last)
    return (after < 0 or after == 0 and tonumber(number) <= tonumber(at)) and 1 or 0
  end
end
return 0`)

// acked says whether a group has acknowledged an entry.
func (s *Streams) acked(ctx context.Context, topic, group, id string) (bool, error) {
	n, err := acked.Exec(ctx, s.client, []string{s.key(topic)}, []string{group, id}).AsInt64()
	return n == 1, err
}

// Close implements message.Publisher. The connection is the caller's.
func (s *Streams) Close() error {
	s.close()
	return nil
}

// Group subscribes to Redis streams as one of a group's consumers: each message is
// handled by one of them, and by another if that one dies. A message comes again until it
// is acknowledged.
type Group struct {
	*Streams
	name     string
	inFlight int
	log      watermill.LoggerAdapter
	running  sync.WaitGroup
	mu       sync.Mutex // between Subscribe and Close
}

// NewGroup makes a consumer that handles so many messages of a topic at a time. With one,
// they come in the order of the stream.
func NewGroup(streams *Streams, name string, inFlight int, log watermill.LoggerAdapter) *Group {
	return &Group{Streams: NewStreams(streams.client, streams.prefix), name: name, inFlight: inFlight, log: log}
}

// Close ends the subscriptions and waits until their channels are closed.
func (g *Group) Close() error {
	g.mu.Lock()
	g.close()
	g.mu.Unlock()
	g.running.Wait()
	return nil
}

// Subscribe implements message.Subscriber. The group begins with the oldest message that
// the stream keeps. While Redis is away it waits for it.
func (g *Group) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.closed:
		return nil, errClosed
	default:
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &subscription{Group: g, key: g.key(topic), consumer: rand.Text(), out: make(chan *message.Message), slots: make(chan struct{}, g.inFlight), mine: map[string]bool{}}
	s.log = g.log.With(watermill.LogFields{"topic": topic, "group": g.name, "consumer": s.consumer})
	g.running.Go(func() {
		defer close(s.out)
		defer cancel()
		go func() {
			select {
			case <-g.closed:
				cancel()
			case <-ctx.Done():
			}
		}()
		s.run(ctx, topic)
	})
	return s.out, nil
}

// create makes the group, and the stream, where they are not there.
func (g *Group) create(ctx context.Context, topic string) error {
	err := g.client.Do(ctx, g.client.B().XgroupCreate().Key(g.key(topic)).Group(g.name).Id("0").Mkstream().Build()).Error()
	if err != nil && strings.HasPrefix(err.Error(), "BUSYGROUP") {
		return nil
	}
	return err
}

// subscription is one consumer of one stream.
type subscription struct {
	*Group
	key      string
	consumer string
	out      chan *message.Message
	slots    chan struct{} // of messages that are being handled
	handling sync.WaitGroup
	log      watermill.LoggerAdapter

	mu   sync.Mutex
	mine map[string]bool // entries that are being handled
}

func (s *subscription) run(ctx context.Context, topic string) {
	s.handling.Go(func() { s.takeOver(ctx) })
	s.handling.Go(func() { s.beat(ctx) })
	// What is read before the group is there says so.
	for ctx.Err() == nil {
		if err := s.read(ctx); err != nil && ctx.Err() == nil {
			if strings.HasPrefix(err.Error(), "NOGROUP") {
				err = s.create(ctx, topic) // Redis was flushed, or started again
			}
			if err != nil {
				s.log.Error("redis does not give messages", err, nil)
				s.wait(ctx, pauseOnError)
			}
		}
	}
	s.handling.Wait()
	s.leave(context.WithoutCancel(ctx))
}

// read waits for a place, and then for as many messages as there are places.
func (s *subscription) read(ctx context.Context) error {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	places := 1
	for more := true; more; {
		select {
		case s.slots <- struct{}{}:
			places++
		default:
			more = false
		}
	}
	// A read that is given up goes on at Redis, which would give messages to nobody.
	streams, err := s.client.Do(context.WithoutCancel(ctx), s.client.B().Xreadgroup().Group(s.name, s.consumer).Count(int64(places)).
		Block(block.Milliseconds()).Streams().Key(s.key).Id(">").Build()).AsXRead()
	if rueidis.IsRedisNil(err) {
		err = nil
	}
	given := streams[s.key]
	for range places - len(given) {
		<-s.slots
	}
	for _, entry := range given {
		s.handle(ctx, entry)
	}
	return err
}

// takeOver claims the messages of consumers that died.
func (s *subscription) takeOver(ctx context.Context) {
	for s.wait(ctx, idle/4) {
		for from := "0-0"; from != ""; {
			var err error
			if from, err = s.claim(ctx, from); err != nil && ctx.Err() == nil {
				s.log.Error("redis does not give the messages of others", err, nil)
			}
		}
	}
}

// claim takes over one message at most, of some that begin with an entry. It tells with
// which entry the others begin; "" means that there are none.
func (s *subscription) claim(ctx context.Context, from string) (next string, err error) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return "", nil
	}
	answer, err := s.client.Do(ctx, s.client.B().Xautoclaim().Key(s.key).Group(s.name).Consumer(s.consumer).
		MinIdleTime(strconv.FormatInt(idle.Milliseconds(), 10)).Start(from).Count(1).Build()).ToArray()
	var entries []rueidis.XRangeEntry
	if err == nil && len(answer) > 1 {
		if next, err = answer[0].ToString(); err == nil {
			entries, err = answer[1].AsXRange()
		}
	}
	if err != nil || len(entries) == 0 {
		<-s.slots
	} else {
		s.handle(ctx, entries[0])
	}
	if err != nil || next == "0-0" || ctx.Err() != nil {
		return "", err
	}
	return next, nil
}

// beat says of what is being handled that somebody handles it.
func (s *subscription) beat(ctx context.Context) {
	for s.wait(ctx, beat) {
		s.mu.Lock()
		ids := make([]string, 0, len(s.mine))
		for id := range s.mine {
			ids = append(ids, id)
		}
		s.mu.Unlock()
		if len(ids) == 0 {
			continue
		}
		err := s.client.Do(ctx, s.client.B().Xclaim().Key(s.key).Group(s.name).Consumer(s.consumer).MinIdleTime("0").Id(ids...).Justid().Build()).Error()
		if err != nil && ctx.Err() == nil {
			s.log.Error("redis was not told that messages are being handled", err, nil)
		}
	}
}

// handle gives a message until it is acknowledged, in a goroutine of its own that holds a
// place.
func (s *subscription) handle(ctx context.Context, entry rueidis.XRangeEntry) {
	s.mu.Lock()
	known := s.mine[entry.ID]
	s.mine[entry.ID] = true
	s.mu.Unlock()
	if known {
		<-s.slots
		return
	}
	s.handling.Go(func() {
		defer func() {
			s.mu.Lock()
			delete(s.mine, entry.ID)
			s.mu.Unlock()
			<-s.slots
		}()
		for s.give(ctx, entry) {
		}
	})
}

// give says whether the message has to be given once more.
func (s *subscription) give(ctx context.Context, entry rueidis.XRangeEntry) bool {
	m := message.NewMessage(entry.FieldValues[fieldUUID], message.Payload(entry.FieldValues[fieldPayload]))
	if err := json.Unmarshal([]byte(entry.FieldValues[fieldMetadata]), &m.Metadata); err != nil {
		s.log.Error("a message cannot be read and is dropped", err, watermill.LogFields{"entry": entry.ID})
		s.ack(ctx, entry.ID)
		return false
	}
	own, cancel := context.WithCancel(ctx)
	defer cancel()
	m.SetContext(own)
	select {
	case s.out <- m:
	case <-ctx.Done():
		return false
	}
	select {
	case <-m.Acked():
		s.ack(context.WithoutCancel(ctx), entry.ID)
		return false
	case <-m.Nacked():
		return s.wait(ctx, resend)
	case <-ctx.Done():
	}
	// Handlers that run have a moment to say that they are done.
	select {
	case <-m.Acked():
		s.ack(context.WithoutCancel(ctx), entry.ID)
	case <-m.Nacked():
	case <-time.After(pauseOnError):
	}
	return false
}

// ack says that a message was handled. What is not said, because Redis is away, costs a
// second delivery.
func (s *subscription) ack(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if err := s.client.Do(ctx, s.client.B().Xack().Key(s.key).Group(s.name).Id(id).Build()).Error(); err != nil {
		s.log.Error("redis was not told that a message was handled", err, watermill.LogFields{"entry": id})
	}
}

// gone removes a consumer. Messages that are its own still look as if nobody had handled
// them for an hour, and so another takes them over with its next look.
var gone = rueidis.NewLuaScript(`
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000, ARGV[2])
if #pending == 0 then
  return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
for _, p in ipairs(pending) do
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, p[1], 'IDLE', 3600000, 'JUSTID')
end
return 0`)

func (s *subscription) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	_ = gone.Exec(ctx, s.client, []string{s.key}, []string{s.name, s.consumer}).Error()
}

// wait says whether the subscription goes on after a pause.
func (s *subscription) wait(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
