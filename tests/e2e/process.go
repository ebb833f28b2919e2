// Package e2e runs the real programs: the server and the agent as processes of their
// own, over real sockets, on each database.
package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit"
)

// built is where the programs lie, once they are built.
var built string

// programs builds server and agent once for all tests of the process.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "peergpu-e2e-")
	if err != nil {
		return "", err
	}
	built = dir
	for name, pkg := range map[string]string{"peergpu": "../..", "peergpu-agent": "../../agent"} {
		out, err := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("build %s: %w: %s", name, err, out)
		}
	}
	return dir, nil
})

// Main runs the tests of a package that uses clusters, and removes what they built.
func Main(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// Cluster is a server and what belongs to it.
type Cluster struct {
	t    testing.TB
	bin  string
	dir  string
	URL  string
	env  []string
	proc *exec.Cmd
	log  *lockedBuffer
}

// lockedBuffer collects what a process prints.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// NewCluster prepares a server on a database; "" is SQLite in a folder of the test.
func NewCluster(t testing.TB, database string, env ...string) *Cluster {
	t.Helper()
	bin, err := programs()
	require.NoError(t, err)
	l := testkit.Listen(t)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	c := &Cluster{t: t, bin: bin, dir: testkit.Dir(t), URL: "http://" + address, log: &lockedBuffer{}}
	c.env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "PEERGPU_LISTEN=" + address, "PEERGPU_DATA=" + filepath.Join(c.dir, "data"),
		"PEERGPU_LEASE_TTL=2s", "PEERGPU_LOG_LEVEL=warn", "PEERGPU_SIGN_UPS_PER_HOUR=0", "PEERGPU_LOGINS_PER_MINUTE=0", "PEERGPU_DATABASE=" + database,
	}, env...)
	for _, name := range []string{"TOKEN", "MANIFEST", "VAULT", "BLOB"} {
		key := make([]byte, 32)
		_, err := rand.Read(key)
		require.NoError(t, err)
		c.env = append(c.env, "PEERGPU_"+name+"_KEY="+base64.StdEncoding.EncodeToString(key))
	}
	t.Cleanup(func() {
		c.Kill()
		if t.Failed() {
			t.Logf("the processes said:\n%s", c.log)
		}
		testkit.NoProcesses(t, c.dir)
	})
	return c
}

// Start starts the server and waits until it is ready.
func (c *Cluster) Start() {
	c.t.Helper()
	c.proc = c.spawn("peergpu", "serve")
	require.Eventually(c.t, func() bool {
		resp, err := http.Get(c.URL + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, 30*time.Second, 20*time.Millisecond)
}

// Kill ends the server with SIGKILL, as the kernel would.
func (c *Cluster) Kill() {
	if c.proc != nil {
		_ = c.proc.Process.Kill()
		_ = c.proc.Wait()
		c.proc = nil
	}
}

// Stop ends the server as an operator would, and gives its exit code.
func (c *Cluster) Stop() int {
	require.NoError(c.t, c.proc.Process.Signal(syscall.SIGTERM))
	_ = c.proc.Wait()
	code := c.proc.ProcessState.ExitCode()
	c.proc = nil
	return code
}

func (c *Cluster) spawn(name string, args ...string) *exec.Cmd {
	cmd := c.command(name, args...)
	require.NoError(c.t, cmd.Start())
	return cmd
}

func (c *Cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, name), args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.dir, c.env, c.log, c.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Agent enrols a host of the user with simulated GPUs and runs its agent until the end
// of the test. More lines for its agent.yaml, such as "trusted: true", may follow. It
// gives the agent's process.
func (c *Cluster) Agent(u *User, name, runtime string, gpus int, settings ...string) *os.Process {
	c.t.Helper()
	var token struct{ Token string }
	u.Call(http.MethodPost, "/api/hosts/enrollment-tokens", nil, &token)
	home := filepath.Join(c.dir, name)
	enrol := c.command("peergpu-agent", "enroll", "--server", c.URL, "--token", token.Token, "--name", name,
		"--gpus", fmt.Sprintf("simulated:%dxNVIDIA GeForce RTX 4090", gpus), "--price-micros", "3600000")
	enrol.Env = append(enrol.Env, "PEERGPU_AGENT_HOME="+home)
	require.NoError(c.t, enrol.Run(), c.log.String())
	file := filepath.Join(home, "agent.yaml")
	written, err := os.ReadFile(file)
	require.NoError(c.t, err)
	for _, line := range append(settings, "runtime: "+runtime) {
		key, _, _ := strings.Cut(line, ":")
		written = regexp.MustCompile("(?m)^"+key+":.*\n").ReplaceAll(written, nil)
		written = fmt.Appendf(written, "%s\n", line)
	}
	require.NoError(c.t, os.WriteFile(file, written, 0o600))
	agent := c.command("peergpu-agent", "run")
	agent.Env = append(agent.Env, "PEERGPU_AGENT_HOME="+home)
	require.NoError(c.t, agent.Start())
	c.t.Cleanup(func() {
		_ = agent.Process.Kill()
		_ = agent.Wait()
	})
	require.Eventually(c.t, func() bool {
		var hosts struct {
			Items []struct {
				Name   string
				Online bool
			}
		}
		u.Call(http.MethodGet, "/api/hosts", nil, &hosts)
		for _, h := range hosts.Items {
			if h.Name == name && h.Online {
				return true
			}
		}
		return false
	}, 20*time.Second, 20*time.Millisecond)
	return agent.Process
}

// Process is the server's, while it runs.
func (c *Cluster) Process() *os.Process { return c.proc.Process }

// User is an account that uses the API.
type User struct {
	c     *Cluster
	token string
}

// Token is what the user's requests carry.
func (u *User) Token() string { return u.token }

// User signs a new account up and in.
func (c *Cluster) User(name string) *User {
	c.t.Helper()
	u := &User{c: c}
	account := map[string]any{"email": name + "@example.org", "password": "correct horse " + name, "name": name, "accepted_terms": true}
	u.Call(http.MethodPost, "/api/auth/register", account, nil)
	delete(account, "name")
	delete(account, "accepted_terms")
	var session struct {
		AccessToken string `json:"access_token"`
	}
	u.Call(http.MethodPost, "/api/auth/login", account, &session)
	u.token = session.AccessToken
	return u
}

// Call does a request that has to succeed.
func (u *User) Call(method, path string, body, answer any) {
	u.c.t.Helper()
	status, data := u.Try(method, path, body)
	require.Less(u.c.t, status, 300, "%s %s: %s", method, path, data)
	if answer != nil {
		require.NoError(u.c.t, json.Unmarshal(data, answer), string(data))
	}
}

// Try does a request and gives status and body; 0 when the server is not there.
func (u *User) Try(method, path string, body any) (int, []byte) {
	u.c.t.Helper()
	var stream io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		require.NoError(u.c.t, err)
		stream = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, u.c.URL+path, stream)
	require.NoError(u.c.t, err)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if strings.HasSuffix(path, "/top-ups") {
		req.Header.Set("Idempotency-Key", "once")
	}
	if u.token != "" {
		req.Header.Set("Authorization", "Bearer "+u.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, []byte(err.Error())
	}
	return resp.StatusCode, data
}
