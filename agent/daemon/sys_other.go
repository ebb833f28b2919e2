//go:build !linux

package daemon

import (
	"os"
	"time"
)

// started anchors the monotonic clock.
var started = time.Now()

// sinceBoot is as near as Go comes without the kernel's help.
func sinceBoot() time.Duration { return time.Since(started) }

// syncData makes what was written durable.
func syncData(f *os.File) error { return f.Sync() }

// Lock cannot be had portably; two agents on one folder are the owner's to avoid.
func Lock(*os.File) error { return nil }

// freeBytes is not known here; the owner's policy says what jobs may use.
func freeBytes(string) int64 { return 1 << 40 }

// kernel is not known here.
func kernel() string { return "" }

// openFlags opens for reading.
const openFlags = os.O_RDONLY

// Apart is not looked for here, where no runtime makes such folders.
func Apart(string) bool { return false }
