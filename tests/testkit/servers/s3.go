package servers

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// S3Variable names the environment variable by which the runner tells the tests of the
// server that it has started: its URL, access key, secret key and folder, with spaces between.
const S3Variable = "PEERGPU_TEST_S3"

// S3 is a private object storage on a loopback port, with its data in a folder that goes
// when it stops.
type S3 struct {
	URL       string
	AccessKey string
	SecretKey string

	dir, addr string
	process
}

// StartS3 starts a server and returns once it answers. It dies with the calling process,
// even if that is killed.
func StartS3(ctx context.Context) (*S3, error) {
	dir, err := os.MkdirTemp("", "peergpu-s3-")
	if err != nil {
		return nil, err
	}
	s := &S3{AccessKey: "test", SecretKey: rand.Text(), dir: dir}
	err = onFreePort(ctx, func(addr string) error {
		s.addr, s.URL = addr, "http://"+addr
		return s.Up(ctx)
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// Up starts it at the same address, with what it had.
func (s *S3) Up(ctx context.Context) error {
	program, err := versitygw()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.Data(), 0o700); err != nil {
		return err
	}
	cmd := exec.Command(program, "--quiet", "--port", s.addr, "--health", "/health", "posix", s.Data())
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.AccessKey, "ROOT_SECRET_KEY="+s.SecretKey)
	return s.run(ctx, cmd, filepath.Join(s.dir, "log"), s.answers)
}

// Data is the folder in which each bucket is a folder of files.
func (s *S3) Data() string { return filepath.Join(s.dir, "data") }

func (s *S3) answers(ctx context.Context) error { return answers(ctx, s.URL+"/health") }

// Down ends it at once, as if it had crashed.
func (s *S3) Down() error { return s.stop(syscall.SIGKILL, 10*time.Second) }

// Freeze stops it where it is: connections stay and nothing is answered.
func (s *S3) Freeze() error { return s.freeze() }

// Thaw lets it go on.
func (s *S3) Thaw() error { return s.cmd.Process.Signal(syscall.SIGCONT) }

// Stop ends it and removes its folder.
func (s *S3) Stop() error { return errors.Join(s.Down(), os.RemoveAll(s.dir)) }

func probeS3(ctx context.Context) error {
	program, err := versitygw()
	if err != nil {
		return err
	}
	return try(ctx, program, "--version")
}

// versitygw is the program that the Makefile builds, or one on the PATH.
func versitygw() (string, error) {
	if path, err := exec.LookPath("versitygw"); err == nil {
		return path, nil
	}
	root, err := cloneFolder()
	if err != nil {
		return "", err
	}
	module, err := os.ReadFile(filepath.Join(root, "tests", "tools", "go.mod"))
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(module)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "github.com/versity/versitygw" {
			path := filepath.Join(cache, "peergpu", "bin", "versitygw-"+f[1])
			if _, err := os.Stat(path); err != nil {
				return "", errors.New("versitygw is not built")
			}
			return path, nil
		}
	}
	return "", errors.New("tests/tools/go.mod does not name versitygw")
}
