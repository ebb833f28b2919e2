package jobs

import (
	"context"
	"io"
	"path"
	"time"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
	"github.com/peergpu/peergpu/ports"
)

// View is a job as its renter sees it.
type View struct {
	jobs.Snapshot
	At            time.Time // what grows while the job runs is as of then
	RenterHandle  string
	ArtifactCount int
	ArtifactBytes int64
	LogBytes      int64
	// Env is the values of the variables that are no secrets; shown to the renter alone.
	Env map[string]string
	// Waiting says which constraint excludes how many hosts; nil unless it is queued.
	Waiting *jobs.Exclusions
}

// Get shows one job.
func (s *Service) Get(ctx context.Context, who domain.Actor, id domain.ID) (View, error) {
	if err := who.Allow(domain.ScopeJobsRead); err != nil {
		return View{}, err
	}
	j, err := s.get(ctx, who, id)
	if err != nil {
		return View{}, err
	}
	return s.Show(ctx, who, j)
}

// Show completes a job that the actor has been given by another use case, and says why
// it waits.
func (s *Service) Show(ctx context.Context, who domain.Actor, j jobs.Snapshot) (View, error) {
	v, err := s.view(ctx, j)
	if who.User == j.Renter {
		v.Env = s.openEnv(j)
	}
	if err == nil && j.State == jobs.Queued {
		e := s.fleet.explain(s.request(ctx, j))
		v.Waiting = &e
	}
	return v, err
}

// openEnv gives the values that are no secrets.
func (s *Service) openEnv(j jobs.Snapshot) map[string]string {
	env, err := s.unseal(j)
	if err != nil {
		s.Log.Error("the variables of a job cannot be read", "job", j.ID.Prefixed("job"), "error", err)
		return nil
	}
	open := map[string]string{}
	for _, e := range env {
		if !e.Secret {
			open[e.Name] = e.Value
		}
	}
	return open
}

// ShowAll is Show for a list. It does not say why jobs wait, because that takes a look
// at the whole market for each of them, and shows no variables.
func (s *Service) ShowAll(ctx context.Context, list []jobs.Snapshot) ([]View, error) {
	views := make([]View, len(list))
	for i, j := range list {
		var err error
		if views[i], err = s.view(ctx, j); err != nil {
			return nil, err
		}
	}
	return views, nil
}

func (s *Service) view(ctx context.Context, j jobs.Snapshot) (View, error) {
	size, err := s.measure(ctx, j)
	if err != nil {
		return View{}, err
	}
	return s.sized(ctx, j, size)
}

// sizes is what a view of a job shows that other tables have.
type sizes struct {
	files      int
	bytes, log int64
}

func (s *Service) measure(ctx context.Context, j jobs.Snapshot) (sizes, error) {
	var size sizes
	a := j.Current()
	if a == nil || a.StartedAt.IsZero() {
		return size, nil // there is nothing to count yet, and a submit is answered sooner
	}
	if !a.ExitedAt.IsZero() && a.Counts() { // before that nothing is uploaded
		files, err := s.Artifacts.List(ctx, j.ID, a.Number, false)
		if err != nil {
			return size, err
		}
		for _, f := range files {
			size.files++
			size.bytes += f.Size
		}
	}
	size.log = a.LogBytes
	var err error
	if a.Active() {
		size.log, err = s.durable(ctx, Ref{j.ID, a.Number})
	}
	return size, err
}

func (s *Service) sized(ctx context.Context, j jobs.Snapshot, size sizes) (View, error) {
	handle, err := s.handle(ctx, j.Renter)
	return View{
		Snapshot: j, At: s.Clock.Now(), RenterHandle: handle,
		ArtifactCount: size.files, ArtifactBytes: size.bytes, LogBytes: size.log,
	}, err
}

// durable is how much of an active attempt's log is stored: as the open log knows, or
// else the database.
func (s *Service) durable(ctx context.Context, ref Ref) (int64, error) {
	if b := s.books.find(ref); b != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.stored, nil
	}
	return s.Logs.Size(ctx, ref.Job, ref.Attempt)
}

// handle is an account's short name; one that is gone has none.
func (s *Service) handle(ctx context.Context, user domain.ID) (string, error) {
	if known, ok := s.handles.Load(user); ok {
		return known.(string), nil
	}
	u, err := s.Users.Get(ctx, user)
	if domain.KindOf(err) == domain.KindNotFound {
		return "", nil
	}
	if err == nil {
		s.handles.Store(user, u.Handle)
	}
	return u.Handle, err
}

// List shows the renter's jobs that a filter selects, newest first; an admin sees
// everybody's.
func (s *Service) List(ctx context.Context, who domain.Actor, f ports.JobFilter, p ports.Page) ([]jobs.Snapshot, error) {
	if err := who.Allow(domain.ScopeJobsRead); err != nil {
		return nil, err
	}
	f.Renter, _ = who.Owner()
	return s.Jobs.List(ctx, f, p)
}

// OnHost shows the jobs that had an attempt on a host. The caller has checked that the
// host is the actor's.
func (s *Service) OnHost(ctx context.Context, host domain.ID, p ports.Page) ([]jobs.Snapshot, error) {
	return s.Jobs.List(ctx, ports.JobFilter{Host: host}, p)
}

