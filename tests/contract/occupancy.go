package contract

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// Taking is an Occupancy with the ways in which devices come to be taken.
type Taking struct {
	ports.Occupancy
	Devices []domain.ID // of which none is taken
	// Take gives some of the devices to a new job.
	Take func(t *testing.T, gpus int) (job domain.ID, devices []domain.ID)
	// Stop asks for the end of a job, which its host has not confirmed yet.
	Stop func(t *testing.T, job domain.ID)
	// End ends a job in order.
	End func(t *testing.T, job domain.ID)
	// Reopen is the occupancy as a process sees it that starts now.
	Reopen func(t *testing.T) ports.Occupancy
}

// Occupancy is the contract of ports.Occupancy. A case takes up to 4 devices of what
// is opened, in pairs of one host at most, and the race of them all.
func Occupancy(t *testing.T, open func(*testing.T) Taking) {
	for name, run := range map[string]func(Taking, *testing.T){
		"free devices are missing, and unknown ones":                    Taking.free,
		"each device that is taken tells its job":                       Taking.taken,
		"a device is taken until its host has given it back":            Taking.ended,
		"what was taken before the start is known":                      Taking.reopened,
		"of jobs that are submitted at once, each device tells its own": Taking.raced,
		"what is returned is the caller's":                              Taking.copied,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(open(t), t)
		})
	}
}

func (o Taking) free(t *testing.T) {
	assert.Empty(t, o.Busy(o.Devices...))
	assert.Empty(t, o.Busy(ids.New(), domain.ID{}))
	assert.Empty(t, o.Busy())
	o.Take(t, 1)
	assert.Empty(t, o.Busy(), "none was asked about")
	assert.Empty(t, o.Busy(ids.New()))
	assert.Len(t, o.Busy(append(o.Devices, ids.New())...), 1, "an unknown one beside a taken one")
}

func (o Taking) taken(t *testing.T) {
	one, first := o.Take(t, 1)
	two, pair := o.Take(t, 2)
	want := map[domain.ID]domain.ID{first[0]: one, pair[0]: two, pair[1]: two}
	assert.Len(t, want, 3)
	assert.Equal(t, want, o.Busy(o.Devices...))
	assert.Equal(t, want, o.Busy(first[0], pair[1], pair[0], first[0]))
	assert.Equal(t, map[domain.ID]domain.ID{pair[1]: two}, o.Busy(pair[1]))
}

func (o Taking) ended(t *testing.T) {
	first, one := o.Take(t, 2)
	second, other := o.Take(t, 1)
	o.Stop(t, first)
	assert.Equal(t, map[domain.ID]domain.ID{one[0]: first, one[1]: first}, o.Busy(one...))
	o.End(t, first)
	assert.Empty(t, o.Busy(one...))
	assert.Equal(t, map[domain.ID]domain.ID{other[0]: second}, o.Busy(o.Devices...))
	o.End(t, second)
	assert.Empty(t, o.Busy(o.Devices...))
}

func (o Taking) reopened(t *testing.T) {
	over, _ := o.Take(t, 1)
	o.End(t, over)
	job, devices := o.Take(t, 2)
	stopping, last := o.Take(t, 1)
	o.Stop(t, stopping)
	want := map[domain.ID]domain.ID{devices[0]: job, devices[1]: job, last[0]: stopping}
	assert.Equal(t, want, o.Busy(o.Devices...))
	assert.Equal(t, want, o.Reopen(t).Busy(o.Devices...))
}

func (o Taking) raced(t *testing.T) {
	jobs, taken := make([]domain.ID, len(o.Devices)), make([][]domain.ID, len(o.Devices))
	race(len(o.Devices), func(i int) error {
		jobs[i], taken[i] = o.Take(t, 1)
		assert.Equal(t, map[domain.ID]domain.ID{taken[i][0]: jobs[i]}, o.Busy(taken[i]...))
		return nil
	})
	want := map[domain.ID]domain.ID{}
	for i, job := range jobs {
		want[taken[i][0]] = job
	}
	assert.Equal(t, want, o.Busy(o.Devices...))
	race(len(jobs), func(i int) error { o.End(t, jobs[i]); return nil })
	assert.Empty(t, o.Busy(o.Devices...))
}

func (o Taking) copied(t *testing.T) {
	job, devices := o.Take(t, 1)
	given := o.Busy(o.Devices...)
	given[devices[0]] = ids.New()
	given[ids.New()] = job
	assert.Equal(t, map[domain.ID]domain.ID{devices[0]: job}, o.Busy(o.Devices...))
}
