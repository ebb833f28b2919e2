package hosts

import (
	"time"

	"github.com/peergpu/peergpu/domain"
)

// Presence is whether and since when a host is connected.
type Presence struct {
	Host      domain.ID
	Epoch     int64 // of the session
	Connected bool
	Since     time.Time // start of the present or latest interval
	LastBeat  time.Time // receipt of the latest heartbeat
}

// Interval is a time in which a host was online.
type Interval struct{ From, To time.Time }

// Day is the share of a day (UTC) that a host was online.
type Day struct {
	Date   time.Time
	Online time.Duration
	Of     time.Duration // the part of the day that counts: since enrolment, until now
}

// Uptime adds intervals up by day, from the day of from to now, oldest first.
// Intervals may overlap: what is covered twice counts once if they are ordered by
// their start.
func Uptime(intervals []Interval, from, now time.Time) []Day {
	first := from.UTC().Truncate(24 * time.Hour)
	var days []Day
	for d := first; d.Before(now); d = d.Add(24 * time.Hour) {
		start, end := latest(d, from), earliest(d.Add(24*time.Hour), now)
		if !start.Before(end) {
			continue
		}
		day := Day{Date: d, Of: end.Sub(start)}
		covered := start
		for _, i := range intervals {
			a, b := latest(i.From, covered), earliest(i.To, end)
			if a.Before(b) {
				day.Online += b.Sub(a)
				covered = b
			}
		}
		days = append(days, day)
	}
	return days
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Enrollment is a one-time permission to add a host to an account.
type Enrollment struct {
	ID        domain.ID
	Owner     domain.ID
	TokenHash []byte // SHA-256 of the token, which is shown once
	CreatedAt time.Time
	ExpiresAt time.Time
	UsedBy    domain.ID // the host that it made; zero: unused
}
