package bunstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"slices"

	"github.com/uptrace/bun"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
	"github.com/peergpu/peergpu/ports"
)

// Hosts is the hosts with their devices.
func (s *Store) Hosts() ports.Hosts { return hostStore{s} }

type hostStore struct{ s *Store }

var hostKind = &kind[*hosts.Host, hosts.Snapshot]{
	name: "host", table: "hosts", restore: hosts.Restore, snapshot: (*hosts.Host).Snapshot,
	load: loadHost, insert: insertHost, replace: replaceHost,
}

// hostRow is a host without its devices.
type hostRow struct {
	bun.BaseModel `bun:"table:hosts,alias:h"`

	ID            key `bun:",pk"`
	Owner         key
	Version       int64
	Name          text
	Standing      string
	PublicKey     []byte
	Epoch         int64
	Facts         json.RawMessage
	Tags          json.RawMessage
	Judged        json.RawMessage
	Region        text
	Verified      bool
	Succeeded     int64
	Runs          int64
	BandwidthMbps int64
	CreatedAt     stamp
	SeenAt        stamp
	ChangedAt     stamp // when it was stored
}

func toHostRow(s *hosts.Snapshot, now stamp) hostRow {
	return hostRow{
		ID: key(s.ID), Owner: key(s.Owner), Version: s.Version, Name: text(s.Name), Standing: string(s.Standing),
		PublicKey: s.PublicKey, Epoch: s.Epoch, Facts: document(s.Facts), Tags: document(s.Tags), Judged: document(s.Judged),
		Region: text(s.Region), Verified: s.Verified, Succeeded: s.Succeeded, Runs: s.Runs, BandwidthMbps: s.BandwidthMbps,
		CreatedAt: stamp(s.CreatedAt), SeenAt: stamp(s.SeenAt), ChangedAt: now,
	}
}

func (r *hostRow) snapshot() (hosts.Snapshot, error) {
	s := hosts.Snapshot{
		ID: domain.ID(r.ID), Owner: domain.ID(r.Owner), Version: r.Version, Name: string(r.Name), Standing: hosts.Standing(r.Standing),
		PublicKey: slices.Clone(r.PublicKey), Epoch: r.Epoch, Region: string(r.Region), Verified: r.Verified,
		Succeeded: r.Succeeded, Runs: r.Runs, BandwidthMbps: r.BandwidthMbps,
		CreatedAt: r.CreatedAt.cut(), SeenAt: r.SeenAt.cut(),
	}
	return s, parse(r.Facts, &s.Facts, r.Tags, &s.Tags, r.Judged, &s.Judged)
}

// gpuRow is a device of a host. Beside a host without devices all of it is NULL.
type gpuRow struct {
	bun.BaseModel `bun:"table:devices,alias:d"`

	ID       key `bun:",pk"`
	HostID   key
	Position int // in the order of the host
	UUID     text
	Model    text
	VRAMMB   int64 `bun:"vram_mb"`
	Driver   text
	CUDA     text `bun:"cuda"`
	Price    int64
	Listed   bool
	Present  bool
	Version  int64
	ListedAt stamp
}

func toGPURow(host domain.ID, position int, d hosts.Device) gpuRow {
	return gpuRow{
		ID: key(d.ID), HostID: key(host), Position: position, UUID: text(d.UUID), Model: text(d.Model), VRAMMB: d.VRAMMB,
		Driver: text(d.Driver), CUDA: text(d.CUDA), Price: int64(d.Price), Listed: d.Listed, Present: d.Present,
		Version: d.Version, ListedAt: stamp(d.ListedAt),
	}
}

func (r *gpuRow) device() hosts.Device {
	return hosts.Device{
		ID: domain.ID(r.ID), UUID: string(r.UUID), Model: string(r.Model), VRAMMB: r.VRAMMB, Driver: string(r.Driver), CUDA: string(r.CUDA),
		Price: domain.Micros(r.Price), Listed: r.Listed, Present: r.Present, Version: r.Version, ListedAt: r.ListedAt.cut(),
	}
}

func (r hostStore) Add(ctx context.Context, h *hosts.Host) error {
	return hostKind.add(ctx, r.s, h.Snapshot().ID, h)
}

func (r hostStore) Update(ctx context.Context, id domain.ID, change func(*hosts.Host) error) (hosts.Snapshot, error) {
	return hostKind.update(ctx, r.s, id, change)
}

func (r hostStore) Get(ctx context.Context, id, owner domain.ID) (hosts.Snapshot, error) {
	s, err := hostKind.get(ctx, r.s, id)
	if err == nil && !owner.IsZero() && s.Owner != owner {
		return hosts.Snapshot{}, domain.NotFound(hostKind.name)
	}
	return s, err
}

