package architecture

import "strings"

// row says what the packages of one pattern may import. In a pattern, `*` is
// one element of a path and a final `/**` the package and all below it. In
// ours, `$` is what `*` stood for. The first row that fits a package counts.
type row struct {
	packages string
	ours     string // patterns of our own packages, by spaces
	vendors  string // names of the vendors table, by spaces
}

// The table of ARCHITECTURE.md. A vendor stands in the rows of its homes only.
var table = []row{
	{"domain", "", ""},
	{"domain/*", "domain", ""},
	{"ports", "domain/**", ""},

	// Two use cases look across the contexts: they are declared here by name.
	{"application/notices", "domain/** ports", ""},
	{"application/admin", "domain/** ports", ""},
	{"application/*", "domain domain/$ ports", ""},
	{"application", "application/* domain/** ports", "fx"},

	// Driven adapters never see each other or the use cases.
	{"adapters/memory", driven, ""},
	{"adapters/bunstore/**", driven + " adapters/bunstore/**", "bun goose pgx sqlite zstd"},
	{"adapters/cloudblob", driven, "gocloud aws"},
	{"adapters/eventbus", driven, "watermill rueidis"},
	{"adapters/redislive", driven, "rueidis"},
	{"adapters/registries", driven, "reference oci oras ssrf"},
	{"adapters/stripepay", driven, "stripe"},
	{"adapters/josetokens", driven, "jose"},
	{"adapters/oidclogin", driven, "oidc oauth2"},
	{"adapters/smtpmail", driven, ""},
	{"adapters/system", driven, "uuid crypto"},

	// Driving adapters speak the published language to the use cases.
	{"adapters/httpapi/**", driving + " adapters/httpapi/**", "echo kin-openapi oapi-runtime prometheus otel websocket"},
	{"adapters/gateway", driving, "echo websocket"},
	{"adapters/bridge", driving, ""},
	{"adapters/tracing", driven, "otel"},

	{"adapters", "adapters/** application/** domain/** ports openapi/** web", "fx env echo prometheus otel"},

	{"openapi/**", "", "echo kin-openapi oapi-runtime text"},
	{"web", "", ""},

	// Strangers run the agent: it knows the wire and the bundle, nothing else.
	{"agent/daemon/**", agent, "jose sys"},
	{"agent/gpu/nvml", agent, "nvml"},
	{"agent/gpu", agent, ""},
	{"agent/runtime/**", agent, "docker moby-sys oci sys"},
	{"agent/entry", "agent/runtime/entry", ""},
	{"agent/transfer", agent, "websocket"},
	{"agent", agent, "kong yaml sys"},

	{"", "application adapters agent/daemon agent/gpu agent/runtime agent/transfer", "fx kong"},

	{hooks, "", ""},
	{"tests/**", "**", testVendors + " pgx sqlite websocket echo kin-openapi watermill fx jose oci oras otlp moby-sys sys"},
}

const (
	driven  = "domain/** ports"
	driving = driven + " application/** openapi/** web"
	agent   = "agent/** openapi/wire openapi/bundle"

	// The crash points stand wherever something can die, which is everywhere but in
	// what only computes.
	hooks      = "tests/faults"
	neverHooks = "domain/** openapi/**"
)

// What tests may import beyond their package's row: the doubles that are fast
// enough for everywhere, and what helps to assert. None of it leads upwards.
const (
	testOurs    = "domain/** ports openapi adapters/memory adapters/system tests/contract tests/testkit/**"
	testVendors = "testify rapid yaml toxiproxy"
)

// vendors names the modules of others that we import, each by its path
// prefixes. An import that fits none fails: a new vendor needs a home.
var vendors = map[string]string{
	"aws":          "github.com/aws/aws-sdk-go-v2 github.com/aws/smithy-go",
	"bun":          "github.com/uptrace/bun",
	"crypto":       "golang.org/x/crypto",
	"docker":       "github.com/docker/docker github.com/containerd/errdefs github.com/docker/go-connections github.com/docker/go-units github.com/moby/docker-image-spec",
	"echo":         "github.com/labstack/echo/v4",
	"env":          "github.com/caarlos0/env/v11",
	"fx":           "go.uber.org/fx",
	"gocloud":      "gocloud.dev",
	"goose":        "github.com/pressly/goose/v3",
	"jose":         "github.com/go-jose/go-jose/v4",
	"kin-openapi":  "github.com/getkin/kin-openapi",
	"kong":         "github.com/alecthomas/kong",
	"moby-sys":     "github.com/moby/sys",
	"nvml":         "github.com/NVIDIA/go-nvml",
	"oapi-runtime": "github.com/oapi-codegen/runtime",
	"oauth2":       "golang.org/x/oauth2",
	"oidc":         "github.com/coreos/go-oidc/v3",
	"otel":         "go.opentelemetry.io/otel",
	"otlp":         "go.opentelemetry.io/proto/otlp google.golang.org/protobuf",
	"pgx":          "github.com/jackc/pgx/v5",
	"oci":          "github.com/opencontainers/image-spec github.com/opencontainers/go-digest",
	"oras":         "oras.land/oras-go/v2",
	"prometheus":   "github.com/prometheus/client_golang",
	"rapid":        "pgregory.net/rapid",
	"reference":    "github.com/distribution/reference",
	"rueidis":      "github.com/redis/rueidis",
	"sqlite":       "modernc.org/sqlite",
	"ssrf":         "code.dny.dev/ssrf",
	"stripe":       "github.com/stripe/stripe-go/v79",
	"sys":          "golang.org/x/sys",
	"testify":      "github.com/stretchr/testify",
	"toxiproxy":    "github.com/Shopify/toxiproxy/v2 github.com/rs/zerolog",
	"text":         "golang.org/x/text",
	"uuid":         "github.com/google/uuid",
	"watermill":    "github.com/ThreeDotsLabs/watermill",
	"websocket":    "github.com/gorilla/websocket",
	"yaml":         "go.yaml.in/yaml/v3",
	"zstd":         "github.com/klauspost/compress",
}

// vendorOf returns the name of the vendor that a package belongs to, or "".
func vendorOf(path string) string {
	for name, prefixes := range vendors {
		for prefix := range strings.FieldsSeq(prefixes) {
			if path == prefix || strings.HasPrefix(path, prefix+"/") {
				return name
			}
		}
	}
	return ""
}

// fits matches a package with a pattern; star is what `*` stood for.
func fits(pattern, pkg string) (star string, ok bool) {
	if pattern == "**" {
		return "", true
	}
	if base, deep := strings.CutSuffix(pattern, "/**"); deep {
		return "", pkg == base || strings.HasPrefix(pkg, base+"/")
	}
	if base, one := strings.CutSuffix(pattern, "/*"); one {
		star, ok = strings.CutPrefix(pkg, base+"/")
		return star, ok && !strings.Contains(star, "/")
	}
	return "", pattern == pkg
}

// rowOf returns the row of a package with `$` filled in.
func rowOf(pkg string) (row, bool) {
	for _, r := range table {
		if star, ok := fits(r.packages, pkg); ok {
			r.ours = strings.ReplaceAll(r.ours, "$", star)
			return r, true
		}
	}
	return row{}, false
}

// among tells whether any of the patterns fits the package.
func among(patterns, pkg string) bool {
	for pattern := range strings.FieldsSeq(patterns) {
		if _, ok := fits(pattern, pkg); ok {
			return true
		}
	}
	return false
}
