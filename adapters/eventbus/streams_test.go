package eventbus_test

import (
	"log/slog"
	"net/url"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/redis/rueidis"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/eventbus"
	"github.com/peergpu/peergpu/tests/testkit"
)

// The suite that Watermill has for its own.
func TestStreamsAreAPubSubOfWatermill(t *testing.T) {
	t.Parallel()
	server, err := url.Parse(testkit.Redis(t))
	require.NoError(t, err)
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Host}, ForceSingleClient: true, DisableCache: true})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	group := func(t *testing.T, name string) (message.Publisher, message.Subscriber) {
		t.Helper()
		streams := eventbus.NewStreams(client, server.Query().Get("prefix"))
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
