package market

import (
	"sync/atomic"
	"time"

	"github.com/peergpu/peergpu/adapters/system"
)

// Clock is the bubble's, until somebody sets it.
type Clock struct{ set atomic.Int64 }

// Now implements ports.Clock.
func (c *Clock) Now() time.Time { return system.Clock{}.Now().Add(time.Duration(c.set.Load())) }

// Set puts the clock forward, or back, as an operator or NTP does.
func (c *Clock) Set(by time.Duration) { c.set.Add(int64(by)) }
