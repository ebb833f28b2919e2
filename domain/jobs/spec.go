package jobs

import (
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/peergpu/peergpu/domain"
)

// Spec is what a renter asked for; it never changes after the submit.
type Spec struct {
	Name       string      // shown in lists; at most 100 characters
	Source     Source      // where the code comes from
	Command    []string    // argv, never a shell string
	Env        []EnvVar    // names only: the values are sealed, see Snapshot.SealedEnv
	Image      string      // what a bundle runs in; empty: the installation's default
	Pinned     PinnedImage // what the image that it names was at the submit
	Inputs     []Input     // mounted read-only
	Needs      Needs
	Network    Network
	HostPin    domain.ID // only this host; zero: any
	Limits     Limits
	Outputs    []string // globs below the working folder; empty: outputs/**
	Checkpoint string   // a folder below the working folder, kept across attempts
	Funding    Funding
	Public     *Public // publish the result as a model when it succeeds
}

// PinnedImage is an image that cannot become another one.
type PinnedImage struct {
	Ref    string // registry, repository and tag, for people
	Digest string // of its manifest: sha256:…; empty: not known
}

// Named is the image that the renter named, of a bundle or as the source; empty: none.
func (s Spec) Named() string {
	if s.Source.Kind == SourceImage {
		return s.Source.Image
	}
	return s.Image
}

// SourceKind tells what a job's code is.
type SourceKind string

// The kinds of source. Without one, the command runs in the default image.
const (
	SourceNone   SourceKind = ""
	SourceBundle SourceKind = "bundle" // a ZIP
	SourceImage  SourceKind = "image"  // a container image
)

// Source is where a job's code comes from.
type Source struct {
	Kind  SourceKind
	Image string // with SourceImage alone
}

// EnvVar names an environment variable. Values are kept sealed, apart from the spec.
type EnvVar struct {
	Name   string
	Secret bool
}

// Input is something that exists already and is mounted read-only at a path below
// the working folder.
type Input struct {
	From string // model@revision, or an artifact of a job, or an upload
	Path string
}

// NetworkMode is what a job may reach.
type NetworkMode string

// The network modes, from the safest.
const (
	NetworkNone  NetworkMode = "none"
	NetworkProxy NetworkMode = "proxy" // the names in Allow, through the agent's proxy
	NetworkFull  NetworkMode = "full"
)

// Network is what a job may reach.
type Network struct {
	Mode  NetworkMode
	Allow []string // host names, with NetworkProxy alone
}

// Funding is the way in which the money is held.
type Funding string

// The ways of funding.
const (
	FundingCredit Funding = "credit"
	FundingCard   Funding = "card"
)

// Limits bound a job in time and money.
type Limits struct {
	MaxRuntime time.Duration // of the command; 1 s to 30 days, 1 h by default
	MaxWait    time.Duration // in the queue; 1 s to 7 days, 24 h by default
	MaxCost    domain.Micros // of the whole job; 0: price × GPUs × MaxRuntime
}

// Public is how a result is published as a model.
type Public struct {
	Name, Description, License, Citation, Thumbnail string
	Tags, Files                                     []string
}

// The bounds and defaults of Limits.
const (
	DefaultMaxRuntime = time.Hour
	DefaultMaxWait    = 24 * time.Hour
	LongestRuntime    = 30 * 24 * time.Hour
	LongestWait       = 7 * 24 * time.Hour
)

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// WithDefaults fills in what the renter left open.
func (s Spec) WithDefaults() Spec {
	if s.Limits.MaxRuntime == 0 {
		s.Limits.MaxRuntime = DefaultMaxRuntime
	}
	if s.Limits.MaxWait == 0 {
		s.Limits.MaxWait = DefaultMaxWait
	}
	if s.Needs.GPUs == 0 {
		s.Needs.GPUs = 1
	}
	if s.Source.Kind == SourceImage && !s.Needs.Isolation.AtLeast(IsolationContainer) {
		s.Needs.Isolation = IsolationContainer // nothing weaker can run an image
	}
	if s.Network.Mode == "" {
		s.Network.Mode = NetworkNone
	}
	if s.Funding == "" {
		s.Funding = FundingCredit
	}
	if len(s.Outputs) == 0 {
		s.Outputs = []string{"outputs/**"}
	}
	// A name that nobody can see is none.
	if s.Name = strings.TrimSpace(s.Name); !strings.ContainsFunc(s.Name, visible) && !strings.ContainsFunc(s.Name, unpresentable) {
		s.Name = ""
	}
	if s.Name == "" && len(s.Command) > 0 {
		clean := func(r rune) rune {
			if unpresentable(r) {
				return ' '
			}
			return r
		}
		s.Name = shorten(strings.TrimSpace(strings.Map(clean, strings.Join(s.Command, " "))), 100)
		if !strings.ContainsFunc(s.Name, visible) {
			s.Name = "unnamed"
		}
	}
	return s
}

func shorten(s string, runes int) string {
	r := []rune(s)
	if len(r) > runes {
		r = append(r[:runes-1], '…')
	}
	return string(r)
}

// Demands is what the job needs of a host, with what follows from the rest of the spec:
// an image, and a network that is filtered or open, need a container.
func (s Spec) Demands() Needs {
	n := s.Needs
	inContainer := s.Source.Kind == SourceImage || s.Image != "" || (s.Network.Mode != "" && s.Network.Mode != NetworkNone)
	if inContainer && !n.Isolation.AtLeast(IsolationContainer) {
		n.Isolation = IsolationContainer
	}
	return n
}

