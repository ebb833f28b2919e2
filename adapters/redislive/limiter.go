package redislive

import (
	"context"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/peergpu/peergpu/ports"
)

var _ ports.Limiter = (*Limiter)(nil)

const (
	answerTime = 500 * time.Millisecond // that a use waits for Redis
	askAgain   = time.Second            // after it did not answer
)

// Limiter counts the uses of a key for all replicas together. While Redis is away each
// replica counts for itself: the limit holds for each of them, not for all.
type Limiter struct {
	client *Client
	alone  ports.Limiter
	log    *slog.Logger
	away   atomic.Bool // it did not answer and is not asked for a while
}

// NewLimiter makes a limiter, and is told which one counts while Redis is away.
func NewLimiter(client *Client, alone ports.Limiter, log *slog.Logger) *Limiter {
	return &Limiter{client: client, alone: alone, log: log}
}

// count keeps a list of the times of the uses that count, oldest first, in microseconds
// by the clock of Redis. It answers 0 for a use that it counted, else the time to wait.
var count = rueidis.NewLuaScript(`
local t = redis.call('TIME')
local now, per, times = t[1] * 1000000 + t[2], tonumber(ARGV[1]), tonumber(ARGV[2])
local first = redis.call('LINDEX', KEYS[1], 0)
while first and tonumber(first) + per <= now do
  redis.call('LPOP', KEYS[1])
  first = redis.call('LINDEX', KEYS[1], 0)
end
if times <= 0 then return per end
local n = redis.call('LLEN', KEYS[1])
if n >= times then return redis.call('LINDEX', KEYS[1], n - times) + per - now end
redis.call('RPUSH', KEYS[1], string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(per / 1000))
return 0`)

// Allow counts a use, see ports.Limiter.
func (l *Limiter) Allow(ctx context.Context, key string, limit ports.Limit) (time.Duration, bool, error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	if l.away.Load() {
		return l.alone.Allow(ctx, key, limit)
	}
	asked, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	wait, err := count.Exec(asked, l.client.Client, []string{l.client.Prefix + ":limit:" + key},
		[]string{strconv.FormatInt(limit.Per.Microseconds(), 10), strconv.Itoa(limit.Times)}).AsInt64()
	switch {
	case ctx.Err() != nil:
		return 0, false, ctx.Err()
	case err != nil:
		l.lost(err)
		return l.alone.Allow(ctx, key, limit)
	}
	return time.Duration(wait) * time.Microsecond, wait == 0, nil
}

// lost lets Redis rest for a while.
func (l *Limiter) lost(err error) {
	if l.away.CompareAndSwap(false, true) {
		l.log.Warn("redis does not count; this replica counts for itself", "error", err)
		time.AfterFunc(askAgain, func() { l.away.Store(false) })
	}
}
