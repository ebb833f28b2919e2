package adapters

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/labstack/echo/v4"

	"github.com/peergpu/peergpu/adapters/cloudblob"
	"github.com/peergpu/peergpu/adapters/redislive"
	"github.com/peergpu/peergpu/adapters/registries"
	"github.com/peergpu/peergpu/adapters/system"
	"github.com/peergpu/peergpu/adapters/tracing"
	"github.com/peergpu/peergpu/application/billing"
	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/application/identity"
	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	domainbilling "github.com/peergpu/peergpu/domain/billing"
	"github.com/peergpu/peergpu/ports"
)

// Config is the server's configuration. Each field is one environment variable; the
// table in README.md is generated from here. Secrets are variables of their own, never
// part of a URL that is shown.
type Config struct {
	Listen    string `env:"PEERGPU_LISTEN" envDefault:"127.0.0.1:8080" doc:"address and port to serve on"`
	PublicURL string `env:"PEERGPU_PUBLIC_URL" doc:"where users reach the server, such as https://gpu.example.org; http://LISTEN when empty"`
	Data      string `env:"PEERGPU_DATA" envDefault:"./data" doc:"folder of the embedded defaults: database, blobs, keys"`

	Database      string `env:"PEERGPU_DATABASE" doc:"sqlite:///path/to/file, postgres://user@host/db or memory://; sqlite in PEERGPU_DATA when empty"`
	Blobs         string `env:"PEERGPU_BLOBS" doc:"file:///folder, s3://bucket?region=… or another S3 server by s3://bucket?endpoint=http://host:port&public_endpoint=https://files.example.org (where renters and hosts reach it)&create_bucket=true, or mem://; a folder in PEERGPU_DATA when empty"`
	S3AccessKey   string `env:"PEERGPU_S3_ACCESS_KEY,unset" doc:"access key of the S3 server in PEERGPU_BLOBS; when empty as AWS's programs find theirs: AWS_ACCESS_KEY_ID, a profile, the machine's role"`
	S3SecretKey   string `env:"PEERGPU_S3_SECRET_KEY,unset" doc:"secret: the key that goes with it"`
	Events        string `env:"PEERGPU_EVENTS" envDefault:"memory://" doc:"memory://: one server alone; redis://[user@]host:port/db?prefix=name, or rediss:// for TLS: what several servers with one Postgres tell each other through"`
	RedisPassword string `env:"PEERGPU_REDIS_PASSWORD,unset" doc:"secret: the password of the Redis in PEERGPU_EVENTS"`
	Payments      string `env:"PEERGPU_PAYMENTS" envDefault:"sandbox://" doc:"sandbox://: credit without real money"`

	Currency string `env:"PEERGPU_CURRENCY" envDefault:"USD" doc:"ISO 4217 code of the one currency of this installation"`
	FeeBPS   int64  `env:"PEERGPU_FEE_BPS" envDefault:"1000" doc:"the platform's share in hundredths of a percent, 0 to 10000; hosts get the rest"`

	LeaseTTL time.Duration `env:"PEERGPU_LEASE_TTL" envDefault:"60s" doc:"silence after which a host is unreachable; heartbeats come every sixth of it, after five of it its jobs go to other hosts; 300ms to 10m"`

	AgentsPerSecond int `env:"PEERGPU_AGENTS_PER_SECOND" envDefault:"2000" doc:"agents that may connect within a second; the others are told when to come again (503, Retry-After); 0: no limit"`

	LogBytes      int64 `env:"PEERGPU_LOG_BYTES" envDefault:"1073741824" doc:"log bytes of one attempt; what is more is cut with a marker"`
	BundleBytes   int64 `env:"PEERGPU_BUNDLE_BYTES" envDefault:"1073741824" doc:"bytes of a submitted ZIP"`
	ArtifactBytes int64 `env:"PEERGPU_ARTIFACT_BYTES" envDefault:"53687091200" doc:"bytes of all result files of one attempt"`
	ArtifactFiles int   `env:"PEERGPU_ARTIFACT_FILES" envDefault:"10000" doc:"result files of one attempt"`
	JobPIDs       int   `env:"PEERGPU_JOB_PIDS" envDefault:"512" doc:"processes and threads of one job"`

	Registries []string `env:"PEERGPU_REGISTRIES" doc:"registries that container images may come from beside the well-known public ones, by commas: host or host:port, IP addresses too, with http:// before those without TLS; hosts call them, so name none that the jobs of strangers should not reach"`

	Images map[string]string `env:"PEERGPU_IMAGES" envKeyValSeparator:"=" envDefault:"default=pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime,python=python:3.12-slim,cuda=nvidia/cuda:12.4.1-runtime-ubuntu22.04" doc:"container images by short names that jobs may use, name=image by commas; default is what a job runs in that names none, on hosts with containers. Each is pinned to its digest when it is first needed and stays that until it is another tag here; none when it is set and empty"`

	OrphanAge time.Duration `env:"PEERGPU_ORPHAN_AGE" envDefault:"12h" doc:"age at which files that no job needs are removed, such as an upload that came too late; at the latest a quarter of it later they are gone; 10m to 720h"`

	LoginsPerMinute int `env:"PEERGPU_LOGINS_PER_MINUTE" envDefault:"5" doc:"sign-in tries per account and address; 0: no limit"`
	SignUpsPerHour  int `env:"PEERGPU_SIGN_UPS_PER_HOUR" envDefault:"3" doc:"new accounts per address; 0: no limit"`

	RequestsPerMinute int `env:"PEERGPU_REQUESTS_PER_MINUTE" envDefault:"600" doc:"requests of the API per account, or per address without one; 0: no limit"`
	JobsPerMinute     int `env:"PEERGPU_JOBS_PER_MINUTE" envDefault:"30" doc:"jobs that an account submits or runs again; 0: no limit"`
	ConnectsPerMinute int `env:"PEERGPU_CONNECTS_PER_MINUTE" envDefault:"30" doc:"WebSockets opened per host, per account, or per address with a credential that is none; 0: no limit"`

	TrustedProxies string `env:"PEERGPU_TRUSTED_PROXIES" doc:"networks of your proxies, such as 10.0.0.0/8,::1/128: what these say in X-Forwarded-For is a client's address; none when empty"`

	LogLevel string `env:"PEERGPU_LOG_LEVEL" envDefault:"info" doc:"debug, info, warn or error"`

	Traces       string `env:"PEERGPU_TRACES" doc:"URL of an OpenTelemetry collector, such as http://collector:4318, that gets a trace of each request and of each job's life by OTLP over HTTP (with OTEL_EXPORTER_OTLP_HEADERS and its like); none when empty"`
	MetricsToken string `env:"PEERGPU_METRICS_TOKEN,unset" doc:"secret: at least 16 characters; who sends it as a bearer may read /metrics (Prometheus), which is not there when empty"`

	TokenKey    string `env:"PEERGPU_TOKEN_KEY,unset" doc:"secret: 32 bytes in base64, signs access tokens; made in PEERGPU_DATA/keys when empty, unless DATABASE is postgres"`
	ManifestKey string `env:"PEERGPU_MANIFEST_KEY,unset" doc:"secret: 32 bytes in base64, signs what agents obey; as above"`
	VaultKey    string `env:"PEERGPU_VAULT_KEY,unset" doc:"secret: 32 bytes in base64, encrypts renters' secrets in the database; as above"`
	images      registries.List
	redis       redislive.Options
	unknown     []string // variables that look like ours and are none

	// Demo is set by the demo command alone: loopback only, well-known passwords.
	Demo bool

	BlobKey string `env:"PEERGPU_BLOB_KEY,unset" doc:"secret: 32 bytes in base64, signs links to files; as above"`
}

