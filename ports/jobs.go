package ports

import (
	"context"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
)

// ErrDeviceTaken is Conflict device_taken: another attempt holds one of the devices.
var ErrDeviceTaken = domain.Conflict("device_taken", "another job has the device")

// ErrDuplicateRequest is Conflict duplicate_request: the renter used the idempotency
// key already; find that job and compare.
var ErrDuplicateRequest = domain.Conflict("duplicate_request", "the Idempotency-Key was used already")

// ErrVersionTaken is Conflict version_taken: another rerun of the same job has the run
// version; take the next.
var ErrVersionTaken = domain.Conflict("version_taken", "another rerun of the job has the version")

// JobOrder is the order of a list of jobs.
type JobOrder int

// The orders.
const (
	NewestFirst   JobOrder = iota // by id, descending; Page.After is exclusive
	LongestQueued                 // by the time of queueing, then id; Page.After is not used
)

// JobFilter selects jobs. Its zero value selects all.
type JobFilter struct {
	Renter      domain.ID // zero: anybody's
	Host        domain.ID // has or had an attempt there
	Holder      domain.ID // has its active attempt there
	States      []jobs.State
	Text        string    // occurs in the name, whatever its case, or the id begins with it, see domain.IDsBeginning
	Origin      domain.ID // the versions of one job
	Key         string    // the idempotency key, together with Renter
	WaitedUntil time.Time // queued, and wait_until is at or before
	Before      time.Time // created before
	Finished    time.Time // reached its final state at or after; zero: no matter
	Order       JobOrder
}

// Jobs stores jobs with their attempts. A device belongs to at most one active
// attempt of all jobs, and a job has at most one; storage enforces both.
type Jobs interface {
	// Add stores a new job as version 1, its attempt if it has one, and its events.
	// ErrDeviceTaken, ErrDuplicateRequest and ErrVersionTaken store nothing.
	Add(ctx context.Context, j *jobs.Job) error
	// Update is the only way to change a job; see Users.Update. A lease of a device
	// that another attempt holds is ErrDeviceTaken and stores nothing.
	Update(ctx context.Context, id domain.ID, change func(*jobs.Job) error) (jobs.Snapshot, error)
	// Get finds a job. With a renter that is not zero, another's job is NotFound.
	Get(ctx context.Context, id, renter domain.ID) (jobs.Snapshot, error)
	// List gives the jobs of a filter in its order.
	List(ctx context.Context, f JobFilter, p Page) ([]jobs.Snapshot, error)
	// Count tells how many jobs a filter selects.
	Count(ctx context.Context, f JobFilter) (int64, error)
	// Events is the timeline of a job: its events in the order of their Seq, after a
	// Seq, which is 0 for all of them.
	Events(ctx context.Context, job domain.ID, after int64, limit int) ([]domain.Event, error)
}

// Logs keeps the log bytes of attempts that are not archived yet, compressed in
// chunks. Offsets count raw bytes. Bytes are taken from the host that holds the attempt
// when they are stored, and from no other: else jobs.ErrStale.
type Logs interface {
	// Open is Size for the host that holds the attempt.
	Open(ctx context.Context, job domain.ID, attempt int, host domain.ID) (int64, error)
	// Append adds data of a host at the end and returns when it is durable. An offset
	// other than the present size is Conflict wrong_offset and changes nothing.
	Append(ctx context.Context, job domain.ID, attempt int, host domain.ID, offset int64, data []byte, at time.Time) error
	// Size is the number of bytes stored; 0 for an unknown attempt.
	Size(ctx context.Context, job domain.ID, attempt int) (int64, error)
	// Read gives limit bytes from offset, or fewer where the log ends before. The least
	// limit is 1; beyond 8 MiB it may give fewer too.
	Read(ctx context.Context, job domain.ID, attempt int, offset int64, limit int) ([]byte, error)
	// Drop removes an attempt's bytes; removing nothing is no error.
	Drop(ctx context.Context, job domain.ID, attempt int) error
}

