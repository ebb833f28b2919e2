package eventbus_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/eventbus"
	"github.com/peergpu/peergpu/adapters/redislive"
	"github.com/peergpu/peergpu/tests/testkit"
)

func client(t *testing.T, url string) *redislive.Client {
	t.Helper()
	o, err := redislive.Parse(url, "")
	require.NoError(t, err)
	c, err := redislive.Open(context.WithoutCancel(t.Context()), o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// The suite that Watermill has for its own.
func TestStreamsAreAPubSubOfWatermill(t *testing.T) {
	c := client(t, testkit.Redis(t))
	group := func(t *testing.T, name string) (message.Publisher, message.Subscriber) {
		t.Helper()
		streams := eventbus.NewStreams(c.Client, c.Prefix)
		return streams, eventbus.NewGroup(streams, name, 1, watermill.NewSlogLogger(slog.New(slog.DiscardHandler)))
	}
	tests.TestPubSub(t, tests.Features{
		ConsumerGroups: true, GuaranteedOrder: true, GuaranteedOrderWithSingleSubscriber: true, Persistent: true,
	}, func(t *testing.T) (message.Publisher, message.Subscriber) {
		t.Helper()
		return group(t, watermill.NewUUID())
	}, func(t *testing.T, name string) (message.Publisher, message.Subscriber) {
		t.Helper()
		return group(t, name)
	})
}
