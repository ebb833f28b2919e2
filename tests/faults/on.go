//go:build faults

package faults

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Enabled says whether this build has crash points.
const Enabled = true

// fault is what happens at a point.
type fault struct {
	action, arg string
	at          int // the n-th time; 0: each time
}

var (
	armed   = parse(os.Getenv("PEERGPU_FAULTS"))
	journal = open(os.Getenv("PEERGPU_FAULTS_LOG"))
	mu      sync.Mutex
	reached = map[string]int{}
)

// Point is reached whenever the program passes the place of that name; where the place
// can fail, it fails with the error.
func Point(name string) error {
	mu.Lock()
	reached[name]++
	n := reached[name]
	mu.Unlock()
	f := armed[name]
	if f.at != 0 && f.at != n {
		f = fault{}
	}
	write(name, strconv.Itoa(n), f.action)
	switch f.action {
	case "kill":
		if self, err := os.FindProcess(os.Getpid()); err == nil {
			_ = self.Kill()
		}
		select {} // it goes no further, however long the signal takes
	case "panic":
		panic("the fault " + name)
	case "err":
		return errors.New("the fault " + name)
	case "delay":
		d, _ := time.ParseDuration(f.arg)
		<-time.After(d)
	}
	return nil
}

// Note tells tests that something happened to one of many.
func Note(name string, of fmt.Stringer) { write(name, of.String(), "") }

func write(name, n, action string) {
	if journal != nil {
		fmt.Fprintf(journal, "%d %d %s %s %s\n", time.Now().UnixNano(), os.Getpid(), name, n, action)
	}
}

func open(path string) *os.File {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	return f
}

// parse reads what PEERGPU_FAULTS says. A mistake in it is the test's, and ends it.
func parse(list string) map[string]fault {
	faults := map[string]fault{}
	for part := range strings.SplitSeq(list, ",") {
		if part == "" {
			continue
		}
		name, action, _ := strings.Cut(part, "=")
		action, nth, once := strings.Cut(action, "@")
		var f fault
		f.action, f.arg, _ = strings.Cut(action, ":")
		_, wrong := time.ParseDuration(f.arg)
		n, err := strconv.Atoi(nth)
		switch {
		case !slices.Contains(Server, name) && !slices.Contains(Agent, name):
			panic("PEERGPU_FAULTS: there is no point " + name)
		case !slices.Contains([]string{"kill", "err", "panic", "delay"}, f.action), (f.action == "delay") != (wrong == nil), once && (err != nil || n < 1):
			panic("PEERGPU_FAULTS: " + part + " is not understood")
		}
		f.at = n
		faults[name] = f
	}
	return faults
}
