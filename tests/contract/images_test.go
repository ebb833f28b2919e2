package contract

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/peergpu/peergpu/adapters/memory"
	"github.com/peergpu/peergpu/adapters/registries"
	"github.com/peergpu/peergpu/domain"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/tests/testkit"
)

func TestImagesInMemory(t *testing.T) {
	t.Parallel()
	Images(t, func(*testing.T) ImageStore { return &memoryImages{} })
}

type memoryImages struct{ memory.Images }

func (r *memoryImages) Push(_ *testing.T, ref, text string) string {
	return r.Images.Push(ref, []byte(text))
}

func (r *memoryImages) Registry() string { return "registry.example.org" }

func TestImagesOfARegistry(t *testing.T) {
	t.Parallel()
	Images(t, func(t *testing.T) ImageStore {
		t.Helper()
		host := testkit.Registry(t, "").Host
		return registryImages{asking(t, "http://"+host), host}
	})
}

func asking(t *testing.T, own ...string) *registries.Resolver {
	t.Helper()
	list, err := registries.New(own...)
	require.NoError(t, err)
	return registries.NewResolver(list)
}

// registryImages pushes as any client does.
type registryImages struct {
	*registries.Resolver
	host string
}

func (r registryImages) Registry() string { return r.host }

func (r registryImages) Push(t *testing.T, ref, text string) string {
	t.Helper()
	repo, err := remote.NewRepository(ref)
	require.NoError(t, err)
	repo.PlainHTTP = true
	put := func(mediaType string, blob []byte) ocispec.Descriptor {
		d := content.NewDescriptorFromBytes(mediaType, blob)
		require.NoError(t, repo.Push(t.Context(), d, bytes.NewReader(blob)))
		return d
	}
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: put(ocispec.MediaTypeImageConfig, []byte("{}")),
		Layers: []ocispec.Descriptor{put(ocispec.MediaTypeImageLayer, []byte(text))},
	}
	body, err := json.Marshal(manifest)
	require.NoError(t, err)
	d := put(ocispec.MediaTypeImageManifest, body)
	require.NoError(t, repo.Tag(t.Context(), d, repo.Reference.Reference))
	return d.Digest.String()
}

func TestARegistryLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	var reached, turns atomic.Int64
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	t.Cleanup(inside.Close)
	for what, answer := range map[string]http.HandlerFunc{
		"its tokens come from inside": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+inside.URL+`/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		},
		"it redirects inside": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, inside.URL, http.StatusTemporaryRedirect)
		},
		"it redirects to the metadata of a cloud": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest/", http.StatusTemporaryRedirect)
		},
		"it redirects in a circle": func(w http.ResponseWriter, r *http.Request) {
			turns.Add(1)
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		},
		"it has had enough": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"it is broken":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"its digest is none": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Docker-Content-Digest", "sha256:x")
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		},
		"its manifest never ends": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			for r.Method == http.MethodGet {
				if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<16)); err != nil {
					return
				}
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(answer)
			t.Cleanup(server.Close)
			host := strings.TrimPrefix(server.URL, "http://")
			_, err := asking(t, server.URL).Resolve(t.Context(), host+"/a/b:1")
			assert.Equal(t, domain.KindUnavailable, domain.KindOf(err), "%v", err)
			assert.Equal(t, "registry_unavailable", domain.CodeOf(err))
		})
	}
	t.Cleanup(func() {
		assert.Zero(t, reached.Load(), "the address inside was called")
		assert.EqualValues(t, 4, turns.Load(), "one question and three redirects")
	})
}

func TestARegistryThatIsDownOrNotAllowedIsSaidToBe(t *testing.T) {
	t.Parallel()
	down := httptest.NewServer(http.NotFoundHandler())
	host := strings.TrimPrefix(down.URL, "http://")
	down.Close()
	_, err := asking(t, down.URL).Resolve(t.Context(), host+"/a/b:1")
	assert.Equal(t, "registry_unavailable", domain.CodeOf(err))
	digest := "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	pinned, err := asking(t, down.URL).Resolve(t.Context(), host+"/a/b:1@"+digest)
	require.NoError(t, err, "a digest needs no answer")
	assert.Equal(t, domainjobs.PinnedImage{Ref: host + "/a/b:1", Digest: digest}, pinned)
	_, err = asking(t).Resolve(t.Context(), host+"/a/b:1")
	assert.Equal(t, "registry_not_allowed", domain.CodeOf(err))
}

func TestADigestThatIsInNoHeaderIsWorkedOut(t *testing.T) {
	t.Parallel()
	manifest := []byte(`{"schemaVersion":2}`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		_, _ = w.Write(manifest)
	}))
	t.Cleanup(server.Close)
	found, err := asking(t, server.URL).Resolve(t.Context(), strings.TrimPrefix(server.URL, "http://")+"/a/b:1")
	require.NoError(t, err)
	assert.Equal(t, content.NewDescriptorFromBytes("", manifest).Digest.String(), found.Digest)
}
