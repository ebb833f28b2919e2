package runtime

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/peergpu/peergpu/tests/testkit"
	"github.com/peergpu/peergpu/tests/testkit/servers"
)

func TestAJobInTheSandboxHasNoRights(t *testing.T) {
	t.Parallel()
	p := sandboxed(t)
	out := shellJob(t, p, `cat /proc/self/status; id -u; id -g; id -G`)
	status := map[string]string{}
	for line := range strings.Lines(out) {
		if k, v, ok := strings.Cut(line, ":"); ok {
			status[k] = strings.TrimSpace(v)
		}
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		assert.Equal(t, "0000000000000000", status[set], set)
	}
	assert.Equal(t, "1", status["NoNewPrivs"])
	assert.Equal(t, "2", status["Seccomp"])
	assert.Equal(t, "65534\t65534\t65534\t65534", status["Uid"])
	assert.Contains(t, out, "\n65534\n65534\n65534\n", "uid, gid and the only group")
}

func TestAJobIsNobodyOutsideItsSandboxToo(t *testing.T) {
	t.Parallel()
	r := start(t, sandboxed(t), task(t, "sh", "-c", "echo ready; sleep 1000"))
	_, err := io.ReadFull(r.Output(), make([]byte, 6))
	require.NoError(t, err)
	pids := r.(*processRun).pids()
	require.NotEmpty(t, pids)
	want := os.Geteuid()
	if want == 0 {
		want = nobody
	}
	for _, pid := range pids {
		assert.Contains(t, readString(fmt.Sprintf("/proc/%d/status", pid)), fmt.Sprintf("Uid:\t%d\t%[1]d\t%[1]d\t%[1]d\n", want))
	}
}

func TestASandboxCanBeBuiltBehindClosedDoors(t *testing.T) {
	t.Parallel()
	p := sandboxed(t)
	closed := testkit.Dir(t)
	task := task(t, "sh", "-c", "cat secret; echo x > result")
	task.Dir = filepath.Join(closed, "work")
	require.NoError(t, os.Mkdir(task.Dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(task.Dir, "secret"), []byte("bundle"), 0o600))
	require.NoError(t, os.Chmod(closed, 0o700))
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chown(closed, 1234, 1234)) // as the folder of somebody who runs the agent by sudo
	}
	_, out := run(t, p, task)
	assert.Equal(t, "bundle", out)
	assert.FileExists(t, filepath.Join(task.Dir, "result"))
}

func TestAJobInTheSandboxSeesNothingOfTheHost(t *testing.T) {
	t.Parallel()
	p := sandboxed(t)
	for name, c := range map[string]struct{ script, want string }{
		"users":             {`cut -d: -f1 /etc/passwd | tr '\n' ' '`, "root job "},
		"shadow":            {`test -e /etc/shadow && echo seen`, ""},
		"homes":             {`ls /home /root 2>/dev/null`, ""},
		"the top folder":    {`ls / | tr '\n' ' '`, topFolder()},
		"settings":          {`ls /etc | tr '\n' ' '`, "alternatives group hosts ld.so.cache nsswitch.conf passwd "},
		"processes":         {`[ $(ls -d /proc/[0-9]* | wc -l) -le 6 ] && echo few`, "few"},
		"files left open":   {`exec ls /proc/self/fd`, "0\n1\n2\n3"},
		"network":           {`tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' \n'`, "lo"},
		"the host's name":   {`cat /proc/sys/kernel/hostname`, "job"},
		"devices":           {`ls /dev | tr '\n' ' '`, "core fd full null ptmx pts random shm stderr stdin stdout tty urandom zero "},
		"its own session":   {`cut -d' ' -f6 /proc/$$/stat`, "1"},
		"temporary files":   {`ls -A /tmp /var/tmp /dev/shm | tr -d '\n'`, "/dev/shm:/tmp:/var/tmp:"},
		"the agent's words": {`cat /proc/1/environ | wc -c`, "0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, c.want, strings.TrimSuffix(shellJob(t, p, c.script), "\n"))
		})
	}
}

func TestAJobInTheSandboxChangesNothingOfTheHost(t *testing.T) {
	t.Parallel()
	p := sandboxed(t)
	for _, path := range []string{
		"/x", "/usr/x", "/etc/x", "/etc/passwd", "/dev/x", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname",
		"/proc/sysrq-trigger", "/proc/sys/vm/drop_caches", "/dev/null/x",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, "refused\n", shellJob(t, p, "(: >> "+path+") 2>/dev/null && echo written || echo refused"))
		})
	}
	assert.Equal(t, "ok\n", shellJob(t, p, "echo x > /tmp/x && echo x > /work/x && echo x > /dev/shm/x && echo x > /dev/null && echo ok"))
}

