package bunstore

import (
	"sync"

	"github.com/peergpu/peergpu/domain"
)

// copies are the aggregates that this store wrote last, as they are stored now unless
// another server changed them. An update begins with one instead of reading it; that
// its version is still the stored one is checked when it is replaced.
type copies struct {
	mu    sync.Mutex
	known map[domain.ID]any
	ring  [mostCopies]domain.ID // in the order in which they came
	next  int
}

const mostCopies = 1024

func newCopies() *copies { return &copies{known: map[domain.ID]any{}} }

// put remembers what was stored. The snapshot belongs to the callee.
func (c *copies) put(id domain.ID, snapshot any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.known[id]; !known {
		delete(c.known, c.ring[c.next])
		c.ring[c.next] = id
		c.next = (c.next + 1) % mostCopies
	}
	c.known[id] = snapshot
}

// find gives the copy of an aggregate; nil: there is none.
func (c *copies) find(id domain.ID) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[id]
}

// forget drops a copy of which nobody knows whether it is stored.
func (c *copies) forget(id domain.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.known[id]; known {
		c.known[id] = nil // its place in the ring stays
	}
}
