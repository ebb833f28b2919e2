// Package hosts is what a host is: a machine with its key, its GPUs, the price and
// the tags that its owner gives it, and whether it may be given work. Whether it is
// connected is a fact beside it (Presence), and what occupies it belongs to jobs.
package hosts

import (
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/peergpu/peergpu/domain"
)

// Standing says whether a host may be given work.
type Standing string

// The standings of a host.
const (
	Pending   Standing = "pending"   // enrolled, never connected
	Active    Standing = "active"    // may be given work
	Suspended Standing = "suspended" // by an administrator, or because its key is used twice
	Retired   Standing = "retired"   // removed by its owner; its history stays
)

// Isolation is the strongest wall that a host puts around a job. The order matters
// to the match: see jobs.Isolation, which has the same values.
type Isolation string

// Host is the aggregate.
type Host struct {
	domain.Recorder
	s Snapshot
}

// Snapshot is a host's whole state, for storage and for reading.
type Snapshot struct {
	ID        domain.ID
	Owner     domain.ID
	Version   int64 // of the row; storage counts it
	Name      string
	Standing  Standing
	PublicKey []byte // Ed25519, 32 bytes
	Epoch     int64  // of the newest session; a newer one fences the older
	Facts     Facts
	Devices   []Device
	Tags      []string
	Region    string // free text in the form eu-de, us-ca; empty: not said
	Verified  bool
	CreatedAt time.Time
	SeenAt    time.Time // of the latest hello; zero: never connected

	Succeeded, Runs int64       // attempts that ended without fault of the host, of all
	BandwidthMbps   int64       // measured on fetches; 0: not yet
	Judged          []domain.ID // the events that were counted last
}

// judgedKept is how many events a host remembers: more than can be in flight.
const judgedKept = 64

// Facts is what the agent reports of the machine.
type Facts struct {
	AgentVersion string
	MachineID    string // hashed by the agent; tells a cloned key from a restart
	OS, Arch     string
	CPUs         int   // logical
	MemoryMB     int64 // of the machine
	DiskMB       int64 // free for jobs
	Runtime      string
	Isolation    Isolation
	Limits       string // how memory and pids are limited: cgroup or watched
	Trusted      bool   // takes its owner's jobs alone, without a sandbox
	Inventory    string // hash of what the agent reported last
}

// OwnerOnly says that the machine keeps jobs from nothing, and takes its owner's alone.
func (f Facts) OwnerOnly() bool { return f.Trusted || f.Isolation == "" || f.Isolation == "none" }

// Device is a GPU, and the slot of the host that is rented with it.
type Device struct {
	ID       domain.ID
	UUID     string // as the driver names it; unique within the host
	Model    string
	VRAMMB   int64
	Driver   string
	CUDA     string
	Price    domain.Micros // per hour
	Listed   bool          // offered by the owner
	Present  bool          // in the last inventory
	Version  int64         // grows with every change, so that the match can tell news from old
	ListedAt time.Time
}

// Registration is what enrolment brings.
type Registration struct {
	ID, Owner domain.ID
	Name      string
	PublicKey []byte
	Facts     Facts
	Devices   []Device // with ids
	Tags      []string
}

// The events of hosts.
const (
	EventRegistered   = "hosts.registered"
	EventConnected    = "hosts.connected"
	EventInventory    = "hosts.inventory_changed"
	EventOfferChanged = "hosts.offer_changed"
	EventSuspended    = "hosts.suspended"
	EventReinstated   = "hosts.reinstated"
	EventRetired      = "hosts.retired"
)

// Happening is what the events of a host carry.
type Happening struct {
	Owner    domain.ID `json:"owner"`
	Name     string    `json:"name,omitempty"`
	Standing Standing  `json:"standing"`
	Epoch    int64     `json:"epoch,omitempty"`
	Detail   string    `json:"detail,omitempty"`
}

// Register begins a host.
func Register(r Registration, now time.Time) (*Host, error) {
	h := &Host{s: Snapshot{
		ID: r.ID, Owner: r.Owner, Name: r.Name, Standing: Pending, PublicKey: slices.Clone(r.PublicKey),
		Facts: r.Facts, Tags: r.Tags, CreatedAt: now,
	}}
	if len(r.PublicKey) != 32 {
		return nil, domain.Invalid("invalid_key", "the public key is an Ed25519 key of 32 bytes")
	}
	if err := checkName(r.Name); err != nil {
		return nil, err
	}
	if err := checkTags(r.Tags); err != nil {
		return nil, err
	}
	for _, d := range r.Devices {
		d.Present, d.Version = true, 1
		h.s.Devices = append(h.s.Devices, d)
	}
	h.note(EventRegistered, now, "")
	return h, nil
}

