package runtime

// Options set up the process runtime.
type Options struct {
	// Dir is a folder of this runtime alone, for what it has to remember.
	Dir string
	// Bubblewrap is the path of bwrap; "" looks on PATH.
	Bubblewrap string
	// Prefixes are folders such as /opt/python3.12 that jobs may read, in the
	// same place; their bin comes first on the jobs' PATH. Without any that
	// has a python3, and with none in /usr, the prefix of the agent's own
	// python3 is taken.
	Prefixes []string
	// Unsandboxed runs jobs without isolation, and then trusted ones alone.
	Unsandboxed bool
}