func (r hostStore) List(ctx context.Context, f ports.HostFilter, p ports.Page) ([]hosts.Snapshot, error) {
	db, err := r.s.reader()
	if err != nil {
		return nil, err
	}
	page := db.NewSelect().TableExpr("hosts AS h").ColumnExpr("h.*").OrderExpr("h.id").Limit(int64(max(p.Limit, 1)))
	if f.IDs != nil {
		page.Where("h.id IN (?)", bun.List(keys(f.IDs)))
	}
	if !f.Owner.IsZero() {
		page.Where("h.owner = ?", key(f.Owner))
	}
	if !f.ChangedSince.IsZero() {
		page.Where("h.changed_at >= ?", stamp(f.ChangedSince))
	}
	if !f.Retired {
		page.Where("h.standing <> ?", string(hosts.Retired))
	}
	if !p.After.IsZero() {
		page.Where("h.id > ?", key(p.After))
	}
	list, err := readHosts(ctx, db, page)
	return list, r.s.failed(ctx, err)
}

// hostLine is a host beside one of its devices.
type hostLine struct {
	hostRow `bun:",extend"`
	Device  gpuRow `bun:"embed:device_"`
}

// readHosts reads the hosts of a page together with their devices in one statement,
// see readJobs.
func readHosts(ctx context.Context, db bun.IDB, page *bun.SelectQuery) ([]hosts.Snapshot, error) {
	var lines []hostLine
	err := beside[gpuRow](db.NewSelect().TableExpr("(?) AS h", page).ColumnExpr("h.*"), "d", "device_").
		Join("LEFT JOIN devices AS d ON d.host_id = h.id").OrderExpr("h.id, d.position").Scan(ctx, &lines)
	if err != nil {
		return nil, err
	}
	list := make([]hosts.Snapshot, 0, len(lines))
	for i := range lines {
		line := &lines[i]
		if len(list) == 0 || list[len(list)-1].ID != domain.ID(line.ID) {
			s, err := line.snapshot()
			if err != nil {
				return nil, err
			}
			list = append(list, s)
		}
		if s := &list[len(list)-1]; line.Device.ID != (key{}) {
			s.Devices = append(s.Devices, line.Device.device())
		}
	}
	return list, nil
}

func loadHost(ctx context.Context, db bun.IDB, id domain.ID) (hosts.Snapshot, error) {
	list, err := readHosts(ctx, db, db.NewSelect().TableExpr("hosts AS h").ColumnExpr("h.*").Where("h.id = ?", key(id)))
	if err == nil && len(list) == 0 {
		err = sql.ErrNoRows
	}
	if err != nil {
		return hosts.Snapshot{}, err
	}
	return list[0], nil
}

func insertHost(t *tx, s hosts.Snapshot) (hosts.Snapshot, error) {
	s.Version = 1
	row := toHostRow(&s, stamp(t.store.Clock.Now()))
	if err := t.later(t.store.write.NewInsert().Model(&row)); err != nil {
		return s, err
	}
	if err := writeDevices(t, s.ID, nil, s.Devices); err != nil {
		return s, err
	}
	return storedHost(&row, s.Devices)
}

func replaceHost(t *tx, old, next hosts.Snapshot) (hosts.Snapshot, bool, error) {
	next.Version = old.Version + 1
	row := toHostRow(&next, stamp(t.store.Clock.Now()))
	n, err := t.exec(t.store.write.NewUpdate().Model(&row).WherePK().Where("version = ?", old.Version))
	if err != nil || n == 0 {
		return next, false, err
	}
	if err := writeDevices(t, next.ID, old.Devices, next.Devices); err != nil {
		return next, false, err
	}
	stored, err := storedHost(&row, next.Devices)
	return stored, true, err
}

// storedHost is a host as it will be read.
func storedHost(row *hostRow, devices []hosts.Device) (hosts.Snapshot, error) {
	stored, err := row.snapshot()
	for i, d := range devices {
		device := toGPURow(stored.ID, i, d)
		stored.Devices = append(stored.Devices, device.device())
	}
	return stored, err
}

// writeDevices stores the devices that are new or changed since old. A host keeps a
// device that is gone, with its price, so there is nothing to remove.
func writeDevices(t *tx, host domain.ID, old, next []hosts.Device) error {
	var changed []gpuRow
	for i, d := range next {
		if i >= len(old) || old[i] != d {
			changed = append(changed, toGPURow(host, i, d))
		}
	}
	if len(changed) == 0 {
		return nil
	}
	q := t.store.write.NewInsert().Model(&changed)
	if len(old) > 0 {
		q.On("CONFLICT (id) DO UPDATE")
		for _, column := range []string{"position", "uuid", "model", "vram_mb", "driver", "cuda", "price", "listed", "present", "version", "listed_at"} {
			q.Set("? = EXCLUDED.?", bun.Ident(column), bun.Ident(column))
		}
	}
	return t.later(q)
}
