package transfer

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/peergpu/peergpu/agent/daemon"
)

// isJSON says whether an answer can be the server's own.
func isJSON(response *http.Response) bool {
	kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	return err == nil && (kind == "application/json" || kind == "application/problem+json")
}

// foreign is an answer of something else than a PeerGPU server: another site, or a proxy
// that wants to be asked elsewhere.
func foreign(response *http.Response) error {
	from := response.Request.URL
	if to, err := response.Location(); err == nil && response.StatusCode/100 == 3 {
		to.Path = strings.TrimSuffix(to.Path, "/healthz")
		return &daemon.Unreachable{
			Err: fmt.Errorf("%s://%s sends its visitors on to %s://%s%s", from.Scheme, from.Host, to.Scheme, to.Host, to.Path),
			Do:  fmt.Sprintf("if that is the marketplace, make it the server in agent.yaml (or --server of enroll): %s://%s", to.Scheme, to.Host),
		}
	}
	kind := response.Header.Get("Content-Type")
	if kind == "" {
		kind = "an empty answer"
	}
	do := "the URL is another site's, or a login page stands before it: copy the marketplace's address from its page Hosts, Add a host, into server of agent.yaml (or --server of enroll)"
	if from.Scheme == "http" && response.StatusCode == http.StatusBadRequest {
		do = "if the server speaks TLS there, write https:// instead of http://; else " + do
	}
	return &daemon.Unreachable{
		Err: fmt.Errorf("%s answers %d with %s, which no PeerGPU server does", from.Redacted(), response.StatusCode, kind),
		Do:  do,
	}
}

// unreachable adds to an error of connecting what its owner can do about it.
func unreachable(err error) error {
	do := advice(err)
	if do == "" {
		return err
	}
	// The library's text begins with the method and the address, which a person has.
	var asked *url.Error
	if errors.As(err, &asked) {
		err = fmt.Errorf("%s: %w", hostOf(asked.URL), asked.Err)
	}
	return &daemon.Unreachable{Err: err, Do: do}
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "the server"
	}
	return u.Scheme + "://" + u.Host
}

// advice tells the errors apart that have different remedies.
func advice(err error) string {
	var (
		name      *net.DNSError
		operation *net.OpError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		timeout   net.Error
	)
	switch {
	case errors.As(err, &operation) && operation.Op == "proxyconnect":
		return "the proxy does not answer: see HTTPS_PROXY and HTTP_PROXY, and name the server in NO_PROXY if it needs none"
	case errors.As(err, &name):
		return "see that the host name of server in agent.yaml is spelt right, and that this machine can look names up (getent hosts NAME)"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: see that the server runs, and that the port of server in agent.yaml is right"
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return "the server does not speak TLS there: write http:// instead of https://, or the port where it does"
	case errors.As(err, &authority):
		return "the certificate is by an authority that this machine does not know: install ca-certificates, or your own authority's certificate (update-ca-certificates), or name its file in SSL_CERT_FILE"
	case errors.As(err, &hostname):
		return "the certificate is for another name: use a name in it as server in agent.yaml, or have the operator renew it"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate is not valid at this machine's time: see that its clock is right (timedatectl), else the operator has to renew it"
	case errors.As(err, &invalid):
		return "the server's operator has to get a valid certificate"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "nothing answered in time: see that the server runs, that no firewall is between, and whether this network needs HTTPS_PROXY"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "there is no way to that address: see that this machine has a network"
	}
	return ""
}
