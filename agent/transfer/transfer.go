// Package transfer is the agent's way to the server: the HTTP calls, the WebSocket, and
// the bytes of bundles, inputs and results by signed URL.
package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/peergpu/peergpu/agent/daemon"
	"github.com/peergpu/peergpu/openapi/wire"
)

// The patience with a connection that breaks.
const (
	fetchTries = 5
	fetchPause = 500 * time.Millisecond
	idleTime   = 30 * time.Second // without a byte
)

// Transfer fetches and puts by signed URL.
type Transfer struct {
	// Pause is before the first retry of a fetch, and doubles with each.
	Pause time.Duration

	base   *url.URL
	client *http.Client
}

// New makes a Transfer. URLs without a host are meant on the server.
func New(server string) (*Transfer, error) {
	base, err := parseServer(server)
	if err != nil {
		return nil, err
	}
	// No redirects: a signed URL is where the bytes are, and nothing else on this
	// machine's network is the server's to point at.
	client := &http.Client{
		Transport:     transport(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Transfer{base: base, client: client, Pause: fetchPause}, nil
}

// transport has a timeout for each step, and none for the whole: files may be large.
func transport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: idleTime,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   4,
		// Sums are over the bytes as they are; nothing is to be unpacked on the way.
		DisableCompression: true,
	}
}

// parseServer reads a server's URL.
func parseServer(server string) (*url.URL, error) {
	u, err := url.Parse(server)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("%q is no server's URL: it is to be like https://peergpu.example", server)
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return u, nil
}

// Fetch implements daemon.Transfer.
func (t *Transfer) Fetch(ctx context.Context, src daemon.Remote, path string, progress func(int64)) (err error) {
	target, err := t.resolve(src.URL)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(path)
		}
	}()
	d := download{file: f, size: src.Size, sum: sha256.New(), progress: progress}
	for try := 0; ; try++ {
		before := d.done
		err = t.continueFetch(ctx, target, &d)
		if err == nil || !temporary(err) || ctx.Err() != nil {
			break
		}
		if d.done > before {
			try = 0 // it gets on, if in pieces
		}
		if try >= fetchTries-1 {
			break
		}
		if wait(ctx, t.Pause<<try) != nil {
			return context.Cause(ctx)
		}
	}
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(d.sum.Sum(nil)); got != src.SHA256 {
		return fmt.Errorf("%w: the SHA-256 is %s", daemon.ErrContent, got)
	}
	return nil
}

// continueFetch asks for what is missing.
func (t *Transfer) continueFetch(ctx context.Context, target string, d *download) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	if d.done > 0 {
		request.Header.Set("Range", "bytes="+strconv.FormatInt(d.done, 10)+"-")
	}
	response, err := t.client.Do(request)
	if err != nil {
		return &brokenError{plain(err)}
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusOK:
		// Also where ranges are not known: it begins again.
		if err := d.restart(); err != nil {
			return err
		}
	case response.StatusCode == http.StatusPartialContent && d.done > 0:
		want := fmt.Sprintf("bytes %d-", d.done)
		if !strings.HasPrefix(response.Header.Get("Content-Range"), want) {
			return fmt.Errorf("the server answered another range than was asked for")
		}
	default:
		return statusError(response)
	}
	// A connection over which nothing comes is as good as broken.
	idle := time.AfterFunc(idleTime, cancel)
	defer idle.Stop()
	return d.read(response.Body, func() { idle.Reset(idleTime) })
}

// resolve completes URLs that are only a path.
func (t *Transfer) resolve(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", errors.New("the signed URL is malformed")
	}
	if u.Host == "" && u.Scheme == "" && strings.HasPrefix(u.Path, "/") {
		u.Scheme, u.Host = t.base.Scheme, t.base.Host
		u.Path = t.base.Path + u.Path
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", errors.New("the signed URL is neither http nor https")
	}
	return u.String(), nil
}

// Put implements daemon.Transfer.
func (t *Transfer) Put(ctx context.Context, to wire.UploadTarget, r io.ReaderAt, size int64) error {
	target, err := t.resolve(to.URL)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, string(to.Method), target, io.NewSectionReader(r, 0, size))
	if err != nil {
		return errors.New("the signed URL cannot be used")
	}
	request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(r, 0, size)), nil }
	request.ContentLength = size
	if size == 0 {
		// Go sends an unknown length for a body that it cannot look into.
		request.Body = http.NoBody
	}
	for name, value := range to.Headers {
		request.Header.Set(name, value)
	}
	response, err := t.client.Do(request)
	if err != nil {
		return plain(err)
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		return statusError(response)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16))
	return err
}

// plain takes the URL out of an error of net/http: what is signed is as good as a
// password while it lasts, and errors are logged.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// brokenError is a failure that may pass.
type brokenError struct{ err error }

// Error is that of the cause.
func (b *brokenError) Error() string { return b.err.Error() }

// Unwrap gives the cause.
func (b *brokenError) Unwrap() error { return b.err }

// temporary says that trying again may help.
func temporary(err error) bool {
	var broken *brokenError
	if errors.As(err, &broken) {
		return true
	}
	var refused *daemon.Refusal
	return errors.As(err, &refused) && (refused.Status >= 500 || refused.Status == http.StatusTooManyRequests)
}

// wait lets time pass, unless ctx ends first.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
