package contract

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/transfer"
)

func TestTransfer(t *testing.T) {
	t.Parallel()
	Transfer(t, func(t *testing.T, url string) daemon.Transfer {
		t.Helper()
		tr, err := transfer.New(url)
		require.NoError(t, err)
		tr.Pause = time.Microsecond
		return tr
	})
}

func TestServer(t *testing.T) {
	t.Parallel()
	Server(t, func(t *testing.T, url string) daemon.Server {
		t.Helper()
		s, err := transfer.NewServer(url, "1.2.3")
		require.NoError(t, err)
		return s
	})
}