var imageName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// ReadConfig reads the configuration from the environment and checks it whole, so that
// every mistake is told at once.
func ReadConfig() (Config, error) {
	var c Config
	c.unknown = unknownVariables(os.Environ())
	if err := errors.Join(misspelt(c.unknown), named(env.Parse(&c))); err != nil {
		return c, err
	}
	if images, set := os.LookupEnv("PEERGPU_IMAGES"); set && images == "" {
		c.Images = nil // env takes what is empty for what is not there
	}
	return c.Complete()
}

// named tells which variables have a value of the wrong type, in words for operators.
func named(err error) error {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return err
	}
	var wrong []error
	for _, e := range all.Errors {
		var typed env.ParseError
		if !errors.As(e, &typed) {
			wrong = append(wrong, e)
			continue
		}
		field, _ := reflect.TypeFor[Config]().FieldByName(typed.Name)
		name, _, _ := strings.Cut(field.Tag.Get("env"), ",")
		kind := "a whole number"
		if field.Type == reflect.TypeFor[time.Duration]() {
			kind = "a time with its unit, such as 60s"
		}
		wrong = append(wrong, fmt.Errorf("%s: %q is not %s", name, os.Getenv(name), kind))
	}
	return errors.Join(wrong...)
}

// Complete fills in what follows from other fields, and checks everything.
func (c Config) Complete() (Config, error) {
	data, err := filepath.Abs(c.Data)
	if err != nil {
		return c, fmt.Errorf("PEERGPU_DATA: %w", err)
	}
	c.Data = data
	if c.Database == "" {
		c.Database = "sqlite://" + filepath.Join(data, "peergpu.db")
	}
	if c.Blobs == "" {
		c.Blobs = "file://" + filepath.Join(data, "blobs")
	}
	var wrong []error
	add := func(bad bool, format string, args ...any) {
		if bad {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	_, _, err = net.SplitHostPort(c.Listen)
	add(err != nil, "PEERGPU_LISTEN: %q is no address with a port, such as 127.0.0.1:8080", c.Listen)
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		add(err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "", "PEERGPU_PUBLIC_URL: %q is no http or https URL", c.PublicURL)
		c.PublicURL = strings.TrimRight(c.PublicURL, "/")
	}
	add(!oneOf(c.Database, "sqlite://", "postgres://", "postgresql://", "memory://"), "PEERGPU_DATABASE: use sqlite://, postgres:// or memory://")
	add(!oneOf(c.Blobs, "file://", "s3://", "mem://"), "PEERGPU_BLOBS: use file://, s3:// or mem://")
	add((c.S3AccessKey == "") != (c.S3SecretKey == ""), "PEERGPU_S3_ACCESS_KEY and PEERGPU_S3_SECRET_KEY: set both or none")
	add(!oneOf(c.Events, append(redisSchemes, "memory://")...), "PEERGPU_EVENTS: use memory://, redis:// or rediss://")
	if oneOf(c.Events, redisSchemes...) {
		c.redis, err = redislive.Parse(c.Events, c.RedisPassword)
		add(err != nil, "PEERGPU_EVENTS: %w", err)
	}
	add(!oneOf(c.Payments, "sandbox://"), "PEERGPU_PAYMENTS: use sandbox://")
	add(len(c.Currency) != 3 || strings.ToUpper(c.Currency) != c.Currency, "PEERGPU_CURRENCY: %q is no ISO 4217 code, such as USD", c.Currency)
	add(c.FeeBPS < 0 || c.FeeBPS > 10_000, "PEERGPU_FEE_BPS: between 0 and 10000")
	add(c.LeaseTTL < 300*time.Millisecond || c.LeaseTTL > 10*time.Minute, "PEERGPU_LEASE_TTL: between 300ms and 10m")
	c.images, err = registries.New(c.Registries...)
	add(err != nil, "PEERGPU_REGISTRIES: %w", err)
	for name, image := range c.Images {
		add(!imageName.MatchString(name), "PEERGPU_IMAGES: %q is no short name: lower-case letters, digits and dashes", name)
		if err := c.images.Check(image); err != nil {
			add(true, "PEERGPU_IMAGES: %s=%s: %w", name, image, err)
		}
	}
	add(c.OrphanAge < 10*time.Minute || c.OrphanAge > 720*time.Hour, "PEERGPU_ORPHAN_AGE: between 10m and 720h")
	for name, v := range map[string]int64{
		"PEERGPU_LOG_BYTES": c.LogBytes, "PEERGPU_BUNDLE_BYTES": c.BundleBytes, "PEERGPU_ARTIFACT_BYTES": c.ArtifactBytes,
		"PEERGPU_ARTIFACT_FILES": int64(c.ArtifactFiles), "PEERGPU_JOB_PIDS": int64(c.JobPIDs),
	} {
		add(v < 1, "%s: at least 1", name)
	}
	for name, v := range map[string]int{
		"PEERGPU_LOGINS_PER_MINUTE": c.LoginsPerMinute, "PEERGPU_SIGN_UPS_PER_HOUR": c.SignUpsPerHour, "PEERGPU_JOBS_PER_MINUTE": c.JobsPerMinute,
		"PEERGPU_REQUESTS_PER_MINUTE": c.RequestsPerMinute, "PEERGPU_CONNECTS_PER_MINUTE": c.ConnectsPerMinute,
		"PEERGPU_AGENTS_PER_SECOND": c.AgentsPerSecond,
	} {
		add(v < 0, "%s: at least 0, which is no limit", name)
	}
	if c.Traces != "" {
		err = tracing.Check(c.Traces)
		add(err != nil, "PEERGPU_TRACES: %w", err)
	}
	_, err = c.clientAddress()
	add(err != nil, "PEERGPU_TRUSTED_PROXIES: %v", err)
	add(c.MetricsToken != "" && len(c.MetricsToken) < 16, "PEERGPU_METRICS_TOKEN: at least 16 characters; openssl rand -hex 16 makes one")
	add(!oneOf(c.LogLevel+"|", "debug|", "info|", "warn|", "error|"), "PEERGPU_LOG_LEVEL: debug, info, warn or error")
	return c, errors.Join(wrong...)
}

// ForDemo is the configuration in demo mode: well-known passwords, and therefore only
// for this machine.
func (c Config) ForDemo() (Config, error) {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return c, err
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return c, fmt.Errorf("PEERGPU_LISTEN=%s: the demo has well-known passwords and serves on a loopback address alone, such as 127.0.0.1:8080", c.Listen)
	}
	c.Demo, c.LoginsPerMinute, c.SignUpsPerHour = true, 0, 0
	c.RequestsPerMinute, c.JobsPerMinute, c.ConnectsPerMinute = 0, 0, 0
	return c, nil
}