// Check tells everything that is wrong with the meaning of a spec, field by field.
// The shape (types, unknown fields, sizes) is the API's to check.
func (s Spec) Check() error {
	var p domain.Problems
	if utf8.RuneCountInString(s.Name) > 100 {
		p.Add("/name", "too_long", "a name has at most 100 characters")
	}
	if strings.ContainsFunc(s.Name, unpresentable) {
		p.Add("/name", "invalid", "a name has no control characters and none that turn the direction of writing")
	}
	s.checkSource(&p)
	s.checkNeeds(&p)
	s.checkPaths(&p)
	if s.Limits.MaxRuntime < time.Second || s.Limits.MaxRuntime > LongestRuntime {
		p.Add("/limits/max_runtime_s", "out_of_range", "between 1 and %d seconds", int(LongestRuntime/time.Second))
	}
	if s.Limits.MaxWait < time.Second || s.Limits.MaxWait > LongestWait {
		p.Add("/limits/max_wait_s", "out_of_range", "between 1 and %d seconds", int(LongestWait/time.Second))
	}
	if s.Limits.MaxCost < 0 {
		p.Add("/limits/max_cost_micros", "out_of_range", "not negative")
	}
	seen := map[string]bool{}
	for i, e := range s.Env {
		switch {
		case !envName.MatchString(e.Name):
			p.Add(pointer("/env", i, "name"), "invalid", "letters, digits and underscores, not beginning with a digit")
		case seen[e.Name]:
			p.Add(pointer("/env", i, "name"), "duplicate", "%s is set twice", e.Name)
		}
		seen[e.Name] = true
	}
	s.checkOffered(&p)
	return p.Err("invalid_job", "the job cannot run as described")
}

// visible is what leaves a mark where it is shown.
func visible(r rune) bool {
	return unicode.IsGraphic(r) && !unicode.In(r, unicode.Zs, unicode.M) && r != 0x2800 && r != 0x3164
}

// unpresentable is what makes text look like something else where it is shown.
func unpresentable(r rune) bool {
	return unicode.IsControl(r) || r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069
}

func (s Spec) checkSource(p *domain.Problems) {
	if len(s.Command) == 0 && s.Source.Kind != SourceImage {
		p.Add("/command", "required", "a command is needed, as an array of arguments")
	}
	for i, arg := range s.Command {
		if strings.ContainsRune(arg, 0) || (i == 0 && strings.TrimSpace(arg) == "") {
			p.Add(pointer("/command", i, ""), "invalid", "an argument holds no NUL, and the first is not empty")
		}
	}
	if s.Source.Kind == SourceImage && s.Source.Image == "" {
		p.Add("/source/image", "required", "an image job names its image")
	}
	if s.Network.Mode != NetworkProxy && len(s.Network.Allow) > 0 {
		p.Add("/network/allow", "unused", "names are allowed in mode proxy alone")
	}
	if s.Network.Mode == NetworkProxy && len(s.Network.Allow) == 0 {
		p.Add("/network/allow", "required", "mode proxy needs the names that may be reached")
	}
}

func (s Spec) checkNeeds(p *domain.Problems) {
	n := s.Needs
	if n.GPUs < 1 || n.GPUs > 16 {
		p.Add("/needs/gpus", "out_of_range", "between 1 and 16: a device is the unit that is rented")
	}
	for _, bound := range []struct {
		pointer string
		value   int64
	}{
		{"/needs/min_vram_mb", n.MinVRAMMB},
		{"/needs/cpus", n.CPUMilli},
		{"/needs/memory_mb", n.MemoryMB},
		{"/needs/disk_mb", n.DiskMB},
		{"/needs/max_price_micros", int64(n.MaxPrice)},
	} {
		if bound.value < 0 {
			p.Add(bound.pointer, "out_of_range", "not negative")
		}
	}
}

// checkOffered refuses what the format has a place for and no host can do yet: a job
// that ran without it would not be what was asked for.
func (s Spec) checkOffered(p *domain.Problems) {
	if len(s.Inputs) > 0 {
		p.Add("/inputs", "not_offered", "nothing can be mounted yet: put what the job reads into its bundle")
	}
	if s.Checkpoint != "" {
		p.Add("/checkpoint", "not_offered", "checkpoints are not kept yet: leave it out, and a job whose host is lost begins anew")
	}
	if s.Public != nil {
		p.Add("/public", "not_offered", "results are not published yet: leave it out, and download them from the job")
	}
	if s.Funding == FundingCard {
		p.Add("/funding", "not_offered", "this installation takes prepaid credit only")
	}
}

func (s Spec) checkPaths(p *domain.Problems) {
	for i, glob := range s.Outputs {
		if _, err := path.Match(strings.ReplaceAll(glob, "**", "*"), ""); err != nil || !LocalPath(glob) {
			p.Add(pointer("/outputs", i, ""), "invalid", "a glob below the working folder, such as outputs/**")
		}
	}
}

// LocalPath says that a slash path stays below the folder that it starts in, and is shown
// as what it is.
func LocalPath(p string) bool {
	return p != "" && !strings.HasPrefix(p, "/") && !strings.Contains(p, "\\") &&
		utf8.ValidString(p) && !strings.ContainsFunc(p, unpresentable) &&
		path.Clean(p) != ".." && !strings.HasPrefix(path.Clean(p), "../")
}

// pointer builds a JSON pointer to an element of a list, or to a field of it.
func pointer(list string, i int, field string) string {
	s := list + "/" + strconv.Itoa(i)
	if field != "" {
		s += "/" + field
	}
	return s
}
