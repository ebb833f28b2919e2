package transfer_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/agent/transfer"
	"github.com/peergpu/peergpu/tests/testkit"
)

func TestAServerThatIsNotReachedSaysWhatToDo(t *testing.T) {
	t.Parallel()
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<!doctype html>")) })
	site, secure := httptest.NewServer(page), httptest.NewUnstartedServer(page)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	moved := httptest.NewServer(http.RedirectHandler("https://gpu.example.org/healthz", http.StatusMovedPermanently))
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
	}))
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	for _, s := range []*httptest.Server{site, secure, moved, other, proxy} {
		t.Cleanup(s.Close)
	}
	free := testkit.Listen(t)
	require.NoError(t, free.Close())
	for name, c := range map[string]struct{ url, text, do string }{
		"nothing listens":         {"http://" + free.Addr().String(), "connection refused", "nothing listens there"},
		"no such name":            {"https://peergpu.invalid", "peergpu.invalid", "spelt right"},
		"a web site":              {site.URL, "text/html", "another site's"},
		"TLS where there is none": {strings.Replace(site.URL, "http:", "https:", 1), "", "http:// instead of https://"},
		"none where TLS is":       {strings.Replace(secure.URL, "https:", "http:", 1), "answers 400", "write https://"},
		"an unknown authority":    {secure.URL, "unknown authority", "ca-certificates"},
		"it moved":                {moved.URL, "sends its visitors on to https://gpu.example.org", "server in agent.yaml (or --server of enroll): https://gpu.example.org"},
		"another API":             {other.URL, "404", "another server's"},
		"only its proxy":          {proxy.URL, "502", "the agent tries again"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := transfer.NewServer(c.url, "dev")
			require.NoError(t, err)
			_, ping := s.Ping(t.Context())
			_, token := s.Token(t.Context(), "x")
			_, dial := s.Dial(t.Context(), "x")
			for step, err := range map[string]error{"ping": ping, "token": token, "dial": dial} {
				require.ErrorContains(t, err, c.text, step)
				assert.Contains(t, daemon.Advice(err), c.do, step)
			}
		})
	}
}
