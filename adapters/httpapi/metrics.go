package httpapi

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/peergpu/peergpu/domain"
)

// collecting is how long the use cases may take to tell their figures.
const collecting = 5 * time.Second

// meters are what operators read at /metrics, in the format of Prometheus
// (https://prometheus.io/docs/instrumenting/exposition_formats/). Counters are of this
// replica since it started; gauges are of the whole installation.
type meters struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
}

func newMeters(d Deps) *meters {
	m := &meters{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "peergpu_http_request_duration_seconds", Help: "Requests by method, route and status.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 11), // to 9.5 s
		}, []string{"method", "route", "code"}),
	}
	m.registry.MustRegister(m.requests, figures{d}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(d.Meters...)
	return m
}

// observe counts a request.
func (m *meters) observe(c echo.Context, took time.Duration) {
	route := c.Path()
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(method(c.Request().Method), route, strconv.Itoa(c.Response().Status)).Observe(took.Seconds())
}

// method keeps clients from making up labels.
func method(name string) string {
	switch name {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return name
	}
	return "other"
}

// mountMetrics serves /metrics to who sends the operator's token.
func (s *server) mountMetrics(e *echo.Echo) {
	want := sha256.Sum256([]byte(s.Settings.MetricsToken))
	h := promhttp.HandlerFor(s.meters.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, ErrorLog: lineLog{s}})
	e.GET("/metrics", func(c echo.Context) error {
		bearer, _ := strings.CutPrefix(c.Request().Header.Get(echo.HeaderAuthorization), "Bearer ")
		given := sha256.Sum256([]byte(bearer))
		if subtle.ConstantTimeCompare(want[:], given[:]) != 1 {
			return domain.Unauthenticated("send the token of PEERGPU_METRICS_TOKEN as a bearer")
		}
		h.ServeHTTP(c.Response(), c.Request())
		return nil
	})
}

// lineLog takes what a scrape could not collect.
type lineLog struct{ *server }

func (l lineLog) Println(v ...any) { l.Log.Warn("metrics are incomplete", "error", v) }

// figures asks the use cases at each scrape.
type figures struct{ Deps }

// Describe names nothing: what is there depends on what happened.
func (figures) Describe(chan<- *prometheus.Desc) {}

func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("peergpu_"+name, help, labels, nil)
}

var (
	jobsNow      = metric("jobs", "Jobs that are not over, by state.", "state")
	jobsWait     = metric("jobs_oldest_wait_seconds", "How long the job that has waited longest is queued.")
	jobsPlaced   = metric("jobs_queue_wait_seconds", "Leases, and how long their jobs had waited in the queue.")
	logBytes     = metric("log_bytes_total", "Bytes of logs that came from agents.")
	hostsNow     = metric("hosts", "Hosts by state: online, offline, suspended.", "state")
	outboxAge    = metric("outbox_oldest_seconds", "Age of the oldest event that is still to be published.")
	ledgerMicros = metric("ledger_micros", "Balances of the platform's own accounts, in millionths of the currency.", "account")
)

// Collect implements prometheus.Collector. What cannot be told is told as an error, beside
// what can.
func (f figures) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collecting)
	defer cancel()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	if j, err := f.Jobs.Figures(ctx); err != nil {
		ch <- prometheus.NewInvalidMetric(jobsNow, err)
	} else {
		for state, n := range j.ByState {
			gauge(jobsNow, float64(n), string(state))
		}
		gauge(jobsWait, j.OldestWait.Seconds())
		ch <- prometheus.MustNewConstSummary(jobsPlaced, j.Leases, j.Waited.Seconds(), nil)
		ch <- prometheus.MustNewConstMetric(logBytes, prometheus.CounterValue, float64(j.LogBytes))
	}
	if census, err := f.Hosts.Census(ctx); err != nil {
		ch <- prometheus.NewInvalidMetric(hostsNow, err)
	} else {
		for state, n := range census {
			gauge(hostsNow, float64(n), state)
		}
	}
	oldest, err := f.Outbox.Pending(ctx, 1)
	switch {
	case err != nil:
		ch <- prometheus.NewInvalidMetric(outboxAge, err)
	case len(oldest) == 0:
		gauge(outboxAge, 0)
	default:
		gauge(outboxAge, f.Clock.Now().Sub(oldest[0].Time).Seconds())
	}
	if balances, err := f.Billing.Platform(ctx); err != nil {
		ch <- prometheus.NewInvalidMetric(ledgerMicros, err)
	} else {
		for account, n := range balances {
			gauge(ledgerMicros, float64(n), string(account))
		}
	}
}
