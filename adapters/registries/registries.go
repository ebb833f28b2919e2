// Package registries knows where container images may come from, and asks what they are.
// A host's runtime fetches what a job names: without a list, a job could make it call
// addresses in its owner's network.
package registries

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/peergpu/peergpu/domain"
)

// WellKnown are the public registries that every installation allows.
var WellKnown = []string{
	"docker.io", "gcr.io", "ghcr.io", "mcr.microsoft.com", "nvcr.io", "public.ecr.aws", "quay.io", "registry.gitlab.com",
}

// List is the registries that an installation allows. Its zero value is WellKnown alone.
type List struct {
	own      []string
	insecure map[string]bool // those of them without TLS
}

// entry is a registry of the operator: a name or address, and a port if it is not 443.
var entry = regexp.MustCompile(`^([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?$`)

// New adds the operator's own registries, each host or host:port, with http:// before it
// where it has no TLS. These may be IP addresses and have any port.
func New(own ...string) (List, error) {
	l := List{insecure: map[string]bool{}}
	for _, e := range own {
		e, plain := strings.CutPrefix(strings.ToLower(strings.TrimSpace(e)), "http://")
		if !entry.MatchString(e) {
			return l, fmt.Errorf("%q is no registry: give host or host:port, such as registry.example.org:5000, with http:// before it if it has no TLS", e)
		}
		e = strings.TrimSuffix(e, ":443")
		l.own, l.insecure[e] = append(l.own, e), plain
	}
	return l, nil
}

// Check refuses what is no reference to an image, or one from a registry that is not
// allowed, as Invalid with a code and a sentence for whoever wrote it.
func (l List) Check(image string) error {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return domain.Invalid("invalid_image", "this is no image: write registry/name:tag or registry/name@sha256:…, in lower case")
	}
	registry := strings.ToLower(reference.Domain(named))
	registry = strings.TrimSuffix(registry, ":443")
	if slices.Contains(l.own, registry) || slices.Contains(WellKnown, registry) {
		return nil
	}
	host, port, err := net.SplitHostPort(registry)
	if err != nil {
		host = registry
	}
	switch {
	case net.ParseIP(strings.Trim(host, "[]")) != nil:
		return domain.Invalid("registry_not_allowed", "an image comes from a registry with a name, not from an IP address")
	case port != "":
		return domain.Invalid("registry_not_allowed", "images come from port 443 alone, not from port %s", port)
	}
	return domain.Invalid("registry_not_allowed", "images come from %s here, not from %s",
		strings.Join(slices.Sorted(slices.Values(slices.Concat(l.own, WellKnown))), ", "), registry)
}
