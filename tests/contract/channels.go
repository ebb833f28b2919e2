package contract

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// Switchboard is Channels with hosts at their other ends.
type Switchboard struct {
	ports.Channels
	// Connect opens a session of a host, as its agent does. It returns when Channels
	// knows the session; an older one of the host is over then.
	Connect func(t *testing.T, host domain.ID) Line
	// Assign stores work for a host, Revoke that it shall stop it, and Take that it does
	// not have it any more. Nobody is told.
	Assign func(t *testing.T, host domain.ID) (job domain.ID)
	Revoke func(t *testing.T, job domain.ID)
	Take   func(t *testing.T, job domain.ID)
	// Stall makes every look for a host's work take until release is called: it has
	// read what there is, and does not come back. looking has something when one does.
	Stall func(t *testing.T, host domain.ID) (looking <-chan struct{}, release func())
}

// Line is an agent's end of a session.
type Line struct {
	Told  <-chan Call
	Ended <-chan string // why, once
	Leave func()
}

// Call is what an agent is told.
type Call struct {
	Job  domain.ID
	Stop bool // and not: run it
}

// Channels is the contract of ports.Channels.
func Channels(t *testing.T, open func(*testing.T) Switchboard) {
	c := channelCases{open(t)}
	t.Run("a session that is woken looks for work", c.wake)
	t.Run("what a session was told of it is not told again", c.once)
	t.Run("a session is told of work that was taken from its host", c.taken)
	t.Run("waking does nothing for a host that is not connected", c.absent)
	t.Run("waking reaches the newest session of its host", c.newest)
	t.Run("waking never blocks, and is not lost on a session that is looking", c.busy)
	t.Run("many wake one session at once", c.many)
	t.Run("closing ends the session and tells why", c.close)
	t.Run("closing reaches a session that is looking for work", c.closeBusy)
	t.Run("a host whose session was closed may come back", c.comeBack)
	t.Run("hosts come and go while others wake and close them", c.churn)
}

type channelCases struct{ Switchboard }

// next checks that new work is what the session is told of next: nothing was left over.
func (c channelCases) next(t *testing.T, host domain.ID, l Line) {
	t.Helper()
	job := c.Assign(t, host)
	c.Wake(host)
	assert.Equal(t, Call{Job: job}, received(t, l.Told, "the session is told of its work"))
}

func (c channelCases) wake(t *testing.T) {
	t.Parallel()
	host := ids.New()
	l := c.Connect(t, host)
	c.next(t, host, l)
	// All that there is by now, however often it was woken.
	first, second := c.Assign(t, host), c.Assign(t, host)
	c.Wake(host)
	calls := []Call{received(t, l.Told, "work"), received(t, l.Told, "more work")}
	assert.ElementsMatch(t, []Call{{Job: first}, {Job: second}}, calls)
	c.Revoke(t, first)
	c.Wake(host)
	assert.Equal(t, Call{first, true}, received(t, l.Told, "work is revoked"))
}

func (c channelCases) taken(t *testing.T) {
	t.Parallel()
	host := ids.New()
	l := c.Connect(t, host)
	job := c.Assign(t, host)
	c.Wake(host)
	assert.Equal(t, Call{Job: job}, received(t, l.Told, "work"))
	c.Take(t, job)
	c.Wake(host)
	assert.Equal(t, Call{job, true}, received(t, l.Told, "work is taken"))
	c.Wake(host)
	c.next(t, host, l) // and it is told once
}

func (c channelCases) once(t *testing.T) {
	t.Parallel()
	host := ids.New()
	l := c.Connect(t, host)
	for range 3 {
		for range 10 {
			c.Wake(host)
		}
		c.next(t, host, l)
	}
}

func (c channelCases) absent(t *testing.T) {
	t.Parallel()
	nobody, gone := ids.New(), ids.New()
	l := c.Connect(t, gone)
	l.Leave()
	for _, host := range []domain.ID{nobody, gone, {}} {
		c.Wake(host)
		c.Close(host, "nobody is there")
	}
	received(t, l.Ended, "the session is over")
	c.Wake(gone)
	c.Close(gone, "it left")
	c.next(t, nobody, c.Connect(t, nobody))
}

func (c channelCases) newest(t *testing.T) {
	t.Parallel()
	host, other := ids.New(), ids.New()
	older, neighbour := c.Connect(t, host), c.Connect(t, other)
	newest := c.Connect(t, host)
	received(t, older.Ended, "the older session is over")
	c.next(t, host, newest)
	assert.Empty(t, older.Told)
	assert.Empty(t, neighbour.Told, "it is another host's work")
}

func (c channelCases) busy(t *testing.T) {
	t.Parallel()
	host := ids.New()
	l := c.Connect(t, host)
	c.next(t, host, l)
	looking, release := c.Stall(t, host)
	defer release()
	c.Wake(host)
	received(t, looking, "a look for work")
	job := c.Assign(t, host)
	woken := make(chan struct{})
	go func() {
		defer close(woken)
		for range 10_000 {
			c.Wake(host)
		}
	}()
	received(t, woken, "waking returns")
	assert.Empty(t, l.Told, "it is still looking")
	release()
	assert.Equal(t, Call{Job: job}, received(t, l.Told, "it looks again"))
}

func (c channelCases) many(t *testing.T) {
	t.Parallel()
	host := ids.New()
	l := c.Connect(t, host)
	want, got := make([]Call, racers), make([]Call, racers)
	race(racers, func(i int) error {
		want[i] = Call{Job: c.Assign(t, host)}
		c.Wake(host)
		return nil
	})
	for i := range got {
		got[i] = received(t, l.Told, "work")
	}
	assert.ElementsMatch(t, want, got)
	c.next(t, host, l)
}

func (c channelCases) close(t *testing.T) {
	t.Parallel()
	host, other := ids.New(), ids.New()
	l, neighbour := c.Connect(t, host), c.Connect(t, other)
	c.Close(host, "the host was removed")
	assert.Contains(t, received(t, l.Ended, "the session ends"), "the host was removed")
	c.Close(host, "again")
	c.Assign(t, host)
	c.Wake(host)
	c.next(t, other, neighbour)
	assert.Empty(t, l.Told)
	assert.Empty(t, neighbour.Ended)
}

func (c channelCases) closeBusy(t *testing.T) {
	t.Parallel()
	host := ids.New()
	l := c.Connect(t, host)
	looking, release := c.Stall(t, host)
	defer release()
	c.Wake(host)
	received(t, looking, "a look for work")
	c.Close(host, "enough")
	assert.Contains(t, received(t, l.Ended, "the session ends"), "enough")
}

func (c channelCases) comeBack(t *testing.T) {
	t.Parallel()
	host := ids.New()
	for range 3 {
		l := c.Connect(t, host)
		c.Close(host, "go")
		received(t, l.Ended, "the session ends")
	}
	l := c.Connect(t, host)
	c.next(t, host, l)
	assert.Empty(t, l.Ended)
}

func (c channelCases) churn(t *testing.T) {
	t.Parallel()
	host, done := ids.New(), make(chan struct{})
	go func() {
		defer close(done)
		race(racers, func(i int) error {
			for range 200 {
				c.Wake(host)
				if i == 0 {
					c.Close(host, "churn")
				}
			}
			return nil
		})
	}()
	for range 5 {
		c.Connect(t, host).Leave()
	}
	received(t, done, "nobody was blocked")
	// A session that begins only now is none of those that were closed.
	l := c.Connect(t, host)
	c.next(t, host, l)
}
