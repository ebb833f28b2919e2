package contract

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// Clock is the contract of ports.Clock.
func Clock(t *testing.T, open func(*testing.T) ports.Clock) {
	t.Run("now is UTC in whole microseconds, and goes on", func(t *testing.T) {
		t.Parallel()
		c := open(t)
		began := c.Now()
		assert.Equal(t, time.UTC, began.Location())
		last := began
		for deadline := time.Now().Add(patience); !last.After(began) && time.Now().Before(deadline); {
			n := c.Now()
			assert.Equal(t, domain.Time(n), n)
			last = n
		}
		assert.True(t, last.After(began))
	})
}

// IDs is the contract of ports.IDs.
func IDs(t *testing.T, open func(*testing.T) ports.IDs) {
	t.Run("ids are UUIDv7", func(t *testing.T) {
		t.Parallel()
		id := open(t).New()
		assert.Equal(t, byte(0x70), id[6]&0xf0, "the version")
		assert.Equal(t, byte(0x80), id[8]&0xc0, "the variant")
	})
	t.Run("an id is larger than every id before, and unique, whoever asks", func(t *testing.T) {
		t.Parallel()
		source := open(t)
		const each = 2000
		made := make([][]domain.ID, racers)
		race(racers, func(i int) error {
			for range each {
				made[i] = append(made[i], source.New())
			}
			return nil
		})
		seen := map[domain.ID]bool{}
		for _, own := range made {
			for i, id := range own {
				if i > 0 && bytes.Compare(own[i-1][:], id[:]) >= 0 {
					t.Fatalf("%s came before %s", own[i-1], id)
				}
				seen[id] = true
			}
		}
		assert.Len(t, seen, racers*each)
		last := source.New()
		for id := range seen {
			if bytes.Compare(id[:], last[:]) >= 0 {
				t.Fatalf("%s came before %s", id, last)
			}
		}
	})
}