// Versions lists the runs of one job, newest first.
func (s *Service) Versions(ctx context.Context, who domain.Actor, id domain.ID, p ports.Page) ([]jobs.Snapshot, error) {
	if err := who.Allow(domain.ScopeJobsRead); err != nil {
		return nil, err
	}
	j, err := s.get(ctx, who, id)
	if err != nil {
		return nil, err
	}
	return s.Jobs.List(ctx, ports.JobFilter{Renter: j.Renter, Origin: j.Origin}, p)
}

// Timeline is what happened to a job, with causes, after a position.
func (s *Service) Timeline(ctx context.Context, who domain.Actor, id domain.ID, after int64, limit int) ([]domain.Event, error) {
	if err := who.Allow(domain.ScopeJobsRead); err != nil {
		return nil, err
	}
	if _, err := s.get(ctx, who, id); err != nil {
		return nil, err
	}
	return s.Jobs.Events(ctx, id, after, limit)
}

// Results lists the confirmed files of a job's latest attempt, none of one that is lost.
func (s *Service) Results(ctx context.Context, who domain.Actor, id domain.ID) (jobs.Snapshot, []ports.Artifact, error) {
	if err := who.Allow(domain.ScopeJobsRead); err != nil {
		return jobs.Snapshot{}, nil, err
	}
	j, err := s.get(ctx, who, id)
	if a := j.Current(); err != nil || a == nil || !a.Counts() {
		return j, nil, err
	}
	files, err := s.Artifacts.List(ctx, id, j.Attempt(), false)
	return j, files, err
}

// LinkTTL is how long a signed download is good.
const LinkTTL = time.Minute

// Download signs a link to one file.
func (s *Service) Download(ctx context.Context, who domain.Actor, id, artifact domain.ID) (ports.SignedRequest, error) {
	if err := who.Allow(domain.ScopeJobsRead); err != nil {
		return ports.SignedRequest{}, err
	}
	j, err := s.get(ctx, who, id)
	if err != nil {
		return ports.SignedRequest{}, err
	}
	a, err := s.Artifacts.Get(ctx, id, artifact)
	if err == nil && (a.Attempt != j.Attempt() || !j.Current().Counts()) {
		err = domain.NotFound("artifact") // of a host that lost the job
	}
	if err != nil {
		return ports.SignedRequest{}, err
	}
	return s.Blobs.SignGet(ctx, a.BlobKey, ports.GetOptions{Filename: path.Base(a.Path), Expires: LinkTTL})
}

// OpenResult reads one file from its beginning.
func (s *Service) OpenResult(ctx context.Context, who domain.Actor, a ports.Artifact) (io.ReadCloser, error) {
	if err := who.Allow(domain.ScopeJobsRead); err != nil {
		return nil, err
	}
	if _, err := s.get(ctx, who, a.Job); err != nil {
		return nil, err
	}
	return s.Blobs.Open(ctx, a.BlobKey, 0, -1)
}

// Billed shows a job to those between whom its money moves: its renter, the owner of
// the host that had it last (only the last attempt is ever billed), and admins.
func (s *Service) Billed(ctx context.Context, who domain.Actor, id domain.ID) (View, error) {
	if err := who.Allow(domain.ScopeBillingRead); err != nil {
		return View{}, err
	}
	j, err := s.Jobs.Get(ctx, id, domain.ID{})
	if err != nil {
		return View{}, err
	}
	_, everything := who.Owner()
	if a := j.Current(); !everything && j.Renter != who.User && (a == nil || a.HostOwner != who.User) {
		return View{}, domain.NotFound("job")
	}
	return s.view(ctx, j)
}

// Estimate is the plan before any money.
type Estimate struct {
	jobs.Exclusions
	Choice *jobs.Choice // where it would run now; nil: nowhere
	Hold   domain.Micros
	// Expected is what it should cost there: the price for the expected run.
	Expected domain.Micros
	Credit   domain.Micros
	// NoPrice says that nothing gives a price to hold the money by.
	NoPrice bool
}

// Estimate tells where a job would run, what would be held and what keeps other hosts
// from it. It stores nothing. A visitor may ask too.
func (s *Service) Estimate(ctx context.Context, who domain.Actor, spec jobs.Spec) (Estimate, error) {
	spec = spec.WithDefaults()
	if err := s.check(spec); err != nil {
		return Estimate{}, err
	}
	draft := jobs.Snapshot{Spec: spec, Renter: who.User}
	request := s.request(ctx, draft)
	e := Estimate{Exclusions: s.fleet.explain(request)}
	if choice, ok := s.fleet.match(request); ok {
		e.Choice = &choice
		e.Expected = domain.Cost(choice.Price, 1, request.ExpectedRun.Milliseconds())
	}
	var err error
	e.Hold, err = s.holdFor(draft, request)
	if domain.CodeOf(err) == "no_price" {
		e.NoPrice, err = true, nil
	}
	if err == nil && !who.User.IsZero() {
		e.Credit, err = s.Funds.Credit(ctx, who.User)
	}
	return e, err
}

// Busy tells the job that has each of the devices, as far as this replica knows; free
// ones are missing. A device that is being leased has the zero id.
func (s *Service) Busy(devices ...domain.ID) map[domain.ID]domain.ID { return s.fleet.busy(devices) }
