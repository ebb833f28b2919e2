package daemon

import "time"

// SystemClock is the machine's own clock.
type SystemClock struct{}

// Now reads the wall clock.
func (SystemClock) Now() time.Time { return time.Now() }

// Boot reads the time since boot.
func (SystemClock) Boot() time.Duration { return sinceBoot() }
