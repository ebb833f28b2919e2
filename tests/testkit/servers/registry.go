package servers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Registry is a registry of container images on a free port of 127.0.0.1, without TLS. Its
// data goes when it stops.
type Registry struct {
	Host string // host:port

	dir     string
	serving []*process
}

const registryConfig = `version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
http: {addr: %s}
`

// StartRegistry starts a registry and returns once it answers. With an engine, which has a
// network of its own, it answers there at the same address, too. It ends with the calling
// process.
func StartRegistry(ctx context.Context, engine string) (*Registry, error) {
	dir, err := os.MkdirTemp("", "peergpu-registry-")
	if err != nil {
		return nil, err
	}
	r := &Registry{dir: dir}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		r.Host = free.Addr().String()
		err = free.Close()
	}
	if err == nil {
		err = os.WriteFile(r.config(), fmt.Appendf(nil, registryConfig, filepath.Join(dir, "data"), r.Host), 0o600)
	}
	if err == nil {
		err = r.serve("docker-registry", "serve", r.config())
	}
	if err == nil && engine != "" {
		var pid []byte
		pid, err = os.ReadFile(filepath.Join(filepath.Dir(strings.TrimPrefix(engine, "unix://")), "pid"))
		if err == nil {
			err = r.serve("nsenter", "--target", strings.TrimSpace(string(pid)), "--net", "docker-registry", "serve", r.config())
		}
	}
	for _, p := range r.serving {
		// The one in the engine's network cannot be asked from here: it is there when it
		// has not ended by the time that the other one answers.
		if err == nil {
			err = p.await(ctx, 30*time.Second, r.answers)
		}
	}
	if err != nil {
		return nil, errors.Join(err, r.Stop())
	}
	return r, nil
}

func (r *Registry) config() string { return filepath.Join(r.dir, "config.yml") }

// serve starts one process of it.
func (r *Registry) serve(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &process{}
	if err := p.start(cmd); err != nil {
		return err
	}
	r.serving = append(r.serving, p)
	return nil
}

// answers asks as any client begins.
func (r *Registry) answers(ctx context.Context) error { return answers(ctx, "http://"+r.Host+"/v2/") }

// Freeze stops it where it is: connections are taken and nothing is answered.
func (r *Registry) Freeze() error {
	var err error
	for _, p := range r.serving {
		err = errors.Join(err, p.freeze())
	}
	return err
}

// Thaw lets it go on.
func (r *Registry) Thaw() error {
	var err error
	for _, p := range r.serving {
		err = errors.Join(err, p.cmd.Process.Signal(syscall.SIGCONT))
	}
	return err
}

// Tamper changes the last byte of everything of at least a size that it keeps, so that it
// has other digests than it says, and answers of how many.
func (r *Registry) Tamper(size int64) (changed int, err error) {
	err = filepath.WalkDir(filepath.Join(r.dir, "data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "data" || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil || int64(len(content)) < size {
			return err
		}
		content[len(content)-1]++
		changed++
		return os.WriteFile(path, content, 0o600)
	})
	return changed, err
}

// Stop ends it and removes its data.
func (r *Registry) Stop() error {
	var err error
	for _, p := range r.serving {
		err = errors.Join(err, p.stop(syscall.SIGTERM, 10*time.Second))
	}
	return errors.Join(err, os.RemoveAll(r.dir))
}

func probeRegistry(ctx context.Context) error { return try(ctx, "docker-registry", "--version") }
