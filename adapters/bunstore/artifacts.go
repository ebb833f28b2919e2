package bunstore

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/ports"
)

// Artifacts is what is known of result files.
func (s *Store) Artifacts() ports.Artifacts { return artifacts{s} }

type artifacts struct{ s *Store }

type artifactRow struct {
	bun.BaseModel `bun:"table:artifacts,alias:f"`

	ID        key `bun:",pk"`
	JobID     key
	Attempt   int
	Path      text
	Size      int64
	SHA256    string `bun:"sha256"`
	BlobKey   string
	CreatedAt stamp
	Confirmed bool
}

func toArtifactRow(a ports.Artifact) artifactRow {
	return artifactRow{
		ID: key(a.ID), JobID: key(a.Job), Attempt: a.Attempt, Path: text(a.Path).clean(), Size: a.Size, SHA256: a.SHA256,
		BlobKey: a.BlobKey, CreatedAt: stamp(a.CreatedAt), Confirmed: a.Confirmed,
	}
}

func (r *artifactRow) artifact() ports.Artifact {
	return ports.Artifact{
		ID: domain.ID(r.ID), Job: domain.ID(r.JobID), Attempt: r.Attempt, Path: string(r.Path), Size: r.Size, SHA256: r.SHA256,
		BlobKey: r.BlobKey, CreatedAt: r.CreatedAt.cut(), Confirmed: r.Confirmed,
	}
}

// place is what is unique about a file.
type place struct {
	job     key
	attempt int
	path    text
}

func (r *artifactRow) place() place { return place{r.JobID, r.Attempt, r.Path} }

func (r artifacts) Plan(ctx context.Context, files []ports.Artifact) ([]ports.Artifact, error) {
	if len(files) == 0 {
		return nil, ctx.Err()
	}
	// Of several plans for one path the last counts.
	planned, latest := make([]artifactRow, len(files)), make(map[place]int, len(files))
	for i, f := range files {
		planned[i] = toArtifactRow(f)
		latest[planned[i].place()] = i
	}
	var rows []artifactRow
	for i, row := range planned {
		if latest[row.place()] == i {
			rows = append(rows, row)
		}
	}
	var stored map[place]ports.Artifact
	err := r.s.commit(ctx, files[0].Job, func(t *tx) (err error) {
		err = t.later(r.s.write.NewInsert().Model(&rows).On("CONFLICT (job_id, attempt, path) DO UPDATE").
			Set("id = EXCLUDED.id").Set("size = EXCLUDED.size").Set("sha256 = EXCLUDED.sha256").
			Set("blob_key = EXCLUDED.blob_key").Set("created_at = EXCLUDED.created_at").Where("NOT f.confirmed"))
		if err == nil {
			stored, err = r.stored(t, rows)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	list := make([]ports.Artifact, len(files))
	for i, row := range planned {
		list[i] = stored[row.place()]
	}
	return list, nil
}

// stored reads what stands at the places of the rows.
func (r artifacts) stored(t *tx, rows []artifactRow) (map[place]ports.Artifact, error) {
	db, err := t.rows()
	if err != nil {
		return nil, err
	}
	jobs, attempts, paths := make([]key, len(rows)), make([]int, len(rows)), make([]text, len(rows))
	for i, row := range rows {
		jobs[i], attempts[i], paths[i] = row.JobID, row.Attempt, row.Path
	}
	var found []artifactRow
	// This may find more than the places, which does no harm.
	err = db.NewSelect().Model(&found).Where("job_id IN (?)", bun.List(jobs)).Where("attempt IN (?)", bun.List(attempts)).
		Where("path IN (?)", bun.List(paths)).Scan(t.ctx)
	stored := make(map[place]ports.Artifact, len(found))
	for i := range found {
		stored[found[i].place()] = found[i].artifact()
	}
	return stored, err
}

func (r artifacts) Confirm(ctx context.Context, ids ...domain.ID) error {
	if len(ids) == 0 {
		return ctx.Err()
	}
	return r.s.commit(ctx, ids[0], func(t *tx) error {
		return t.later(r.s.write.NewUpdate().Model((*artifactRow)(nil)).Set("confirmed = ?", true).Where("id IN (?)", bun.List(keys(ids))))
	})
}

func (r artifacts) List(ctx context.Context, job domain.ID, attempt int, planned bool) ([]ports.Artifact, error) {
	db, err := r.s.reader()
	if err != nil {
		return nil, err
	}
	var rows []artifactRow
	q := db.NewSelect().Model(&rows).Where("job_id = ?", key(job)).Where("attempt = ?", attempt).Order("path")
	if !planned {
		q.Where("confirmed")
	}
	if err := q.Scan(ctx); err != nil {
		return nil, r.s.failed(ctx, err)
	}
	list := make([]ports.Artifact, len(rows))
	for i := range rows {
		list[i] = rows[i].artifact()
	}
	return list, nil
}

func (r artifacts) Get(ctx context.Context, job, artifact domain.ID) (ports.Artifact, error) {
	db, err := r.s.reader()
	if err != nil {
		return ports.Artifact{}, err
	}
	var row artifactRow
	err = db.NewSelect().Model(&row).Where("id = ?", key(artifact)).Where("job_id = ?", key(job)).Where("confirmed").Scan(ctx)
	if err != nil {
		return ports.Artifact{}, r.s.missing(ctx, "artifact", err)
	}
	return row.artifact(), nil
}