func TestTheSandboxRefusesDangerousCalls(t *testing.T) {
	t.Parallel()
	testkit.Need(t, servers.Python)
	p := sandboxed(t)
	const call = `
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def errno(*a):
    ctypes.set_errno(0)
    r = libc.syscall(*a)
    return 0 if r >= 0 else ctypes.get_errno()
def family(f):
    try: socket.socket(f, socket.SOCK_STREAM).close(); return 0
    except OSError as e: return e.errno
`
	eperm, enosys, nofamily := int(unix.EPERM), int(unix.ENOSYS), int(unix.EAFNOSUPPORT)
	null := []any{0, 0, 0, 0, 0}
	calls := []struct {
		name string
		expr string
		want int
	}{
		{"unshare user", fmt.Sprintf("errno(%d, %d)", unix.SYS_UNSHARE, unix.CLONE_NEWUSER), eperm},
		{"unshare mount", fmt.Sprintf("errno(%d, %d)", unix.SYS_UNSHARE, unix.CLONE_NEWNS), eperm},
		{"clone with a new user name space", fmt.Sprintf("errno(%d, %d, 0, 0, 0, 0)", unix.SYS_CLONE, unix.CLONE_NEWUSER|17), eperm},
		{"clone3", fmt.Sprintf("errno(%d, 0, 0)", sysClone3), enosys},
		{"a socket to the hypervisor", fmt.Sprintf("family(%d)", unix.AF_VSOCK), nofamily},
		{"a socket to the kernel's ciphers", fmt.Sprintf("family(%d)", unix.AF_ALG), nofamily},
		{"a raw packet socket", fmt.Sprintf("family(%d)", unix.AF_PACKET), nofamily},
		{"an ordinary socket", "family(socket.AF_INET)", 0},
		{"a local socket", "family(socket.AF_UNIX)", 0},
		{"an odd personality", fmt.Sprintf("errno(%d, 0x0040000)", unix.SYS_PERSONALITY), eperm},
		{"typing into a terminal", fmt.Sprintf("errno(%d, 0, %d, 0)", unix.SYS_IOCTL, unix.TIOCSTI), eperm},
		{"an ordinary fork", "os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)[1]", 0},
	}
	for _, nr := range append(denied, deniedHere...) {
		calls = append(calls, struct {
			name string
			expr string
			want int
		}{fmt.Sprintf("call %d", nr), fmt.Sprintf("errno(%d, %s)", nr, strings.Trim(fmt.Sprint(null...), "[]")), eperm})
	}
	var script strings.Builder
	script.WriteString(call)
	for _, c := range calls {
		fmt.Fprintf(&script, "print(%s)\n", strings.ReplaceAll(c.expr, "0 0 0 0 0", "0,0,0,0,0"))
	}
	got := strings.Fields(job(t, p, "python3", "-c", script.String()))
	require.Len(t, got, len(calls), "%v", got)
	for i, c := range calls {
		assert.Equal(t, strconv.Itoa(c.want), got[i], c.name)
	}
}

func TestASandboxedJobReachesNoNetwork(t *testing.T) {
	t.Parallel()
	testkit.Need(t, servers.Python)
	p := sandboxed(t)
	l := testkit.Listen(t)
	port := l.Addr().(*net.TCPAddr).Port
	out := job(t, p, "python3", "-c", fmt.Sprintf(`
import socket
for a in ("127.0.0.1", %d), ("169.254.169.254", 80), ("10.0.0.1", 80):
    try: socket.create_connection(a, 2); print("connected")
    except OSError: print("refused")
`, port))
	assert.Equal(t, "refused\nrefused\nrefused\n", out)
}

func TestPython3RunsInTheSandbox(t *testing.T) {
	t.Parallel()
	testkit.Need(t, servers.Python)
	r, err := sandboxed(t).Probe(t.Context())
	require.NoError(t, err)
	assert.Contains(t, r.Commands["python3"], "Python 3")
	assert.Contains(t, r.Version, "bubblewrap")
	assert.Equal(t, "ok", r.Commands["sh"])
}

func TestAnInterpreterOutsideUsrIsMountedWhereItIs(t *testing.T) {
	t.Parallel()
	testkit.Need(t, servers.Bubblewrap)
	prefix := testkit.Dir(t)
	require.NoError(t, os.Mkdir(filepath.Join(prefix, "bin"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(prefix, "bin/frob"), []byte("#!/bin/sh\necho frobbed\n"), 0o755))
	for _, unsandboxed := range []bool{false, true} {
		p := open(t, Options{Prefixes: []string{prefix}, Unsandboxed: unsandboxed})
		assert.Equal(t, "frobbed\n", job(t, p, "frob"))
	}
}

func TestSecretsAreNotOnTheCommandLine(t *testing.T) {
	t.Parallel()
	p := sandboxed(t)
	task := task(t, "sh", "-c", "echo ready; sleep 1000")
	task.Env = []string{"TOKEN=canary-9f3a"}
	r := start(t, p, task)
	_, err := io.ReadFull(r.Output(), make([]byte, 6))
	require.NoError(t, err)
	for _, pid := range []int{r.(*processRun).box.monitor.Pid, r.(*processRun).box.first} {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		require.NoError(t, err)
		assert.NotContains(t, string(line), "canary")
	}
}

func topFolder() string {
	want := []string{}
	for _, dir := range []string{"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "tmp", "usr", "var", "work"} {
		switch dir {
		case "bin", "lib", "lib32", "lib64", "libx32", "sbin":
			if _, err := os.Lstat("/" + dir); err != nil {
				continue
			}
		}
		want = append(want, dir)
	}
	return strings.Join(want, " ") + " "
}