// Artifact is a result file of an attempt.
type Artifact struct {
	ID        domain.ID
	Job       domain.ID
	Attempt   int
	Path      string // below the working folder, with slashes
	Size      int64  // bytes
	SHA256    string // hexadecimal
	BlobKey   string
	CreatedAt time.Time
	Confirmed bool // its bytes are stored and have this size and sha256
}

// Artifacts stores what is known of result files.
type Artifacts interface {
	// Plan stores files that are about to be uploaded. Planning the same path of an
	// attempt again replaces what was planned, unless it is confirmed: then the
	// confirmed one stays. It returns the files as stored.
	Plan(ctx context.Context, files []Artifact) ([]Artifact, error)
	// Confirm makes files visible; confirming twice changes nothing.
	Confirm(ctx context.Context, ids ...domain.ID) error
	// List gives an attempt's files ordered by path, the confirmed ones alone unless
	// planned is set.
	List(ctx context.Context, job domain.ID, attempt int, planned bool) ([]Artifact, error)
	// Get finds a confirmed file of a job; another job's or a planned one is NotFound.
	Get(ctx context.Context, job, artifact domain.ID) (Artifact, error)
}

// Offer is a device as jobs sees it: what the match needs, and what an assignment
// names.
type Offer struct {
	jobs.Slot
	HostName string
	UUID     string // of the GPU, as the driver names it
}

// Offers is the market as jobs sees it. What occupies a device is not in it, because
// jobs knows that itself.
type Offers interface {
	// All gives every device of every host that is not retired.
	All(ctx context.Context) ([]Offer, error)
	// Of gives the devices of these hosts; none for an unknown or retired one.
	Of(ctx context.Context, hosts ...domain.ID) ([]Offer, error)
	// Heard tells when each of the hosts was last heard of; one that never was is
	// missing.
	Heard(ctx context.Context, hosts ...domain.ID) (map[domain.ID]time.Time, error)
}

// Bundles knows the rules of a ZIP.
type Bundles interface {
	// Check reads the stored ZIP whole. One that breaks a rule is Invalid, with the
	// rule as code and the entry in the detail.
	Check(ctx context.Context, blobKey string) error
}

// Images knows what container images there are.
type Images interface {
	// Resolve pins an image: it gives the whole reference and the digest of what it means
	// now. A tag that is pushed again means the new image from then on, and one that was
	// pinned already stays what it is. An image that does not exist, or is not public, is
	// Invalid image_not_found. A registry that does not answer, or says nothing that makes
	// sense, is Unavailable registry_unavailable, unless the image is named by its digest: that
	// is pinned already.
	Resolve(ctx context.Context, image string) (jobs.PinnedImage, error)
}

// Pins remembers what images of the installation's own choice are, so that all jobs have
// the same, from all replicas, whatever is pushed under their tags.
type Pins interface {
	// Pinned gives what an image was pinned to; one that was not is NotFound.
	Pinned(ctx context.Context, image string) (jobs.PinnedImage, error)
	// Pin notes what an image is, unless that was noted before, and gives what is noted.
	Pin(ctx context.Context, image string, p jobs.PinnedImage) (jobs.PinnedImage, error)
}

// Funds is money as jobs sees it.
type Funds interface {
	// Hold sets the amount aside for the job and gives what is held. Too little credit is
	// PaymentRequired insufficient_funds. Holding again for one job changes nothing and
	// gives what is held already, whatever the amount.
	Hold(ctx context.Context, job, renter domain.ID, amount domain.Micros) (held domain.Micros, err error)
	// Release gives the whole hold of a job that was never stored back. Releasing twice,
	// or what was never held, changes nothing.
	Release(ctx context.Context, job, renter domain.ID) error
	// Credit is what the renter can still hold.
	Credit(ctx context.Context, renter domain.ID) (domain.Micros, error)
}
