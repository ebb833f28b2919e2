//go:build linux

// Command peergpu-entry is process 1 of the containers that peergpu-agent runs jobs in.
// The agent mounts it there; nobody starts it by hand.
package main

import (
	"os"

	"github.com/peergpu/peergpu/agent/runtime/entry"
)

func main() { os.Exit(entry.Main()) }
