// Package system is for what the server takes from its own machine: the time,
// identifiers, password hashes, encryption at rest, and the key files.
package system

import (
	"time"

	"github.com/google/uuid"

	"github.com/peergpu/peergpu/domain"
)

// Clock is the machine's clock. It is the only place of the server that reads it.
type Clock struct{}

// Now implements ports.Clock. The monotonic reading is gone, as it would be after a
// round trip through storage.
func (Clock) Now() time.Time { return domain.Time(time.Now()) }

// IDs makes UUIDv7 identifiers. Within one process they grow strictly, also across
// several IDs and when the clock steps back.
type IDs struct{}

// New implements ports.IDs.
func (IDs) New() domain.ID { return domain.ID(uuid.Must(uuid.NewV7())) }
