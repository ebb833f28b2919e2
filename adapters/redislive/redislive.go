// Package redislive is for what the replicas of a server tell each other through Redis:
// what is only worth something now (Live), and how often something happened (Limiter).
// Nothing is kept there that cannot be lost: a Redis that is flushed, restarted or away
// costs messages, of which subscribers are told, and no more.
package redislive

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

const (
	defaultPrefix = "peergpu"
	defaultPort   = "6379"
	// silence is how long Redis may say nothing to a PING, sent each second, before its
	// connection is given up.
	silence = 2 * time.Second
	// opening is how long Redis may be away when a server starts.
	opening = 30 * time.Second
)

// Options say which Redis it is. They hold its password and are not for printing.
type Options struct {
	client rueidis.ClientOption
	prefix string
}

var prefixes = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Parse reads redis://[USER@]HOST[:PORT][/DATABASE][?prefix=NAME], or rediss:// for TLS.
// A password may stand in the address or beside it. Every key and channel begins with the
// prefix, peergpu unless it says another, so that installations may share a Redis. No
// error repeats the address: a password may be in it.
func Parse(raw, password string) (Options, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return Options{}, errors.New("it is no URL")
	}
	if u.Scheme != "redis" && u.Scheme != "rediss" {
		return Options{}, errors.New("it begins with redis:// or, with TLS, rediss://")
	}
	if u.Hostname() == "" {
		return Options{}, errors.New("the host is missing")
	}
	o := Options{prefix: defaultPrefix, client: rueidis.ClientOption{
		InitAddress:       []string{net.JoinHostPort(u.Hostname(), orDefault(u.Port(), defaultPort))},
		Username:          u.User.Username(),
		ClientName:        "peergpu",
		ForceSingleClient: true,
		DisableCache:      true,
		// What failed may have happened: who sent it decides.
		DisableRetry:     true,
		ConnWriteTimeout: silence,
		Dialer:           net.Dialer{Timeout: silence, KeepAlive: time.Second},
	}}
	if u.Scheme == "rediss" {
		o.client.TLSConfig = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	}
	inside, there := u.User.Password()
	switch {
	case there && password != "":
		return Options{}, errors.New("the password stands both in the address and beside it")
	case there:
		o.client.Password = inside
	default:
		o.client.Password = password
	}
	if path := strings.Trim(u.Path, "/"); path != "" {
		if o.client.SelectDB, err = strconv.Atoi(path); err != nil || o.client.SelectDB < 0 {
			return Options{}, errors.New("its path is the number of a database, as in /0")
		}
	}
	for name, values := range u.Query() {
		if name != "prefix" || len(values) != 1 || !prefixes.MatchString(values[0]) {
			return Options{}, errors.New("its only parameter is prefix, once, of 1 to 64 letters, digits, - and _")
		}
		o.prefix = values[0]
	}
	return o, nil
}

func orDefault(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// Client is the connection to Redis that everything here shares.
type Client struct {
	rueidis.Client
	// Prefix is what keys and channels begin with, without the colon behind it.
	Prefix string

	pool *pool
}

// Pool is what became of a client's connections.
type Pool struct {
	Open           int64 // now
	Opened, Failed int64 // tries since it started
}

// Pool tells of the connections.
func (c *Client) Pool() Pool {
	return Pool{Open: c.pool.open.Load(), Opened: c.pool.opened.Load(), Failed: c.pool.failed.Load()}
}

// pool counts connections where they are made.
type pool struct{ open, opened, failed atomic.Int64 }

// dial opens a connection to Redis.
func (p *pool) dial(ctx context.Context, address string, dialer *net.Dialer, secure *tls.Config) (conn net.Conn, err error) {
	if secure != nil {
		conn, err = (&tls.Dialer{NetDialer: dialer, Config: secure}).DialContext(ctx, "tcp", address)
	} else {
		conn, err = dialer.DialContext(ctx, "tcp", address)
	}
	if err != nil {
		p.failed.Add(1)
		return nil, err
	}
	p.opened.Add(1)
	p.open.Add(1)
	return &counted{Conn: conn, closed: sync.OnceFunc(func() { p.open.Add(-1) })}, nil
}

// counted is a connection that is counted until it is closed.
type counted struct {
	net.Conn
	closed func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.closed()
	return c.Conn.Close()
}

// Open connects. A Redis that is away is waited for, 30 s at most.
func Open(ctx context.Context, o Options, log *slog.Logger) (*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, opening)
	defer cancel()
	waits, pool := false, &pool{}
	o.client.DialCtxFn = pool.dial
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		client, err := rueidis.NewClient(o.client)
		if err == nil {
			return &Client{Client: client, Prefix: o.prefix, pool: pool}, nil
		}
		if !waits {
			log.WarnContext(ctx, "redis does not answer; it is waited for", "address", o.client.InitAddress[0], "at_most", opening, "error", err)
			waits = true
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, fmt.Errorf("redis at %s: %w", o.client.InitAddress[0], err)
		}
	}
}

// Ping asks whether Redis answers.
func (c *Client) Ping(ctx context.Context) error {
	return c.Do(ctx, c.B().Ping().Build()).Error()
}
