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

// The suite that Watermill has for its own, but for two: of brokers that give old messages
// to new groups' every consumer, and of brokers that keep messages when they are restarted.
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
	alone := func(t *testing.T) (message.Publisher, message.Subscriber) {
		t.Helper()
		return group(t, "one") // who subscribes again goes on where it was
	}
	features := tests.Features{ConsumerGroups: true, GuaranteedOrder: true, GuaranteedOrderWithSingleSubscriber: true, Persistent: true}
	for name, test := range map[string]func(*testing.T, tests.TestContext, tests.PubSubConstructor){
		"publish and subscribe":      tests.TestPublishSubscribe,
		"many subscribe":             tests.TestConcurrentSubscribe,
		"many subscribe to many":     tests.TestConcurrentSubscribeMultipleTopics,
		"resent on error":            tests.TestResendOnError,
		"not acknowledged":           tests.TestNoAck,
		"a subscriber is closed":     tests.TestContinueAfterSubscribeClose,
		"many are closed":            tests.TestConcurrentClose,
		"goes on after errors":       tests.TestContinueAfterErrors,
		"in order":                   tests.TestPublishSubscribeInOrder,
		"a publisher is closed":      tests.TestPublisherClose,
		"topics":                     tests.TestTopic,
		"the context of a message":   tests.TestMessageCtx,
		"the context of a subscribe": tests.TestSubscribeCtx,
		"groups": func(t *testing.T, c tests.TestContext, _ tests.PubSubConstructor) {
			t.Helper()
			tests.TestConsumerGroups(t, c, group)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, tests.TestContext{TestID: tests.NewTestID(), Features: features}, alone)
		})
	}
}
