package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// RedisVariable names the environment variable by which the runner tells the tests of the
// server that it has started.
const RedisVariable = "PEERGPU_TEST_REDIS"

// Redis is a private Redis server on a loopback port that keeps nothing on disk.
type Redis struct {
	// URL reaches it, without a password.
	URL string

	dir, addr string
	process
}

// StartRedis starts a server and returns once it answers. It dies with the calling
// process, even if that is killed.
func StartRedis(ctx context.Context) (*Redis, error) {
	dir, err := os.MkdirTemp("", "peergpu-redis-")
	if err != nil {
		return nil, err
	}
	r := &Redis{dir: dir}
	err = onFreePort(ctx, func(addr string) error {
		r.addr, r.URL = addr, "redis://"+addr
		return r.Up(ctx)
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return r, nil
}

// Up starts it at the same address, empty.
func (r *Redis) Up(ctx context.Context) error {
	_, port, err := net.SplitHostPort(r.addr)
	if err != nil {
		return err
	}
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", r.dir)
	return r.run(ctx, cmd, filepath.Join(r.dir, "log"), r.answers)
}

// Down ends it at once, as if it had crashed.
func (r *Redis) Down() error { return r.stop(syscall.SIGKILL, 10*time.Second) }

// Freeze stops it where it is: connections stay and nothing is answered.
func (r *Redis) Freeze() error { return r.freeze() }

// Thaw lets it go on.
func (r *Redis) Thaw() error { return r.cmd.Process.Signal(syscall.SIGCONT) }

// Stop ends it and removes its folder.
func (r *Redis) Stop() error { return errors.Join(r.Down(), os.RemoveAll(r.dir)) }

// Flush removes everything.
func (r *Redis) Flush(ctx context.Context) error { return r.ask(ctx, "FLUSHALL", "+OK") }

func (r *Redis) answers(ctx context.Context) error { return r.ask(ctx, "PING", "+PONG") }

// ask sends a command in the form for people, which needs no client.
func (r *Redis) ask(ctx context.Context, command, expected string) error {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", r.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
		return err
	}
	answer := make([]byte, 64)
	n, err := conn.Read(answer)
	if err == nil && !strings.HasPrefix(string(answer[:n]), expected) {
		return fmt.Errorf("redis says %q", answer[:n])
	}
	return err
}

func probeRedis(ctx context.Context) error { return try(ctx, "redis-server", "--version") }
