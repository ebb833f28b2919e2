package bunstore

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/hosts"
	"github.com/peergpu/peergpu/ports"
)

// Presences is who is online, and when it was. The end of an open interval is the last
// beat, so that heartbeats write to one table alone.
func (s *Store) Presences() ports.Presences { return presences{s} }

type presences struct{ s *Store }

type presenceRow struct {
	bun.BaseModel `bun:"table:presences,alias:p"`

	Host      key `bun:",pk"`
	Epoch     int64
	Connected bool
	Since     stamp
	LastBeat  stamp
}

type intervalRow struct {
	bun.BaseModel `bun:"table:presence_intervals,alias:i"`

	Host   key
	FromAt stamp
	ToAt   stamp
	Epoch  int64
}

// presenceKey makes one lane do all that is written here, because a Beat touches the
// rows of many hosts.
var presenceKey = domain.ID{15: 1}

func (r presences) Connect(ctx context.Context, host domain.ID, epoch int64, at time.Time) error {
	return r.s.commit(ctx, presenceKey, func(t *tx) error {
		old, found, err := r.locked(t, host)
		if err != nil {
			return err
		}
		switch {
		case found && epoch < old.Epoch:
			return domain.Conflict("session_fenced", "the host has a newer session")
		case found && epoch == old.Epoch && old.Connected:
			return nil
		case found && old.Connected:
			// Nobody heard of the older session after its last beat.
			if err := r.end(t, host, old.LastBeat); err != nil {
				return err
			}
		}
		row := presenceRow{Host: key(host), Epoch: epoch, Connected: true, Since: stamp(at), LastBeat: stamp(at)}
		// Of two servers that see a host for the first time, the second finds this row.
		n, err := t.exec(t.store.write.NewInsert().Model(&row).On("CONFLICT (host) DO UPDATE").
			Set("epoch = EXCLUDED.epoch").Set("connected = EXCLUDED.connected").Set("since = EXCLUDED.since").
			Set("last_beat = EXCLUDED.last_beat").Where("p.epoch <= EXCLUDED.epoch"))
		if err != nil {
			return err
		}
		if n == 0 {
			return domain.Conflict("session_fenced", "the host has a newer session")
		}
		return t.later(t.store.write.NewInsert().Model(&intervalRow{Host: key(host), FromAt: stamp(at), Epoch: epoch}))
	})
}

func (r presences) Disconnect(ctx context.Context, host domain.ID, epoch int64, at time.Time) error {
	return r.s.commit(ctx, presenceKey, func(t *tx) error {
		n, err := t.exec(t.store.write.NewUpdate().Model((*presenceRow)(nil)).Set("connected = ?", false).
			Where("host = ?", key(host)).Where("epoch = ?", epoch).Where("connected"))
		if err != nil || n == 0 {
			return err
		}
		return r.end(t, host, stamp(at))
	})
}

// locked finds the presence of a host, which then nobody else changes.
func (r presences) locked(t *tx, host domain.ID) (row presenceRow, found bool, err error) {
	db, err := t.rows()
	if err != nil {
		return row, false, err
	}
	err = db.NewRaw("SELECT * FROM presences WHERE host = ? "+t.store.dialect.lock, key(host)).Scan(t.ctx, &row)
	if errors.Is(err, sql.ErrNoRows) {
		return row, false, nil
	}
	return row, err == nil, err
}

func (r presences) end(t *tx, host domain.ID, at stamp) error {
	return t.later(t.store.write.NewUpdate().Model((*intervalRow)(nil)).
		Set("to_at = CASE WHEN from_at > ? THEN from_at ELSE ? END", at, at).
		Where("host = ?", key(host)).Where("to_at IS NULL"))
}

// beat is a row of a Beat. Its types are for the casts that PostgreSQL needs.
type beat struct {
	Host  key   `bun:"host,type:uuid"`
	Epoch int64 `bun:"epoch,type:bigint"`
	At    stamp `bun:"at,type:bigint"`
}

func (r presences) Beat(ctx context.Context, beats []hosts.Presence) error {
	latest := map[beat]stamp{}
	for _, b := range beats {
		name := beat{Host: key(b.Host), Epoch: b.Epoch}
		if at := stamp(b.LastBeat); time.Time(at).After(time.Time(latest[name])) {
			latest[name] = at
		}
	}
	rows := make([]beat, 0, len(latest))
	for b, at := range latest {
		rows = append(rows, beat{Host: b.Host, Epoch: b.Epoch, At: at})
	}
	if len(rows) == 0 {
		return ctx.Err()
	}
	slices.SortFunc(rows, func(a, b beat) int { return slices.Compare(a.Host[:], b.Host[:]) })
	return r.s.commit(ctx, presenceKey, func(t *tx) error {
		db := t.store.write
		return t.later(db.NewUpdate().With("_beats", db.NewValues(&rows)).Model((*presenceRow)(nil)).TableExpr("_beats").
			Set("last_beat = _beats.at").
			Where("p.host = _beats.host").Where("p.epoch = _beats.epoch").Where("p.last_beat < _beats.at"))
	})
}

func (r presences) List(ctx context.Context, ids ...domain.ID) ([]hosts.Presence, error) {
	db, err := r.s.reader()
	if err != nil {
		return nil, err
	}
	var rows []presenceRow
	q := db.NewSelect().Model(&rows).Order("host")
	if len(ids) > 0 {
		q.Where("host IN (?)", bun.List(keys(ids)))
	}
	if err := q.Scan(ctx); err != nil {
		return nil, r.s.failed(ctx, err)
	}
	list := make([]hosts.Presence, len(rows))
	for i, row := range rows {
		list[i] = hosts.Presence{
			Host: domain.ID(row.Host), Epoch: row.Epoch, Connected: row.Connected, Since: row.Since.cut(), LastBeat: row.LastBeat.cut(),
		}
	}
	return list, nil
}

func (r presences) Intervals(ctx context.Context, host domain.ID, from time.Time) ([]hosts.Interval, error) {
	db, err := r.s.reader()
	if err != nil {
		return nil, err
	}
	var rows []intervalRow
	all := db.NewSelect().TableExpr("presence_intervals AS i").Join("JOIN presences AS p ON p.host = i.host").
		ColumnExpr("i.from_at").ColumnExpr("COALESCE(i.to_at, p.last_beat) AS to_at").Where("i.host = ?", key(host))
	q := db.NewSelect().TableExpr("(?) AS i", all).ColumnExpr("*").OrderExpr("from_at, to_at")
	if !from.IsZero() {
		q.Where("to_at >= ?", stamp(from))
	}
	if err := q.Scan(ctx, &rows); err != nil {
		return nil, r.s.failed(ctx, err)
	}
	list := make([]hosts.Interval, len(rows))
	for i, row := range rows {
		list[i] = hosts.Interval{From: row.FromAt.cut(), To: row.ToAt.cut()}
	}
	return list, nil
}
