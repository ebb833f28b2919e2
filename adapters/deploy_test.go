package adapters

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// variable is what compose puts the value of a variable for, with its default.
var variable = regexp.MustCompile(`\$\{([A-Z0-9_]+)(:[-?])?([^}]*)\}`)

// The servers of deploy/compose.yaml are configured as their configuration is read, with
// what its first lines put into deploy/.env.
func TestTheServersOfTheComposeFileAreConfigured(t *testing.T) {
	file, err := os.ReadFile("../deploy/compose.yaml")
	require.NoError(t, err)
	var compose struct {
		Services map[string]struct {
			Environment map[string]string
		}
		Networks struct {
			Default struct {
				IPAM struct{ Config []struct{ Subnet string } }
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(file, &compose))
	made := map[string]string{"POSTGRES": "p", "REDIS": "r", "S3_SECRET": "s"}
	for _, name := range []string{"TOKEN", "MANIFEST", "VAULT", "BLOB"} {
		made["PEERGPU_"+name+"_KEY"] = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	}
	head, _, _ := strings.Cut(string(file), "\nname:")
	for name := range made {
		assert.Contains(t, head, strings.TrimSuffix(strings.TrimPrefix(name, "PEERGPU_"), "_SECRET"), "the first lines make it")
	}
	servers := 0
	for name, service := range compose.Services {
		if !strings.HasPrefix(name, "server-") {
			continue
		}
		servers++
		t.Run(name, func(t *testing.T) {
			for key, value := range service.Environment {
				t.Setenv(key, variable.ReplaceAllStringFunc(value, func(s string) string {
					m := variable.FindStringSubmatch(s)
					if v, ok := made[m[1]]; ok {
						return v
					}
					require.Equal(t, ":-", m[2], "%s is neither made nor has a default", m[1])
					return m[3]
				}))
			}
			c, err := ReadConfig()
			require.NoError(t, err)
			for key := range service.Environment {
				assert.NotContains(t, c.unknown, key)
			}
			assert.Equal(t, "postgres://peergpu@postgres/peergpu?sslmode=disable", c.Database)
			assert.Equal(t, "s3://peergpu?endpoint=http://s3:9000&public_endpoint=http://localhost:9000&create_bucket=true", c.Blobs)
			assert.Equal(t, "redis://redis:6379", c.Events)
			assert.Equal(t, compose.Networks.Default.IPAM.Config[0].Subnet, c.TrustedProxies, "the proxy is believed")
		})
	}
	assert.Equal(t, 2, servers)
}

func TestReadyTellsWhatIsToBlame(t *testing.T) {
	t.Parallel()
	status, body := http.StatusOK, map[string]any{"status": "ready", "checks": []any{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/readyz", r.URL.Path)
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}))
	c := Config{Listen: strings.TrimPrefix(server.URL, "http://")}
	require.NoError(t, Ready(t.Context(), c))
	_, port, _ := strings.Cut(c.Listen, ":")
	require.NoError(t, Ready(t.Context(), Config{Listen: ":" + port}))
	require.NoError(t, Ready(t.Context(), Config{Listen: "0.0.0.0:" + port}))
	status, body = http.StatusServiceUnavailable, map[string]any{
		"status": "unready", "checks": []any{map[string]any{"name": "database", "ok": false}, map[string]any{"name": "other", "ok": true}},
	}
	require.EqualError(t, Ready(t.Context(), c), "it is not ready: unready, database")
	server.Close()
	require.ErrorContains(t, Ready(t.Context(), c), "nobody answers")
}
