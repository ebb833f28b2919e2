package runtime

// Verdict is what a finding means for jobs.
type Verdict string

// The verdicts, from the best.
const (
	Good   Verdict = "good"
	Better Verdict = "better" // jobs run; it could be better
	Broken Verdict = "broken" // jobs do not run
	Unsafe Verdict = "unsafe" // jobs would run, and could do harm
)

// Finding is what an examination found of one part.
type Finding struct {
	What    string // engine, runtime, limits, toolkit, gpu, disk
	Verdict Verdict
	Found   string
	Fix     string // what the owner of the machine can do
}
