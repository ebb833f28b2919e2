package daemon

import "time"

// systemClock is the machine's own clock.
type systemClock struct{}

// Now reads the wall clock.
func (systemClock) Now() time.Time { return time.Now() }

// Boot reads the time since boot.
func (systemClock) Boot() time.Duration { return sinceBoot() }
