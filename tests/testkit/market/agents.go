package market

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/domain"
	domainhosts "github.com/peergpu/peergpu/domain/hosts"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
)

// beat is how often agents report that they are alive.
const beat = 10 * time.Second

// Machine describes a host.
type Machine struct {
	Name      string
	GPUs      int           // 1 if not given
	Model     string        // an RTX 4090 if not given
	Price     domain.Micros // of a GPU-hour; 360,000 if not given: 100 a second
	Region    string
	Tags      []string
	Isolation domainhosts.Isolation // container if not given
	Unlisted  bool
	Away      bool // it enrols and does not connect yet
}

// DefaultPrice makes a second cost 100.
const DefaultPrice domain.Micros = 360_000

// Host is an agent on its machine.
type Host struct {
	ID      domain.ID
	Owner   domain.Actor
	Actor   domain.Actor
	Key     ed25519.PrivateKey
	Session hosts.Session
	Facts   domainhosts.Facts
	GPUs    []domainhosts.Device

	m    *Market
	stop func()
}

// Host enrols a machine for its owner, connects it, lets its heart beat, and waits until
// the match knows it.
func (m *Market) Host(owner domain.Actor, x Machine) *Host {
	m.t.Helper()
	ctx := m.t.Context()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(m.t, err)
	x.Name, x.Model = either(x.Name, "box"), either(x.Model, "NVIDIA GeForce RTX 4090")
	x.Isolation, x.Price, x.GPUs = either(x.Isolation, "container"), either(x.Price, DefaultPrice), either(x.GPUs, 1)
	h := &Host{m: m, Owner: owner, Key: private, stop: func() {}, Facts: domainhosts.Facts{
		AgentVersion: "1", MachineID: hex.EncodeToString(public), OS: "linux", Arch: "amd64",
		CPUs: 8 * x.GPUs, MemoryMB: int64(32_768 * x.GPUs), DiskMB: int64(100_000 * x.GPUs),
		Runtime: "docker", Isolation: x.Isolation, Limits: "cgroup", Inventory: "one",
	}}
	for i := range x.GPUs {
		h.GPUs = append(h.GPUs, domainhosts.Device{UUID: fmt.Sprintf("GPU-%x-%d", public[:4], i), Model: x.Model, VRAMMB: 24_564, Driver: "570", CUDA: "12.8"})
	}
	token, _, err := m.Hosts.EnrollmentToken(ctx, owner)
	require.NoError(m.t, err)
	e := hosts.Enrolment{Token: token, PublicKey: public, Name: x.Name, Facts: h.Facts, GPUs: h.GPUs, Tags: x.Tags, Region: x.Region, Price: &x.Price}
	if x.Unlisted {
		e.Price = nil
	}
	s, err := m.Hosts.Register(ctx, e)
	require.NoError(m.t, err)
	h.ID = s.ID
	m.t.Cleanup(func() { h.Silence() })
	if !x.Away {
		h.Connect()
	}
	synctest.Wait()
	return h
}

func either[V comparable](given, otherwise V) V {
	var none V
	if given == none {
		return otherwise
	}
	return given
}

// Assertion is the agent's proof of who it is.
func (h *Host) Assertion(jti string, now time.Time) string {
	h.m.t.Helper()
	name := h.ID.Prefixed("hst")
	claims, err := json.Marshal(map[string]any{
		"iss": name, "sub": name, "aud": "peergpu-agent-token", "jti": jti, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	})
	require.NoError(h.m.t, err)
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA","typ":"peergpu-assertion+jwt"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(h.Key, []byte(text)))
}

// Hello is what the agent says when it connects.
func (h *Host) Hello() hosts.Hello {
	return hosts.Hello{Signed: func([]byte) bool { return true }, AgentVersion: h.Facts.AgentVersion, MachineID: h.Facts.MachineID, Inventory: h.Facts.Inventory}
}

// Connect opens a session, by the way that an agent goes, and begins to beat.
func (h *Host) Connect() {
	h.m.t.Helper()
	h.Silence()
	ctx := h.m.t.Context()
	token, err := h.m.Hosts.AgentToken(ctx, h.ID, h.Assertion(rand.Text(), h.m.Clock.Now()))
	require.NoError(h.m.t, err)
	h.Actor, _, err = h.m.Hosts.AuthenticateAgent(ctx, token)
	require.NoError(h.m.t, err)
	h.Session, err = h.m.Hosts.Connect(ctx, h.Actor, h.Hello())
	require.NoError(h.m.t, err)
	if h.Session.WantInventory {
		require.NoError(h.m.t, h.m.Hosts.Report(ctx, h.Session, h.Facts, h.GPUs))
	}
	stop, session := make(chan struct{}), h.Session
	var group sync.WaitGroup
	group.Go(func() {
		ticker := time.NewTicker(beat)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				h.m.beats.Load().Heartbeat(session, nil)
			}
		}
	})
	h.stop = sync.OnceFunc(func() {
		close(stop)
		group.Wait()
	})
}

// Beat reports that the host is alive, and its load.
func (h *Host) Beat(loads ...hosts.Load) { h.m.beats.Load().Heartbeat(h.Session, loads) }

// Silence stops the heart; the session stays open, as one does whose cable was cut.
func (h *Host) Silence() { h.stop() }

// Disconnect ends the session in order.
func (h *Host) Disconnect() {
	h.m.t.Helper()
	h.Silence()
	require.NoError(h.m.t, h.m.Hosts.Disconnect(h.m.t.Context(), h.Session))
}

