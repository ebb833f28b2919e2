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
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit"
)

// built is where the programs lie, once they are built.
var built struct {
	sync.Mutex
	dirs []string
}

// programs builds server and agent once for all tests of the process.
var programs = sync.OnceValues(func() (string, error) { return build("") })

// build makes the programs with build tags, and gives their folder.
func build(tags string) (string, error) {
	dir, err := os.MkdirTemp("", "peergpu-e2e-")
	if err != nil {
		return "", err
	}
	built.Lock()
	built.dirs = append(built.dirs, dir)
	built.Unlock()
	for name, pkg := range map[string]string{"peergpu": "../..", "peergpu-agent": "../../agent", "peergpu-entry": "../../agent/entry"} {
		cmd := exec.Command("go", "build", "-tags", tags, "-o", filepath.Join(dir, name), pkg)
		if name == "peergpu-entry" {
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // it runs in any image
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("build %s: %w: %s", name, err, out)
		}
	}
	return dir, nil
}

// Main runs the tests of a package that uses clusters, which is what a testing.M is for,
// and removes what they built.
func Main(m interface{ Run() int }) {
	code := m.Run()
	for _, dir := range built.dirs {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// Cluster is a server and what belongs to it.
type Cluster struct {
	t       testing.TB
	bin     string
	dir     string
	profile Profile
	URL     string
	env     []string
	proc    *exec.Cmd
	log     printed

	agents map[string]*exec.Cmd          // by name, those that run
	gone   map[*exec.Cmd]<-chan struct{} // closed when a program has ended
	ended  func(pid int)                 // told of each program that is gone; nil: nobody asks
}

// printed collects what processes print. It is a file, because some outlive their parent,
// and nobody is to wait for these.
type printed struct{ *os.File }

func (p printed) String() string {
	content, err := os.ReadFile(p.Name())
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// NewCluster prepares a server.
func NewCluster(t testing.TB, p Profile, env ...string) *Cluster {
	t.Helper()
	bin, err := programs()
	require.NoError(t, err)
	return newCluster(t, bin, p, env...)
}

// newCluster prepares one with the programs of a folder.
func newCluster(t testing.TB, bin string, p Profile, env ...string) *Cluster {
	t.Helper()
	p = p.choose(t)
	l := testkit.Listen(t)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	c := &Cluster{t: t, bin: bin, dir: testkit.Dir(t), profile: p, URL: "http://" + address, agents: map[string]*exec.Cmd{}, gone: map[*exec.Cmd]<-chan struct{}{}}
	log, err := os.OpenFile(filepath.Join(c.dir, "printed"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	c.log = printed{log}
	c.env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "PEERGPU_LISTEN=" + address, "PEERGPU_DATA=" + c.data(),
		"PEERGPU_LEASE_TTL=2s", "PEERGPU_LOG_LEVEL=warn", "PEERGPU_SIGN_UPS_PER_HOUR=0", "PEERGPU_LOGINS_PER_MINUTE=0",
		"PEERGPU_REQUESTS_PER_MINUTE=0", "PEERGPU_JOBS_PER_MINUTE=0", "PEERGPU_CONNECTS_PER_MINUTE=0", "PEERGPU_IMAGES=",
	}, append(p.env(), env...)...)
	for _, name := range []string{"TOKEN", "MANIFEST", "VAULT", "BLOB"} {
		key := make([]byte, 32)
		_, err := rand.Read(key)
		require.NoError(t, err)
		c.env = append(c.env, "PEERGPU_"+name+"_KEY="+base64.StdEncoding.EncodeToString(key))
	}
	t.Cleanup(func() {
		c.Kill()
		for name := range c.agents {
			c.KillAgent(name)
		}
		if t.Failed() {
			t.Logf("the processes said:\n%s", c.log)
		}
		testkit.NoProcesses(t, c.dir)
	})
	return c
}

// Start starts the server and waits until it is ready. More variables for it, such as
// "PEERGPU_LOG_LEVEL=debug", may follow.
func (c *Cluster) Start(env ...string) {
	c.t.Helper()
	c.start(env, "serve")
}

// Demo starts the server in demo mode instead: with its accounts, its host and no example.
func (c *Cluster) Demo() {
	c.t.Helper()
	c.start(nil, "demo", "--example", c.dir)
}

func (c *Cluster) start(env []string, args ...string) {
	c.t.Helper()
	c.proc = c.spawn("peergpu", env, args...)
	c.awaitReady()
}

func (c *Cluster) awaitReady() {
	c.t.Helper()
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
		<-c.gone[c.proc]
		c.proc = nil
	}
}

// Stop ends the server as an operator would, and gives its exit code.
func (c *Cluster) Stop() int {
	require.NoError(c.t, c.proc.Process.Signal(syscall.SIGTERM))
	<-c.gone[c.proc]
	code := c.proc.ProcessState.ExitCode()
	c.proc = nil
	return code
}

func (c *Cluster) spawn(name string, env []string, args ...string) *exec.Cmd {
	cmd := c.command(name, args...)
	cmd.Env = append(cmd.Env, env...)
	return c.launch(cmd)
}

// launch starts a program and notes its end.
func (c *Cluster) launch(cmd *exec.Cmd) *exec.Cmd {
	require.NoError(c.t, cmd.Start())
	gone := make(chan struct{})
	c.gone[cmd] = gone
	go func() {
		_ = cmd.Wait()
		if c.ended != nil {
			c.ended(cmd.Process.Pid)
		}
		close(gone)
	}()
	return cmd
}

// Program is the file of one of the programs, peergpu or peergpu-agent, for who starts
// it in another way.
func (c *Cluster) Program(name string) string { return filepath.Join(c.bin, name) }

func (c *Cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(c.Program(name), args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.dir, slices.Clip(c.env), c.log.File, c.log.File
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Agent enrols a host of the user with simulated GPUs, runs its agent until the end of
// the test and waits until it is online. More lines for its agent.yaml, such as
// "trusted: true", may follow. It gives the agent's process.
func (c *Cluster) Agent(u *User, name, runtime string, gpus int, settings ...string) *os.Process {
	c.t.Helper()
	c.Enrol(u, name, runtime, gpus, settings...)
	c.StartAgent(name)
	require.Eventually(c.t, func() bool { return u.online(name) }, 20*time.Second, 20*time.Millisecond)
	return c.agents[name].Process
}

// StartAgent starts the agent of an enrolled host, again if it was killed.
func (c *Cluster) StartAgent(name string, env ...string) {
	c.t.Helper()
	c.agents[name] = c.spawn("peergpu-agent", append(env, "PEERGPU_AGENT_HOME="+filepath.Join(c.dir, name)), "run")
}

// KillAgent ends an agent with SIGKILL.
func (c *Cluster) KillAgent(name string) {
	if agent := c.agents[name]; agent != nil {
		_ = agent.Process.Kill()
		<-c.gone[agent]
		delete(c.agents, name)
	}
}

// Enrol makes the folder of a host of the user, for an agent to run in. With 0 GPUs it has
// those that nvidia-smi tells.
func (c *Cluster) Enrol(u *User, name, runtime string, gpus int, settings ...string) {
	c.t.Helper()
	var token struct{ Token string }
	u.Call(http.MethodPost, "/api/hosts/enrollment-tokens", nil, &token)
	home, devices := filepath.Join(c.dir, name), "auto"
	if gpus > 0 {
		devices = fmt.Sprintf("simulated:%dxNVIDIA GeForce RTX 4090", gpus)
	}
	enrol := c.command("peergpu-agent", "enroll", "--server", c.URL, "--token", token.Token, "--name", name,
		"--gpus", devices, "--price-micros", "3600000")
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
}

// online says whether a host of the user is there.
func (u *User) online(name string) bool {
	var hosts struct {
		Items []struct {
			Name   string
			Online bool
		}
	}
	status, answer := u.Try(http.MethodGet, "/api/hosts", nil)
	if status != http.StatusOK || json.Unmarshal(answer, &hosts) != nil {
		return false
	}
	for _, h := range hosts.Items {
		if h.Name == name && h.Online {
			return true
		}
	}
	return false
}

// Process is the server's, while it runs.
func (c *Cluster) Process() *os.Process { return c.proc.Process }

// Memory is what the kernel says of the server's memory under a name of
// /proc/<pid>/status, such as VmRSS or VmHWM (the most so far), in bytes.
func (c *Cluster) Memory(name string) int64 {
	c.t.Helper()
	bytes, err := Memory(c.proc.Process.Pid, name)
	require.NoError(c.t, err)
	return bytes
}

// Memory is Cluster.Memory of any process.
func Memory(pid int, name string) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kilobytes int64
		if _, err := fmt.Sscanf(line, name+": %d kB", &kilobytes); err == nil {
			return kilobytes << 10, nil
		}
	}
	return 0, fmt.Errorf("the kernel says no %s of process %d", name, pid)
}

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
	email, password := name+"@example.org", "correct horse "+name
	account := map[string]any{"email": email, "password": password, "name": name, "accepted_terms": true}
	(&User{c: c}).Call(http.MethodPost, "/api/auth/register", account, nil)
	return c.login(email, password)
}

// login signs an account in.
func (c *Cluster) login(email, password string) *User {
	c.t.Helper()
	u := &User{c: c}
	var session struct {
		AccessToken string `json:"access_token"`
	}
	u.Call(http.MethodPost, "/api/auth/login", map[string]any{"email": email, "password": password}, &session)
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
	return u.do(req)
}

// do gives status and body of an answer; 0 when there is none.
func (u *User) do(req *http.Request) (int, []byte) {
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
