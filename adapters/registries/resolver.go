package registries

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"code.dny.dev/ssrf"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

var _ ports.Images = (*Resolver)(nil)

// Resolver asks registries what images are. Renters choose what it asks, and what is asked
// may lead on to others: it calls public addresses on port 443 alone, and the operator's
// own registries.
type Resolver struct {
	list   List
	client *http.Client
}

const (
	patience  = 15 * time.Second // for one image, its authentication included
	redirects = 3
)

// NewResolver makes a resolver that asks the registries of a list.
func NewResolver(list List) *Resolver {
	own := &net.Dialer{Timeout: patience}
	// The address is checked when it is known and before anything is sent, so that no name
	// can mean something else in between.
	public := &net.Dialer{Timeout: patience, Control: ssrf.New(ssrf.WithPorts(443)).Safe}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if list.isOwn(address) {
				return own.DialContext(ctx, network, address)
			}
			return public.DialContext(ctx, network, address)
		},
		TLSHandshakeTimeout: patience, ResponseHeaderTimeout: patience, MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2: true, MaxIdleConns: 20, IdleConnTimeout: time.Minute,
	}
	return &Resolver{list: list, client: &http.Client{
		Transport: transport, Timeout: patience,
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) > redirects {
				return errors.New("it redirects too often")
			}
			return nil
		},
	}}
}

// Resolve pins an image, see ports.Images. It asks for the head of the manifest: whoever
// pulls it by the digest checks that what comes has it.
func (r *Resolver) Resolve(ctx context.Context, image string) (jobs.PinnedImage, error) {
	if err := r.list.Check(image); err != nil {
		return jobs.PinnedImage{}, err
	}
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return jobs.PinnedImage{}, err
	}
	pinned, wanted := jobs.PinnedImage{Ref: reference.TrimNamed(named).Name()}, ""
	if d, ok := named.(reference.Digested); ok {
		if pinned.Digest, wanted = d.Digest().String(), d.Digest().String(); d.Digest().Algorithm() != digest.SHA256 {
			return jobs.PinnedImage{}, domain.Invalid("invalid_image", "a digest is of sha256 here, not of %s", d.Digest().Algorithm())
		}
	} else {
		named = reference.TagNameOnly(named)
	}
	if t, ok := named.(reference.Tagged); ok {
		pinned.Ref += ":" + t.Tag()
		wanted = cmp.Or(wanted, t.Tag())
	}
	domainName := reference.Domain(named)
	repo := &remote.Repository{
		Client:    &auth.Client{Client: r.client, Header: http.Header{"User-Agent": {"peergpu"}}},
		Reference: registry.Reference{Registry: domainName, Repository: reference.Path(named)},
		PlainHTTP: r.list.plain(domainName),
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found, err := repo.Manifests().Resolve(ctx, wanted)
	if err != nil && missingDigest(err) {
		found, err = r.fetch(ctx, repo, wanted)
	}
	if err != nil {
		err = refusal(ctx, err, image, domainName)
		if pinned.Digest != "" && domain.KindOf(err) == domain.KindUnavailable {
			return pinned, nil
		}
		return jobs.PinnedImage{}, err
	}
	pinned.Digest = found.Digest.String()
	return pinned, nil
}

// fetch reads a manifest, for its digest, where the registry does not name that in a
// header.
func (r *Resolver) fetch(ctx context.Context, repo *remote.Repository, wanted string) (ocispec.Descriptor, error) {
	found, content, err := repo.Manifests().FetchReference(ctx, wanted)
	if err != nil {
		return found, err
	}
	return found, content.Close()
}

// missingDigest says that a registry answered a HEAD without Docker-Content-Digest, which
// it need not send.
func missingDigest(err error) bool {
	return strings.Contains(err.Error(), "missing required header")
}

// refusal says what an error of a registry means for whoever named the image.
func refusal(ctx context.Context, err error, image, name string) error {
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	var answer *errcode.ErrorResponse
	status := 0
	if errors.As(err, &answer) {
		status = answer.StatusCode
	}
	switch {
	case errors.Is(err, errdef.ErrNotFound), status == http.StatusNotFound:
		return domain.Invalid("image_not_found", "%s has no image %s", name, image).With(err)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return domain.Invalid("image_not_found", "%s does not exist, or is not public", image).With(err)
	case status == http.StatusTooManyRequests:
		return domain.Unavailable("registry_unavailable", "%s answers no more questions for now: try again later", name).With(err)
	}
	return domain.Unavailable("registry_unavailable", "%s could not be asked for %s: try again, or use another registry", name, image).With(err)
}

// isOwn says whether an address, host:port, is a registry of the operator.
func (l List) isOwn(address string) bool {
	return slices.ContainsFunc(l.own, func(e string) bool {
		host, port, err := net.SplitHostPort(e)
		if err != nil {
			host, port = strings.Trim(e, "[]"), "443"
			if l.insecure[e] {
				port = "80"
			}
		}
		return strings.EqualFold(net.JoinHostPort(host, port), address)
	})
}

// plain says whether a registry speaks HTTP without TLS.
func (l List) plain(name string) bool {
	return l.insecure[strings.TrimSuffix(strings.ToLower(name), ":443")]
}
