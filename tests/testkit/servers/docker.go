package servers

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/moby/sys/mount"
)

// DockerVariable names the environment variable by which the runner tells the tests of
// the engine that it has started: its socket and, behind a space, the id of an image.
const DockerVariable = "PEERGPU_TEST_DOCKER"

// Docker is a private engine: in a network of its own, with its data in a folder that
// goes when it stops.
type Docker struct {
	Socket string // path of its Unix socket
	Image  string // id of an image with a shell and what belongs to it

	dir string
	process
}

// Host is how clients name the engine.
func (d *Docker) Host() string { return "unix://" + d.Socket }

// StartDocker starts an engine and returns once it answers and has its image. It ends with
// the calling process.
func StartDocker(ctx context.Context) (*Docker, error) {
	dir, err := os.MkdirTemp("", "peergpu-docker-")
	if err != nil {
		return nil, err
	}
	d := &Docker{dir: dir, Socket: filepath.Join(dir, "docker.sock")}
	if err := d.launch(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if d.Image, err = d.Import(ctx, "busybox"); err != nil {
		return nil, errors.Join(err, d.Stop())
	}
	return d, nil
}

// hook stands in for NVIDIA's: it makes the engine take requests for GPUs by name, notes
// which a container was to get, and refuses those that the machine does not have, once it
// was told what it has.
const hook = `#!/bin/sh
cd "${0%/bin/*}" || exit 1
bundle=$(sed 's/.*"bundle":"\([^"]*\)".*/\1/')
asked=$(grep -o '"NVIDIA_VISIBLE_DEVICES=[^"]*"' "$bundle/config.json" | sed 's/.*=\(.*\)"/\1/')
echo "$asked" >>asked
[ -f gpus ] || exit 0
for gpu in $(echo "$asked" | tr , ' '); do
	grep -qx "$gpu" gpus || { echo "nvidia-container-cli: device error: $gpu: unknown device" >&2; exit 1; }
done
`

// HasGPUs tells the machine's GPUs, by UUID. Until then every one is there.
func (d *Docker) HasGPUs(uuids ...string) error {
	path := filepath.Join(d.dir, "gpus")
	if err := os.WriteFile(path+".new", []byte(strings.Join(uuids, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// AskedGPUs are the UUIDs that each container with GPUs was to get, in the order of their
// starts.
func (d *Docker) AskedGPUs() (asked [][]string, err error) {
	said, err := os.ReadFile(filepath.Join(d.dir, "asked"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	for line := range strings.Lines(string(said)) {
		asked = append(asked, strings.Split(strings.TrimSuffix(line, "\n"), ","))
	}
	return asked, err
}

// launch starts the program with what it finds in its folder.
func (d *Docker) launch(ctx context.Context) error {
	bin := filepath.Join(d.dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bin, "nvidia-container-runtime-hook"), []byte(hook), 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the engine has its own handle
	at := func(name string) string { return filepath.Join(d.dir, name) }
	// Its bridges and firewall rules stay in a network of its own.
	cmd := exec.Command("unshare", "-n", "--", "sh", "-c", `ip link set lo up; exec "$0" "$@"`, "dockerd",
		"--host", d.Host(), "--data-root", at("data"), "--exec-root", at("exec"), "--pidfile", at("pid"),
		"--storage-driver", "overlay2", "--live-restore")
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := d.start(cmd); err != nil {
		return err
	}
	if err := d.ready(ctx); err != nil {
		said, _ := os.ReadFile(log.Name())
		_ = d.stop(syscall.SIGKILL, time.Second)
		return fmt.Errorf("the Docker engine does not start: %w\n%s", err, said)
	}
	return nil
}

func (d *Docker) ready(ctx context.Context) error {
	return d.await(ctx, time.Minute, func(ctx context.Context) error { return d.command(ctx, nil, "version").Run() })
}

// command is a call of the client.
func (d *Docker) command(ctx context.Context, stdin *bytes.Buffer, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "docker", append([]string{"--host", d.Host()}, args...)...)
	if stdin != nil {
		cmd.Stdin = stdin
	}
	return cmd
}

// Import makes an image of busybox, with changes such as "ENV A=B", and answers its id.
func (d *Docker) Import(ctx context.Context, name string, changes ...string) (string, error) {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return "", err
	}
	applets, err := exec.CommandContext(ctx, "/bin/busybox", "--list").Output()
	if err != nil {
		return "", err
	}
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	put := func(h *tar.Header, content []byte) {
		h.Size = int64(len(content))
		err = errors.Join(err, w.WriteHeader(h))
		_, wrong := w.Write(content)
		err = errors.Join(err, wrong)
	}
	for _, dir := range []string{"bin/", "tmp/", "etc/", "usr/", "usr/bin/"} {
		put(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	put(&tar.Header{Name: "bin/busybox", Mode: 0o755}, busybox)
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "busybox" {
			put(&tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, nil)
		}
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return "", err
	}
	args := []string{"import"}
	for _, c := range changes {
		args = append(args, "--change", c)
	}
	out, err := d.command(ctx, &image, append(args, "-", name)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("docker import: %w: %s", err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// Kill ends the engine as a crash does, with its containerd; containers go on.
func (d *Docker) Kill(ctx context.Context) error {
	file := filepath.Join(d.dir, "exec", "containerd", "containerd.pid")
	said, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	_ = d.stop(syscall.SIGKILL, 10*time.Second)
	// The kernel kills it with its parent, and the next engine must not find it alive.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(said)) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			// Where process 1 buries nobody, the next engine would take it for alive.
			return os.Remove(file)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Start starts an engine that was killed, with everything that it had.
func (d *Docker) Start(ctx context.Context) error { return d.launch(ctx) }

// Containers are the ids of all that it has, of those that have ended too, unless there
// are more arguments for docker ps.
func (d *Docker) Containers(ctx context.Context, more ...string) ([]string, error) {
	ids, err := d.command(ctx, nil, append([]string{"ps", "-aq"}, more...)...).Output()
	return strings.Fields(string(ids)), err
}

// Stop ends the engine and its containers, and removes its data.
func (d *Docker) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if left, err := d.Containers(ctx); err == nil && len(left) > 0 {
		_ = d.command(ctx, nil, append([]string{"rm", "-f"}, left...)...).Run() // else the folder tells
	}
	err := d.stop(syscall.SIGTERM, 30*time.Second)
	_ = mount.RecursiveUnmount(d.dir) // an engine that was killed leaves some; else removing the folder tells
	return errors.Join(err, os.RemoveAll(d.dir))
}

// probeDocker asks for what a private engine takes.
func probeDocker(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("a private Docker engine needs root")
	}
	for _, program := range []string{"dockerd", "docker", "ip", "iptables", "unshare"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed", program)
		}
	}
	if err := try(ctx, "/bin/busybox", "true"); err != nil {
		return err
	}
	return try(ctx, "unshare", "-n", "--", "ip", "link", "set", "lo", "up")
}
