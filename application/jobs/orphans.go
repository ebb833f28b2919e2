package jobs

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// Where the objects of jobs lie.
const (
	bundlesPrefix = "bundles/" // {job}.zip
	resultsPrefix = "jobs/"    // {job}/{attempt}/{sha256}
	logsPrefix    = "logs/"    // {job}/{attempt}.log
)

// sweepsPerAge is how often orphans are looked for while one grows old enough.
const sweepsPerAge = 4

// SweepOrphans removes objects that no job needs: uploads that came when their job was
// cancelled or their attempt lost, and what a server that died had stored before the
// row. One replica at a time does it.
func (s *Service) SweepOrphans(ctx context.Context) error {
	ticker := time.NewTicker(max(s.settings.OrphanAge/sweepsPerAge, tick))
	defer ticker.Stop()
	for {
		for _, prefix := range []string{bundlesPrefix, resultsPrefix, logsPrefix} {
			s.warn("orphan objects cannot be looked for", s.removeOrphans(ctx, prefix))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// removeOrphans goes through the old objects of a prefix. Whatever cannot be told about
// one of them ends it: an object is removed only on the word of the rows.
func (s *Service) removeOrphans(ctx context.Context, prefix string) error {
	before := s.Clock.Now().Add(-s.settings.OrphanAge)
	o := owners{s: s, before: before}
	removed := 0
	defer func() {
		if removed > 0 {
			s.Log.InfoContext(ctx, "removed objects that no job needs", "prefix", prefix, "objects", removed)
		}
	}()
	for key, err := range s.BlobIndex.Older(ctx, prefix, before) {
		if err != nil {
			return err
		}
		needed, err := o.need(ctx, key)
		if err != nil {
			return err
		}
		if needed {
			continue
		}
		if err := s.Blobs.Delete(ctx, key); err != nil {
			return err
		}
		removed++
	}
	return nil
}

// owners tells of objects whether anything needs them. Keys come in order, so that the
// job and the files that were asked for last are asked for again.
type owners struct {
	s      *Service
	before time.Time // an orphan's attempt has ended before, too

	id    domain.ID
	known bool // id was looked for
	there bool
	job   jobs.Snapshot

	ref   Ref
	files map[string]bool // the confirmed objects of ref
}

// need says whether an object is, or may still become, something that a job refers to.
// What is no longer needed never is again: a job that has ended does not go on, and an
// attempt that has ended is not held again. A key of another form is not ours to judge.
func (o *owners) need(ctx context.Context, key string) (bool, error) {
	prefix, rest, _ := strings.Cut(key, "/")
	switch prefix + "/" {
	case bundlesPrefix:
		name, zip := strings.CutSuffix(rest, ".zip")
		if id, err := domain.ParseID(name); zip && err == nil {
			return o.needBundle(ctx, id, key)
		}
	case resultsPrefix:
		parts := strings.Split(rest, "/")
		if len(parts) != 3 {
			return true, nil
		}
		id, err := domain.ParseID(parts[0])
		n, wrong := strconv.Atoi(parts[1])
		if err == nil && wrong == nil {
			return o.needResult(ctx, Ref{id, n}, key)
		}
	case logsPrefix:
		name, _, _ := strings.Cut(rest, "/")
		if id, err := domain.ParseID(name); err == nil {
			err := o.find(ctx, id)
			return o.there, err
		}
	}
	return true, nil
}

// find looks for a job, unless it is the one that was found last.
func (o *owners) find(ctx context.Context, id domain.ID) error {
	if o.known && o.id == id {
		return nil
	}
	o.known, o.there = false, false
	job, err := o.s.Jobs.Get(ctx, id, domain.ID{})
	if err != nil && domain.KindOf(err) != domain.KindNotFound {
		return err
	}
	o.id, o.known, o.there, o.job = id, true, err == nil, job
	return nil
}

// needBundle: a bundle serves the job that it came with and all that repeat it. It is
// waited for while its job is pending; after that it is of use only if it was good
// enough to be queued with.
func (o *owners) needBundle(ctx context.Context, id domain.ID, key string) (bool, error) {
	if err := o.find(ctx, id); err != nil || !o.there {
		return false, err
	}
	if waitsOrRan(o.job) {
		return true, nil
	}
	needed := false
	err := o.s.each(ctx, ports.JobFilter{Renter: o.job.Renter, Origin: o.job.Origin}, func(j jobs.Snapshot) error {
		needed = needed || j.Bundle.Key == key && waitsOrRan(j)
		return nil
	})
	return needed, err
}

func waitsOrRan(j jobs.Snapshot) bool { return j.State == jobs.Pending || j.Queued() }

// needResult: the host of an active attempt may have a link to any of its keys. When the
// attempt is over what it confirmed stays, unless it was lost; and what it confirmed in its last moment may
// be confirmed a little after it.
func (o *owners) needResult(ctx context.Context, ref Ref, key string) (bool, error) {
	if err := o.find(ctx, ref.Job); err != nil || !o.there || ref.Attempt < 1 || ref.Attempt > o.job.Attempt() {
		return false, err
	}
	if a := o.job.Attempts[ref.Attempt-1]; a.Active() || !a.EndedAt.Before(o.before) {
		return true, nil
	} else if !a.Counts() {
		return false, nil
	}
	if o.ref != ref {
		files, err := o.s.Artifacts.List(ctx, ref.Job, ref.Attempt, false)
		if err != nil {
			return false, err
		}
		o.ref, o.files = ref, make(map[string]bool, len(files))
		for _, f := range files {
			o.files[f.BlobKey] = true
		}
	}
	return o.files[key], nil
}
