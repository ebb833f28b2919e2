package testkit

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/tests/testkit/servers"
)

// Docker returns the address of an engine and the id of an image with a shell. Other tests
// use it too.
func Docker(t testing.TB) (host, image string) {
	t.Helper()
	if v := os.Getenv(servers.DockerVariable); v != "" {
		host, image, _ = strings.Cut(v, " ")
		return host, image
	}
	Need(t, servers.DockerEngine)
	ownDocker.Lock()
	defer ownDocker.Unlock()
	if ownDocker.server == nil {
		server, err := servers.StartDocker(context.WithoutCancel(t.Context()))
		require.NoError(t, err)
		ownDocker.server = server
	}
	ownDocker.users++
	t.Cleanup(func() {
		ownDocker.Lock()
		defer ownDocker.Unlock()
		if ownDocker.users--; ownDocker.users == 0 {
			stopped := ownDocker.server
			ownDocker.server = nil
			require.NoError(t, stopped.Stop())
		}
	})
	return ownDocker.server.Host(), ownDocker.server.Image
}

// ownDocker is the engine of this process, for `go test` without the runner. It lives as
// long as a test that uses it does.
var ownDocker struct {
	sync.Mutex
	server *servers.Docker
	users  int
}

// Entry returns the path of the program that containers begin with, built once a process.
func Entry(t testing.TB) string {
	t.Helper()
	path, err := builtEntry()
	require.NoError(t, err)
	return path
}

var builtEntry = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "peergpu", "test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// Go's own cache makes this quick. Other processes may do the same at this moment.
	path := filepath.Join(dir, "peergpu-entry")
	own := fmt.Sprintf("%s.%d", path, os.Getpid())
	cmd := exec.Command("go", "build", "-trimpath", "-o", own, "github.com/peergpu/peergpu/agent/entry")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the entry: %w: %s", err, out)
	}
	return path, os.Rename(own, path)
})

// Registry returns a registry of container images, without TLS, that is the test's own. An engine, if one is named, reaches it there, too.
func Registry(t testing.TB, engine string) *servers.Registry {
	t.Helper()
	Need(t, servers.ImageRegistry)
	r, err := servers.StartRegistry(context.WithoutCancel(t.Context()), engine)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Stop()) })
	return r
}

// Push builds an image on an engine, with 3 MiB of random bytes in /payload, pushes it and
// takes it from the engine again, so that it has to be pulled. It answers the digest.
func Push(t testing.TB, host, base, ref string, lines ...string) string {
	t.Helper()
	dir := t.TempDir()
	payload := make([]byte, 3<<20)
	_, _ = rand.Read(payload)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "payload"), payload, 0o644))
	file := strings.Join(append([]string{"FROM " + base, "COPY payload /payload"}, lines...), "\n")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(file), 0o644))
	engine(t, host, nil, "build", "-t", ref, dir)
	return pushed(t, host, ref)
}

// PushLayers is Push of an image that has so many more layers than its base.
func PushLayers(t testing.TB, host, base, ref string, n int) string {
	t.Helper()
	engine(t, host, bytes.NewReader(layered(t, engine(t, host, nil, "save", base), ref, n)), "load")
	return pushed(t, host, ref)
}

func pushed(t testing.TB, host, ref string) string {
	t.Helper()
	said := string(engine(t, host, nil, "push", ref))
	engine(t, host, nil, "rmi", ref)
	_, digest, found := strings.Cut(said, "digest: ")
	require.True(t, found, said)
	return strings.Fields(digest)[0]
}

// engine calls the client of an engine.
func engine(t testing.TB, host string, stdin io.Reader, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("docker", append([]string{"--host", host}, args...)...)
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
	cmd.Stdin = stdin
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	require.NoError(t, err, "docker %v: %s", args, said.Bytes())
	return out
}

// layered adds layers of one small file each to a saved image.
func layered(t testing.TB, saved []byte, ref string, n int) []byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(saved)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		files[h.Name], err = io.ReadAll(r)
		require.NoError(t, err)
	}
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	require.NoError(t, json.Unmarshal(files["manifest.json"], &manifest))
	image := &manifest[0]
	var config map[string]any
	require.NoError(t, json.Unmarshal(files[image.Config], &config))
	root := config["rootfs"].(map[string]any)
	for i := range n {
		layer := archive(t, map[string][]byte{fmt.Sprintf("layer-%d", i): []byte(rand.Text())})
		name := fmt.Sprintf("more-%d/layer.tar", i)
		files[name], image.Layers = layer, append(image.Layers, name)
		root["diff_ids"] = append(root["diff_ids"].([]any), fmt.Sprintf("sha256:%x", sha256.Sum256(layer)))
	}
	delete(config, "history") // it would have to tell of each layer
	raw, err := json.Marshal(config)
	require.NoError(t, err)
	image.Config, image.RepoTags = fmt.Sprintf("%x.json", sha256.Sum256(raw)), []string{ref}
	files[image.Config] = raw
	files["manifest.json"], err = json.Marshal(manifest)
	require.NoError(t, err)
	return archive(t, files)
}

func archive(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
		_, err := w.Write(content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}
