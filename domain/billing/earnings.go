package billing

import (
	"time"

	"github.com/peergpu/peergpu/domain"
)

// Earnings is a sum of settlements as the owner of hosts sees them.
type Earnings struct {
	Day  time.Time // the beginning of the UTC day; zero for a sum of days
	Jobs int64
	Net  domain.Micros // what the owner got
	Fee  domain.Micros // what the platform got
}

// Gross is what the renters paid.
func (e Earnings) Gross() domain.Micros { return e.Net + e.Fee }

// Plus adds up two sums. The day is the other's.
func (e Earnings) Plus(o Earnings) Earnings {
	return Earnings{Day: o.Day, Jobs: e.Jobs + o.Jobs, Net: e.Net + o.Net, Fee: e.Fee + o.Fee}
}
