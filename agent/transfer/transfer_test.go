package transfer_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/transfer"
)

// The rest of what this package does is in the contract suites of its ports.

func TestAServersURLIsCheckedAtOnce(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "localhost:8080", "ws://x", "http://user:pass@x", "https://x?y=z"} {
		_, err := transfer.New(url)
		require.Error(t, err, url)
		_, err = transfer.NewServer(url, "dev")
		require.Error(t, err, url)
	}
	_, err := transfer.NewServer("https://peergpu.example/", "dev")
	require.NoError(t, err)
}