// Thumbprint names a host's public key (RFC 7638, SHA-256, base64url).
func Thumbprint(key []byte) string {
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(key) + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Restore makes an aggregate of what storage kept.
func Restore(s Snapshot) *Host { return &Host{s: s} }

// Snapshot gives a copy of the state that shares nothing with the aggregate.
func (h *Host) Snapshot() Snapshot {
	s := h.s
	s.Devices = slices.Clone(s.Devices)
	s.Tags = slices.Clone(s.Tags)
	s.PublicKey = slices.Clone(s.PublicKey)
	s.Judged = slices.Clone(s.Judged)
	return s
}

func (h *Host) note(event string, now time.Time, detail string) {
	h.Record(event, h.s.ID, now, Happening{
		Owner: h.s.Owner, Name: h.s.Name, Standing: h.s.Standing, Epoch: h.s.Epoch, Detail: detail,
	})
}

// What a host is told that may not connect. Its agent reacts to the codes.
var (
	ErrSuspended = domain.NewError(domain.KindForbidden, "host_suspended", "the host is suspended")
	ErrRetired   = domain.NewError(domain.KindForbidden, "host_removed", "the host was removed by its owner")
)

// Admit says why the host may not connect; nil means that it may.
func (s Snapshot) Admit() error {
	switch s.Standing {
	case Suspended:
		return ErrSuspended
	case Retired:
		return ErrRetired
	case Pending, Active:
	}
	return nil
}

// Connect begins a session and returns its epoch, which fences every older session.
func (h *Host) Connect(now time.Time) (int64, error) {
	if err := h.s.Admit(); err != nil {
		return 0, err
	}
	h.s.Standing = Active
	h.s.Epoch++
	h.s.SeenAt = now
	h.note(EventConnected, now, "")
	return h.s.Epoch, nil
}

// Inventory notes what the agent reports now. Devices that it does not name are
// absent; they keep their price for the day when they come back. New ones get an id
// from newID and are not listed before their owner prices them.
func (h *Host) Inventory(f Facts, seen []Device, newID func() domain.ID, now time.Time) {
	h.s.Facts = f
	devices := slices.Clone(h.s.Devices)
	for i := range devices {
		found := slices.IndexFunc(seen, func(d Device) bool { return d.UUID == devices[i].UUID })
		was := devices[i]
		devices[i].Present = found >= 0
		if found >= 0 {
			n := seen[found]
			devices[i].Model, devices[i].VRAMMB, devices[i].Driver, devices[i].CUDA = n.Model, n.VRAMMB, n.Driver, n.CUDA
		}
		if devices[i] != was {
			devices[i].Version++
		}
	}
	for _, n := range seen {
		if !slices.ContainsFunc(devices, func(d Device) bool { return d.UUID == n.UUID }) {
			n.ID, n.Present, n.Version, n.Listed, n.Price = newID(), true, 1, false, 0
			devices = append(devices, n)
		}
	}
	h.s.Devices = devices
	h.note(EventInventory, now, "")
}

// Details is what an owner changes; nil leaves a field as it is.
type Details struct {
	Name   *string
	Tags   *[]string
	Region *string
}

// Describe changes name, tags and region.
func (h *Host) Describe(d Details, now time.Time) error {
	next := h.Snapshot()
	if d.Name != nil {
		next.Name = *d.Name
	}
	if d.Tags != nil {
		next.Tags = slices.Clone(*d.Tags)
	}
	if d.Region != nil {
		next.Region = *d.Region
	}
	if err := checkName(next.Name); err != nil {
		return err
	}
	if err := checkTags(next.Tags); err != nil {
		return err
	}
	if utf8.RuneCountInString(next.Region) > 32 {
		return domain.Invalid("invalid_region", "a region has at most 32 characters")
	}
	h.s.Name, h.s.Tags, h.s.Region = next.Name, next.Tags, next.Region
	h.touch()
	h.note(EventOfferChanged, now, "")
	return nil
}

// Offer changes a device's price and whether it is listed; nil leaves it. Jobs that
// run keep the price of their match.
func (h *Host) Offer(device domain.ID, price *domain.Micros, listed *bool, now time.Time) error {
	i := slices.IndexFunc(h.s.Devices, func(d Device) bool { return d.ID == device })
	if i < 0 {
		return domain.NotFound("device")
	}
	d := h.s.Devices[i]
	if price != nil {
		if *price < 0 || *price > HighestPrice {
			return domain.Invalid("invalid_price", "a price lies between 0 and %s an hour", HighestPrice)
		}
		d.Price = *price
	}
	if listed != nil {
		d.Listed = *listed
	}
	if d.Listed && d.Price == 0 && h.s.Devices[i].Price == 0 && price == nil {
		return domain.Invalid("price_missing", "set a price before you list the device")
	}
	if d.Listed && !h.s.Devices[i].Listed {
		d.ListedAt = now
	}
	d.Version++
	h.s.Devices = slices.Clone(h.s.Devices)
	h.s.Devices[i] = d
	h.note(EventOfferChanged, now, "")
	return nil
}

// HighestPrice per GPU-hour that a device may ask for.
const HighestPrice domain.Micros = 10_000_000_000

// Suspend takes a host out of the market until it is reinstated.
func (h *Host) Suspend(detail string, now time.Time) error {
	if h.s.Standing == Retired {
		return domain.Conflict("illegal_state", "the host was removed")
	}
	h.s.Standing = Suspended
	h.touch()
	h.note(EventSuspended, now, detail)
	return nil
}

// Reinstate ends a suspension.
func (h *Host) Reinstate(now time.Time) error {
	if h.s.Standing != Suspended {
		return domain.Conflict("illegal_state", "the host is not suspended")
	}
	h.s.Standing = Active
	h.touch()
	h.note(EventReinstated, now, "")
	return nil
}

// Retire removes a host for good. Its key is worth nothing afterwards.
func (h *Host) Retire(now time.Time) error {
	if h.s.Standing == Retired {
		return nil
	}
	h.s.Standing = Retired
	h.s.Epoch++
	h.touch()
	h.note(EventRetired, now, "")
	return nil
}

// Judge counts an attempt that ended: without fault of the host, or with. by is the
// event that says so; the latest of them are remembered, so that one that is delivered
// twice counts once. It says whether it counted.
func (h *Host) Judge(by domain.ID, ok bool) (counted bool) {
	if slices.Contains(h.s.Judged, by) {
		return false
	}
	h.s.Judged = append(slices.Clone(h.s.Judged), by)
	h.s.Judged = h.s.Judged[max(0, len(h.s.Judged)-judgedKept):]
	h.s.Runs++
	if ok {
		h.s.Succeeded++
	}
	h.touch()
	return true
}

// The measures of a fetch. A small one tells how long connecting takes, not how fast the
// line is; and an agent's word lifts its host above no line that there is.
const (
	leastMeasured = 1 << 20 // bytes
	fastestMbps   = 100_000
)

// Measure takes the bandwidth of a fetch into a moving average of weight one quarter.
// Too small a fetch changes nothing.
func (h *Host) Measure(bytes int64, took time.Duration) {
	if bytes < leastMeasured || took <= 0 {
		return
	}
	mbps := int64(min(max(1, float64(bytes)*8/float64(max(1, took.Microseconds()))), fastestMbps))
	if h.s.BandwidthMbps == 0 {
		h.s.BandwidthMbps = mbps
	} else {
		h.s.BandwidthMbps = max(1, (3*h.s.BandwidthMbps+mbps)/4)
	}
	h.touch()
}

// touch makes every device newer, because the match copies the host into them.
func (h *Host) touch() {
	h.s.Devices = slices.Clone(h.s.Devices)
	for i := range h.s.Devices {
		h.s.Devices[i].Version++
	}
}

var tagForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,31}$`)

func checkName(name string) error {
	if n := utf8.RuneCountInString(name); n < 1 || n > 64 {
		return domain.Invalid("invalid_name", "a host's name has 1 to 64 characters")
	}
	return nil
}

func checkTags(tags []string) error {
	if len(tags) > 20 {
		return domain.Invalid("too_many_tags", "a host has at most 20 tags")
	}
	for _, tag := range tags {
		if !tagForm.MatchString(tag) {
			return domain.Invalid("invalid_tag", "%q is no tag: lower-case letters, digits, dots, dashes and underscores, at most 32", tag)
		}
	}
	return nil
}
