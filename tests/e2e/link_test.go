package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// Link is the network between an agent and the server.
type Link struct {
	t     testing.TB
	proxy *toxiproxy.Proxy
	// URL is the server's at this end.
	URL string
}

// Link makes a network to the server that can be disturbed.
func (c *Cluster) Link() *Link {
	c.t.Helper()
	// A name would be resolved to the address of a family that nobody listens at.
	upstream := strings.TrimPrefix(c.URL, "http://")
	control := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy := toxiproxy.NewProxy(control, "link", "127.0.0.1:0", upstream)
	require.NoError(c.t, proxy.Start())
	c.t.Cleanup(proxy.Stop)
	return &Link{t: c.t, proxy: proxy, URL: "http://" + proxy.Listen}
}

// Disturb does something to a direction: "upstream" is from the agent to the server,
// "downstream" back. What there is, toxiproxy documents: a timeout of 0 swallows
// everything, and who sent it hears nothing of that.
func (l *Link) Disturb(direction, kind string, attributes map[string]any) {
	l.t.Helper()
	toxic, err := json.Marshal(map[string]any{"name": direction + kind, "type": kind, "stream": direction, "attributes": attributes})
	require.NoError(l.t, err)
	_, err = l.proxy.Toxics.AddToxicJson(strings.NewReader(string(toxic)))
	require.NoError(l.t, err)
}

// Cut lets nothing through in either direction, without closing anything.
func (l *Link) Cut() {
	l.t.Helper()
	l.Disturb("upstream", "timeout", map[string]any{"timeout": 0})
	l.Disturb("downstream", "timeout", map[string]any{"timeout": 0})
}

// Heal takes everything back that was done; connections that were cut are closed.
func (l *Link) Heal() { l.proxy.Toxics.ResetToxics(context.Background()) }
