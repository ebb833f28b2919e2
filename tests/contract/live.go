package contract

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/ports"
)

// Live is the contract of ports.Live.
func Live(t *testing.T, open func(*testing.T) ports.Live) {
	c := liveCases{open(t)}
	t.Run("every subscriber of a topic gets its messages in order", c.order)
	t.Run("nothing comes from before the subscription, or of another topic", c.others)
	t.Run("a subscriber that does not keep up is told by nil where messages are missing", c.loss)
	t.Run("a subscriber that does not keep up holds up nobody", c.slow)
	t.Run("cancelling closes the channel, and twice is allowed", c.cancel)
	t.Run("an empty message is not the news of a loss", c.empty)
	t.Run("subscribers come and go while messages are published", c.churn)
}

type liveCases struct{ ports.Live }

// LiveElsewhere is the part of the contract of ports.Live that takes replicas: there are as
// many others as are given.
func LiveElsewhere(t *testing.T, here ports.Live, others ...ports.Live) {
	t.Helper()
	topic := ids.New().String()
	own, _ := liveCases{here}.subscribe(t, topic)
	var theirs []<-chan []byte
	for _, other := range others {
		messages, _ := liveCases{other}.subscribe(t, topic)
		theirs = append(theirs, messages)
	}
	here.Elsewhere(topic, []byte("for others"))
	here.Publish(topic, []byte("for all"))
	assert.Equal(t, "for all", string(received(t, own, "a message")))
	for _, messages := range theirs {
		assert.Equal(t, "for others", string(received(t, messages, "a message")))
		assert.Equal(t, "for all", string(received(t, messages, "a message")))
	}
}

func (c liveCases) subscribe(t *testing.T, topic string) (<-chan []byte, func()) {
	t.Helper()
	messages, cancel := c.Subscribe(topic)
	t.Cleanup(cancel)
	return messages, cancel
}

func (c liveCases) order(t *testing.T) {
	t.Parallel()
	topic := ids.New().String()
	var all []<-chan []byte
	for range 3 {
		messages, _ := c.subscribe(t, topic)
		all = append(all, messages)
	}
	for i := range 50 {
		c.Publish(topic, fmt.Append(nil, i))
	}
	for _, messages := range all {
		for i := range 50 {
			require.Equal(t, strconv.Itoa(i), string(received(t, messages, "a message")))
		}
	}
}

func (c liveCases) others(t *testing.T) {
	t.Parallel()
	topic := ids.New().String()
	c.Publish(topic, []byte("nobody is there"))
	first, _ := c.subscribe(t, topic)
	c.Publish(topic, []byte("before"))
	// What another replica published may be on its way still: it has to have come.
	for string(received(t, first, "a message")) != "before" {
	}
	messages, _ := c.subscribe(t, topic)
	c.Publish(topic+".other", []byte("another topic"))
	c.Publish("other."+topic, []byte("another topic"))
	c.Publish(topic, []byte("after"))
	assert.Equal(t, "after", string(received(t, messages, "a message")))
}

func (c liveCases) loss(t *testing.T) {
	t.Parallel()
	topic := ids.New().String()
	messages, _ := c.subscribe(t, topic)
	const many = 20_000
	for i := range many {
		c.Publish(topic, fmt.Append(nil, i))
	}
	// It keeps up again from here on.
	last, missing := -1, false
	for round := 0; last < many; round++ {
		c.Publish(topic, fmt.Append(nil, many+round))
		for drained := false; !drained; {
			select {
			case m, open := <-messages:
				require.True(t, open)
				if m == nil {
					missing = true
					continue
				}
				n, err := strconv.Atoi(string(m))
				require.NoError(t, err)
				require.Greater(t, n, last, "messages stay in order")
				require.True(t, n == last+1 || missing, "%d follows %d, and nobody said so", n, last)
				last, missing = n, false
			case <-time.After(time.Millisecond):
				drained = true
			}
		}
		require.Less(t, round, int(patience/time.Millisecond), "it never keeps up again")
	}
}

func (c liveCases) slow(t *testing.T) {
	t.Parallel()
	topic := ids.New().String()
	c.subscribe(t, topic) // and never reads
	quick, _ := c.subscribe(t, topic)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 5_000 {
			c.Publish(topic, fmt.Append(nil, i))
			// The quick one keeps up.
			if got := <-quick; string(got) != strconv.Itoa(i) {
				t.Errorf("%q instead of %d", got, i)
				return
			}
		}
	}()
	received(t, done, "everything was published")
}

func (c liveCases) cancel(t *testing.T) {
	t.Parallel()
	topic := ids.New().String()
	messages, cancel := c.Subscribe(topic)
	other, _ := c.subscribe(t, topic)
	cancel()
	cancel()
	require.Eventually(t, func() bool {
		select {
		case _, open := <-messages:
			return !open
		default:
			return false
		}
	}, patience, time.Millisecond)
	c.Publish(topic, []byte("still"))
	assert.Equal(t, "still", string(received(t, other, "the other subscriber goes on")))
	again, _ := c.subscribe(t, topic)
	c.Publish(topic, []byte("again"))
	assert.Equal(t, "again", string(received(t, again, "a topic can be subscribed to again")))
}

func (c liveCases) empty(t *testing.T) {
	t.Parallel()
	topic := ids.New().String()
	messages, _ := c.subscribe(t, topic)
	for _, data := range [][]byte{{}, nil} {
		c.Publish(topic, data)
		m := received(t, messages, "a message")
		assert.NotNil(t, m)
		assert.Empty(t, m)
	}
}

func (c liveCases) churn(t *testing.T) {
	t.Parallel()
	topic := ids.New().String()
	errs := race(racers, func(i int) error {
		for n := range 200 {
			if i%2 == 0 {
				c.Publish(topic, fmt.Append(nil, n))
				continue
			}
			messages, cancel := c.Subscribe(topic)
			c.Publish(topic, []byte("own"))
			select {
			case _, open := <-messages:
				if !open {
					return fmt.Errorf("closed before it was cancelled")
				}
			case <-time.After(patience):
				return fmt.Errorf("its own message is missing")
			}
			cancel()
		}
		return nil
	})
	for _, err := range errs {
		assert.NoError(t, err)
	}
}
