package gateway

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// gate lets so many agents in within a second. After a restart all of them come at once;
// those that would only make each other slow are told when to come again, before their
// token is looked at.
type gate struct {
	most int // a second; 0: no limit

	mu    sync.Mutex
	began time.Time // of the present second
	count int
}

// spread is the most seconds that those who are turned away wait.
const spread = 5

// enter says whether there is room at a moment.
func (g *gate) enter(now time.Time) bool {
	if g.most == 0 {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Sub(g.began) >= time.Second {
		g.began, g.count = now, 0
	}
	g.count++
	return g.count <= g.most
}

// turnAway answers who finds no room.
func (g *gate) turnAway(w http.ResponseWriter) {
	w.Header().Set("Retry-After", strconv.Itoa(1+rand.IntN(spread)))
	answer(w, http.StatusServiceUnavailable, "too_many_agents", "too many agents connect at once; come again after Retry-After")
}
