package eventbus

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
)

// While an upgrade is under way an older replica may be given what only a newer one knows.
func TestAConsumerHandlesWhatIsMeantForItAndRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		meantFor, typ string
		handled       bool
		says          string
	}{
		"known":                   {"other one", "tests.x", true, ""},
		"of a newer version":      {"one", "tests.y", false, "does not know tests.y"},
		"for others":              {"other", "tests.x", false, ""},
		"for others, and unknown": {"other ones", "tests.y", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			payload, err := json.Marshal(domain.Event{Type: c.typ, Data: []byte("{}")})
			require.NoError(t, err)
			msg := message.NewMessage("1", payload)
			msg.Metadata.Set(metadataFor, c.meantFor)
			handled := false
			err = react(msg, "one", map[string]consumer{"tests.x": {"one", func(context.Context, domain.Event) error {
				handled = true
				return nil
			}}})
			assert.Equal(t, c.handled, handled)
			if c.says == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, c.says)
			}
		})
	}
}
