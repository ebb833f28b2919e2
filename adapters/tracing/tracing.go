// Package tracing is for telling an OpenTelemetry collector how long each step of a job
// took. The trace of a job has the job's own id, so that who has the one finds the other,
// and is told whole when the job has ended: what happened when is in storage, and no
// replica has to remember it.
package tracing

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/url"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// Traces sends spans by OTLP over HTTP, in batches. While nobody takes them they are lost.
type Traces struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	jobs     ports.Jobs
}

// Check says whether an endpoint can be one: the URL of a collector, such as
// http://collector:4318.
func Check(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("%q is no URL of a collector, such as http://collector:4318", endpoint)
	}
	return nil
}

// Open sends what is traced to an endpoint; without a path, to its /v1/traces. The
// variables of OpenTelemetry's exporters hold too, such as OTEL_EXPORTER_OTLP_HEADERS.
func Open(ctx context.Context, endpoint string) (*Traces, error) {
	if err := Check(endpoint); err != nil {
		return nil, err
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()))
	if err != nil {
		return nil, err
	}
	version := "dev"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	about := resource.NewSchemaless(attribute.String("service.name", "peergpu"), attribute.String("service.version", version))
	p := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about), sdk.WithIDGenerator(ids{}))
	return &Traces{provider: p, tracer: p.Tracer("github.com/peergpu/peergpu")}, nil
}

// Tracer makes spans of what happens now.
func (t *Traces) Tracer() trace.Tracer { return t.tracer }

// Close sends what waits.
func (t *Traces) Close(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// Subscribe has each job traced when it has ended.
func (t *Traces) Subscribe(bus ports.Bus, store ports.Jobs) {
	t.jobs = store
	bus.Subscribe("traces", t.ended, jobs.EventSucceeded, jobs.EventFailed, jobs.EventCancelled)
}

func (t *Traces) ended(ctx context.Context, e domain.Event) error {
	j, err := t.jobs.Get(ctx, e.Key, domain.ID{})
	if err != nil {
		return err
	}
	t.job(ctx, j)
	return nil
}

// job makes the spans of a job: its waits, its attempts, and what these consist of.
func (t *Traces) job(ctx context.Context, j jobs.Snapshot) {
	s := steps{t, j.ID}
	root := s.begin(trace.ContextWithSpanContext(ctx, trace.SpanContext{}), "job", j.CreatedAt,
		attribute.String("peergpu.job.id", j.ID.Prefixed("job")), attribute.String("peergpu.job.state", string(j.State)),
		attribute.String("peergpu.job.reason", string(j.Reason)), attribute.Int64("peergpu.job.cost_micros", int64(j.Cost())),
		attribute.String("peergpu.job.currency", j.Currency))
	waits := j.CreatedAt
	for _, a := range j.Attempts {
		n := fmt.Sprintf(" %d", a.Number)
		s.step(root.ctx, "queued"+n, waits, a.LeasedAt)
		attempt := s.begin(root.ctx, "attempt"+n, a.LeasedAt,
			attribute.String("peergpu.host.id", a.Host.Prefixed("hst")), attribute.String("peergpu.attempt.outcome", string(a.Outcome)),
			attribute.String("peergpu.attempt.reason", string(a.Reason)), attribute.Int("peergpu.attempt.gpus", len(a.Devices)))
		s.step(attempt.ctx, "delivered"+n, a.LeasedAt, a.AcceptedAt)
		s.step(attempt.ctx, "prepared"+n, a.AcceptedAt, a.StartedAt)
		s.step(attempt.ctx, "ran"+n, a.StartedAt, a.ExitedAt)
		s.step(attempt.ctx, "results"+n, a.ExitedAt, a.EndedAt)
		attempt.end(a.EndedAt, a.Outcome != jobs.OutcomeSucceeded, string(a.Reason))
		waits = a.EndedAt
	}
	if len(j.Attempts) == 0 {
		s.step(root.ctx, "queued", waits, j.FinishedAt)
	}
	root.end(j.FinishedAt, j.State == jobs.Failed, string(j.Reason))
}

// steps makes spans of a job, whose ids follow from what they are: an event that is
// handled twice gives the same.
type steps struct {
	t   *Traces
	job domain.ID
}

// span is one that has begun.
type span struct {
	trace.Span
	ctx context.Context
}

func (s steps) begin(ctx context.Context, name string, at time.Time, attrs ...attribute.KeyValue) span {
	sum := sha256.Sum256([]byte(s.job.String() + "/" + name))
	fixed := identity{trace: trace.TraceID(s.job), span: trace.SpanID(sum[:8])}
	ctx, begun := s.t.tracer.Start(context.WithValue(ctx, identityKey{}, fixed), name, trace.WithTimestamp(at), trace.WithAttributes(attrs...))
	return span{begun, ctx}
}

// step is a span from one moment to another, if there were both.
func (s steps) step(ctx context.Context, name string, from, to time.Time) {
	if !from.IsZero() && !to.IsZero() {
		s.begin(ctx, name, from).end(to, false, "")
	}
}

func (s span) end(at time.Time, failed bool, why string) {
	if failed {
		s.SetStatus(codes.Error, why)
	}
	s.End(trace.WithTimestamp(at))
}

// identity is what the next span is called.
type identity struct {
	trace trace.TraceID
	span  trace.SpanID
}

type identityKey struct{}

// ids gives spans the identity that their context says, and others a random one.
type ids struct{}

// NewIDs implements sdk.IDGenerator.
func (i ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if fixed, ok := ctx.Value(identityKey{}).(identity); ok {
		return fixed.trace, fixed.span
	}
	var id trace.TraceID
	_, _ = rand.Read(id[:]) // never fails
	return id, i.NewSpanID(ctx, id)
}

// NewSpanID implements sdk.IDGenerator.
func (ids) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	if fixed, ok := ctx.Value(identityKey{}).(identity); ok {
		return fixed.span
	}
	var id trace.SpanID
	_, _ = rand.Read(id[:]) // never fails
	return id
}
