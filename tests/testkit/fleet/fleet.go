// Package fleet plays many agents in one process: over real WebSockets, with real keys
// and the real protocol, and without what makes the agent's daemon heavy (a journal, a
// spool, a runtime). A job runs by a script in Go, and takes no time unless that does.
package fleet

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/peergpu/peergpu/openapi/wire"
)

// Options says how a fleet behaves.
type Options struct {
	URL   string // of the server, such as http://127.0.0.1:8080
	Owner string // bearer token of the account that the hosts belong to
	Name  string // of every host, with its number behind it
	Count int
	// Run is what a job does, on a goroutine of its own; it prints one line if nil. It is
	// called once for each attempt, also when the connection breaks meanwhile.
	Run func(*Attempt)
}

// Fleet is connected agents.
type Fleet struct {
	Options
	Agents []*Agent

	http   *http.Client
	dialer websocket.Dialer
	online atomic.Int64
	runs   sync.Map // attempt → *atomic.Int64, how often it was begun
	count  atomic.Int64
	cancel context.CancelFunc
	all    sync.WaitGroup
}

// price of a GPU-hour, in millionths: 1,000 a second.
const price = 3_600_000

// enrolling is how many hosts enrol side by side.
const enrolling = 16

// Start enrols the hosts, each with one GPU, and connects them. They reconnect until
// Stop.
func Start(ctx context.Context, o Options) (*Fleet, error) {
	buffers := &sync.Pool{}
	f := &Fleet{
		Options: o,
		http:    &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: enrolling}, Timeout: time.Minute},
		dialer: websocket.Dialer{
			NetDialContext: (&net.Dialer{}).DialContext, HandshakeTimeout: 15 * time.Second,
			ReadBufferSize: 512, WriteBufferSize: 512, WriteBufferPool: buffers,
		},
	}
	if f.Run == nil {
		f.Run = func(a *Attempt) { a.Print([]byte("hello\n")) }
	}
	var group sync.WaitGroup
	var failed atomic.Pointer[error]
	numbers := make(chan int)
	f.Agents = make([]*Agent, o.Count)
	for range enrolling {
		group.Go(func() {
			for i := range numbers {
				a, err := f.enrol(ctx, i)
				if err != nil {
					failed.Store(&err)
				}
				f.Agents[i] = a
			}
		})
	}
	for i := range o.Count {
		numbers <- i
	}
	close(numbers)
	group.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	f.Connect(ctx)
	return f, nil
}

// Connect connects all agents again after Stop.
func (f *Fleet) Connect(ctx context.Context) {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f.cancel = cancel
	for _, a := range f.Agents {
		f.all.Go(func() { a.connect(running) })
	}
}

// Stop ends all connections and waits for what runs.
func (f *Fleet) Stop() {
	f.cancel()
	f.all.Wait()
	f.http.CloseIdleConnections()
}

// Online is how many agents are welcomed at this moment.
func (f *Fleet) Online() int { return int(f.online.Load()) }

// Finished is how many attempts were accepted as finished.
func (f *Fleet) Finished() int { return int(f.count.Load()) }

// enrol makes a host of the owner's as an agent does it.
func (f *Fleet) enrol(ctx context.Context, number int) (*Agent, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s-%d", f.Name, number)
	a := &Agent{
		fleet: f, key: private, held: map[key]*Attempt{},
		inventory: wire.Inventory{
			Hash: "simulated", Host: wire.HostFacts{
				AgentVersion: version, Arch: "amd64", Cpus: 8, DiskMB: 100_000, Hostname: name,
				MachineID: hex.EncodeToString(public), MemoryMB: 32_768, Os: "simulated",
			},
			GPUs: []wire.GPU{{
				UUID: "GPU-" + hex.EncodeToString(public[:8]), Model: "NVIDIA GeForce RTX 4090", VRAMMB: 24_564,
				Driver: "simulated", Simulated: true,
			}},
			Runtimes: []wire.RuntimeFacts{{Name: "simulated", Isolation: wire.RuntimeFactsIsolationContainer}},
		},
	}
	var token struct{ Token string }
	if err := f.post(ctx, "/api/hosts/enrollment-tokens", f.Owner, nil, &token); err != nil {
		return nil, err
	}
	hourly := int64(price)
	var answer wire.Registered
	err = f.post(ctx, "/api/hosts/register", "", wire.Registration{
		EnrollmentToken: token.Token, PublicKey: wire.PublicKeyOf(public), Name: name,
		Proof: base64.RawURLEncoding.EncodeToString(ed25519.Sign(private, wire.EnrolPayload(token.Token, public))),
		Host:  a.inventory.Host, GPUs: a.inventory.GPUs, PricePerGPUHourMicros: &hourly,
	}, &answer)
	a.ID = answer.HostID
	return a, err
}

// post sends JSON and reads JSON.
func (f *Fleet) post(ctx context.Context, path, bearer string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	var stream io.Reader
	if body != nil {
		stream = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.URL+path, stream)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := f.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err = io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return &refusal{status: resp.StatusCode, after: resp.Header.Get("Retry-After"), body: string(data)}
	}
	return json.Unmarshal(data, answer)
}

// socket is where agents connect.
func (f *Fleet) socket() string { return strings.Replace(f.URL, "http", "ws", 1) + "/ws/agent" }

// refusal is an answer that is no success.
type refusal struct {
	status      int
	after, body string
}

func (r *refusal) Error() string { return fmt.Sprintf("status %d: %s", r.status, r.body) }

// begun counts that an attempt was begun, and tells which time it is.
func (f *Fleet) begun(k key) int64 {
	n, _ := f.runs.LoadOrStore(k, &atomic.Int64{})
	return n.(*atomic.Int64).Add(1)
}

// Runs tells how often each job was begun, by its id.
func (f *Fleet) Runs() map[string]int {
	runs := map[string]int{}
	f.runs.Range(func(k, n any) bool {
		runs[k.(key).job] += int(n.(*atomic.Int64).Load())
		return true
	})
	return runs
}