// Offer lists all devices of the host at a price.
func (h *Host) Offer(price domain.Micros) {
	h.m.t.Helper()
	listed := true
	h.Change(hosts.Change{Price: &price, Listed: &listed})
}

// Rename gives the host another name.
func (h *Host) Rename(name string) {
	h.m.t.Helper()
	h.Change(hosts.Change{Details: domainhosts.Details{Name: &name}})
}

// Change is what its owner changes.
func (h *Host) Change(c hosts.Change) {
	h.m.t.Helper()
	_, err := h.m.Hosts.Update(h.m.t.Context(), h.Owner, h.ID, c)
	require.NoError(h.m.t, err)
}

// Orders is what the host has to do.
func (h *Host) Orders() []jobs.Order {
	h.m.t.Helper()
	orders, _, err := h.m.Jobs.Orders(h.m.t.Context(), h.Actor)
	require.NoError(h.m.t, err)
	return orders
}

// Take accepts the one order to run that the host has.
func (h *Host) Take() *Attempt {
	h.m.t.Helper()
	orders := h.Orders()
	require.Len(h.m.t, orders, 1)
	require.False(h.m.t, orders[0].Cancel)
	a := &Attempt{Ref: jobs.Ref{Job: orders[0].Job.ID, Attempt: orders[0].Attempt.Number}, Order: orders[0], Host: h}
	require.NoError(h.m.t, h.m.Jobs.Accept(h.m.t.Context(), h.Actor, a.Ref))
	return a
}

// Attempt is an agent's side of one.
type Attempt struct {
	jobs.Ref
	Order jobs.Order
	Host  *Host
	Bytes []byte // the log so far
	// What it fetched before it started, in bytes, and how long that took.
	Fetched   int64
	FetchTook time.Duration

	began time.Time
	ran   time.Duration
	code  *int
}

// Start says that the command runs.
func (a *Attempt) Start() {
	a.Host.m.t.Helper()
	a.began = a.Host.m.Clock.Now()
	a.Advance(domainjobs.PhaseRunning)
}

// Advance tells a phase.
func (a *Attempt) Advance(phase domainjobs.Phase) {
	a.Host.m.t.Helper()
	require.NoError(a.Host.m.t, a.Host.m.Jobs.Advance(a.Host.m.t.Context(), a.Host.Actor, a.Ref, domainjobs.Progress{Name: phase}))
}

// Print sends log bytes; they are durable a little later.
func (a *Attempt) Print(text string) {
	a.Host.m.t.Helper()
	require.NoError(a.Host.m.t, a.Send(int64(len(a.Bytes)), []byte(text), func(jobs.Position) {}))
	a.Bytes = append(a.Bytes, text...)
}

// Send sends log bytes at an offset.
func (a *Attempt) Send(offset int64, data []byte, answer func(jobs.Position)) error {
	m := a.Host.m
	return m.Jobs.AppendLog(m.t.Context(), a.Host.Actor, a.Ref, offset, m.Clock.Now(), bytes.Clone(data), answer)
}

// Exit says that the command has ended.
func (a *Attempt) Exit(code int) {
	a.Host.m.t.Helper()
	a.code, a.ran = &code, a.Host.m.Clock.Now().Sub(a.began)
	require.NoError(a.Host.m.t, a.Host.m.Jobs.Exited(a.Host.m.t.Context(), a.Host.Actor, a.Ref, a.exit()))
}

func (a *Attempt) exit() domainjobs.Exit {
	e := domainjobs.Exit{Code: a.code, Ran: a.ran}
	if a.code != nil && *a.code != 0 {
		e.Reason = domainjobs.ReasonExitCode
	}
	return e
}

// FileOf announces a file.
func FileOf(path, content string) domainjobs.File {
	sum := sha256.Sum256([]byte(content))
	return domainjobs.File{Path: path, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
}

// Upload delivers one result file.
func (a *Attempt) Upload(path, content string) {
	a.Host.m.t.Helper()
	m := a.Host.m
	uploads, err := m.Jobs.AuthorizeUploads(m.t.Context(), a.Host.Actor, a.Ref, []domainjobs.File{FileOf(path, content)})
	require.NoError(m.t, err)
	require.Len(m.t, uploads, 1)
	if uploads[0].Put != nil {
		status, answer := m.Send(*uploads[0].Put, bytes.NewReader([]byte(content)))
		require.Equal(m.t, http.StatusCreated, status, string(answer))
	}
	require.NoError(m.t, m.Jobs.ConfirmUploads(m.t.Context(), a.Host.Actor, a.Ref, []domainjobs.File{FileOf(path, content)}))
}

// Result is what the agent has to say at the end.
func (a *Attempt) Result() domainjobs.Result {
	sum := sha256.Sum256(a.Bytes)
	return domainjobs.Result{
		Exit: a.exit(), LogBytes: int64(len(a.Bytes)), LogSHA256: hex.EncodeToString(sum[:]),
		LogLines: int64(bytes.Count(a.Bytes, []byte("\n"))), Fetched: a.Fetched, FetchTook: a.FetchTook,
	}
}

// Finish delivers the end, which has to be accepted.
func (a *Attempt) Finish() {
	a.Host.m.t.Helper()
	require.NoError(a.Host.m.t, a.Host.m.Jobs.Finished(a.Host.m.t.Context(), a.Host.Actor, a.Ref, a.Result()))
}

// Run is a whole attempt that prints a line and ends with a code after a time.
func (a *Attempt) Run(code int, after time.Duration) {
	a.Host.m.t.Helper()
	a.Start()
	a.Print("hello\n")
	if after > 0 {
		time.Sleep(after)
	}
	a.Exit(code)
	a.Finish()
}