var redisSchemes = []string{"redis://", "rediss://"}

func oneOf(s string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// embedded says that everything lives in the data folder of this one process.
func (c Config) embedded() bool { return !oneOf(c.Database, "postgres") }

// keys opens the secrets: from the configuration, or on the embedded profile from the
// data folder.
func (c Config) keys() (system.Keys, error) {
	folder := ""
	if c.embedded() {
		folder = filepath.Join(c.Data, "keys")
	}
	return system.OpenKeys(folder, system.GivenKeys{Token: c.TokenKey, Manifest: c.ManifestKey, Vault: c.VaultKey, Blob: c.BlobKey})
}

// The proportions of a lease (reliability page): heartbeats come in time for six tries,
// and what is silent for five leases is given to others.
const (
	beatsPerLease  = 6
	leasesToAssign = 5
	uploadTTL      = time.Hour
)

func (c Config) jobs() jobs.Settings {
	return jobs.Settings{
		Currency: c.Currency, LeaseTTL: c.LeaseTTL, ReassignAfter: leasesToAssign * c.LeaseTTL, UploadTTL: uploadTTL, OrphanAge: c.OrphanAge,
		LogBytes: c.LogBytes, BundleBytes: c.BundleBytes, ArtifactBytes: c.ArtifactBytes, ArtifactFiles: c.ArtifactFiles, FileBytes: cloudblob.MostBytes(c.Blobs), PIDs: c.JobPIDs,
		CheckImage: c.images.Check, Named: c.Images,
	}
}

func (c Config) hosts() hosts.Settings {
	return hosts.Settings{Currency: c.Currency, LeaseTTL: c.LeaseTTL, Heartbeat: c.LeaseTTL / beatsPerLease}
}

func (c Config) identity() identity.Settings {
	return identity.Settings{
		LoginLimit:  perMinute(c.LoginsPerMinute),
		SignUpLimit: ports.Limit{Times: c.SignUpsPerHour, Per: time.Hour},
	}
}

// perMinute is a limit as it stands in the configuration.
func perMinute(times int) ports.Limit { return ports.Limit{Times: times, Per: time.Minute} }

// clientAddress tells where a request comes from: whoever connects to us, or what the
// proxies that are trusted say of it. Anybody can write X-Forwarded-For.
func (c Config) clientAddress() (echo.IPExtractor, error) {
	if c.TrustedProxies == "" {
		return echo.ExtractIPDirect(), nil
	}
	trusted := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for network := range strings.SplitSeq(c.TrustedProxies, ",") {
		_, parsed, err := net.ParseCIDR(strings.TrimSpace(network))
		if err != nil {
			return nil, fmt.Errorf("%q is no network such as 10.0.0.0/8 or 127.0.0.1/32", network)
		}
		trusted = append(trusted, echo.TrustIPRange(parsed))
	}
	return echo.ExtractIPFromXFFHeader(trusted...), nil
}

const (
	smallestTopUp domain.Micros = 10_000_000
	largestTopUp  domain.Micros = 10_000_000_000
)

func (c Config) billing() billing.Settings {
	return billing.Settings{
		Currency: c.Currency, Fee: domainbilling.FeeBasis(c.FeeBPS), SmallestUp: smallestTopUp, LargestUp: largestTopUp,
		// As long as hosts have until their jobs go elsewhere, and at least what a submit takes.
		StaleHold: min(max(5*c.LeaseTTL, 10*time.Second), 5*time.Minute),
	}
}
