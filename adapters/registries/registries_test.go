package registries_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/adapters/registries"
	"github.com/peergpu/peergpu/domain"
)

const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestImagesComeFromRegistriesThatAreAllowed(t *testing.T) {
	t.Parallel()
	l, err := registries.New("registry.example.org:5000", " Harbor.example.org", "192.168.1.1:5000", "secure.example.org:443", "[fd00::1]:5000")
	require.NoError(t, err)
	for image, code := range map[string]string{
		"python": "", "python:3.12": "", "pytorch/pytorch:2.5": "", "docker.io/library/python": "", "index.docker.io/library/python": "",
		"ghcr.io/a/b" + digest: "", "ghcr.io:443/a/b": "", "GHCR.io/a/b": "", "nvcr.io/nvidia/cuda:12.8.0-base-ubuntu24.04" + digest: "",
		"quay.io/a/b": "", "gcr.io/a/b": "", "registry.gitlab.com/a/b/c": "", "mcr.microsoft.com/a": "", "public.ecr.aws/a/b": "",
		"registry.example.org:5000/a": "", "harbor.example.org/a": "", "harbor.example.org:443/a": "", "192.168.1.1:5000/a": "",
		"secure.example.org/a": "", "[fd00::1]:5000/a": "",

		"registry.example.org/a": "registry_not_allowed", "harbor.example.org:5000/a": "registry_not_allowed",
		"192.168.1.1/a": "registry_not_allowed", "192.168.1.2:5000/x": "registry_not_allowed", "127.0.0.1:2375/x": "registry_not_allowed",
		"[::1]/x": "registry_not_allowed", "[fd00::2]:5000/x": "registry_not_allowed", "localhost/x": "registry_not_allowed",
		"localhost:5000/x": "registry_not_allowed", "evil.example.org/x": "registry_not_allowed", "docker.io:80/x": "registry_not_allowed",
		"ghcr.io.evil.example.org/x": "registry_not_allowed", "evilghcr.io/x": "registry_not_allowed", "169.254.169.254/latest": "registry_not_allowed",
		"0x7f000001.example/x": "registry_not_allowed",

		"": "invalid_image", " ": "invalid_image", "Python": "invalid_image", "a b": "invalid_image", "https://ghcr.io/a/b": "invalid_image",
		"ghcr.io/a/b@sha256:1": "invalid_image", "ghcr.io/../a": "invalid_image", "user@ghcr.io/a": "invalid_image", "-v": "invalid_image",
		"ghcr.io/a\n": "invalid_image", strings.Repeat("a", 256): "invalid_image", digest[8:]: "invalid_image",
	} {
		err := l.Check(image)
		if code == "" {
			assert.NoError(t, err, "%q", image)
		} else {
			assert.Equal(t, domain.KindInvalid, domain.KindOf(err), "%q", image)
			assert.Equal(t, code, domain.CodeOf(err), "%q", image)
		}
	}
}

func TestAnErrorSaysWhereImagesMayComeFrom(t *testing.T) {
	t.Parallel()
	l, err := registries.New("registry.example.org:5000")
	require.NoError(t, err)
	assert.ErrorContains(t, l.Check("evil.example.org/x"), "registry.example.org:5000")
	assert.ErrorContains(t, registries.List{}.Check("192.168.1.1:5000/x"), "IP address")
	assert.ErrorContains(t, registries.List{}.Check("ghcr.io:8443/x"), "8443")
}

func TestARegistryOfTheOperatorIsAHostWithOrWithoutPort(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "https://registry.example.org", "registry.example.org/a", "a:b", "a:0", "*", "a b", "user@host", "[::1"} {
		_, err := registries.New(bad)
		assert.ErrorContains(t, err, "host:port", "%q", bad)
	}
}
