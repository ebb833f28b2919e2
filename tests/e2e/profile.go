package e2e

import (
	"path/filepath"
	"testing"

	"github.com/peergpu/peergpu/tests/testkit"
)

// Profile is where a server keeps what it has. The zero value is the embedded one: SQLite
// and a folder, in its own data.
type Profile struct {
	Database string // URL
	Events   string // URL
	Bucket   testkit.Bucket
}

// Shared is the profile of servers that are replicas: a database of PostgreSQL, Redis and
// a bucket of the test's own.
func Shared(t testing.TB) Profile {
	t.Helper()
	return Profile{Database: testkit.PostgresDatabase(t), Events: testkit.Redis(t), Bucket: testkit.S3(t)}
}

// profiles are those that everything has to work on.
var profiles = map[string]func(testing.TB) Profile{
	"the embedded parts":     func(testing.TB) Profile { return Profile{} },
	"Postgres, Redis and S3": Shared,
}

// env are the variables of a server that has its own data in a folder.
func (p Profile) env() []string {
	env := []string{"PEERGPU_DATABASE=" + p.Database}
	if p.Events != "" {
		env = append(env, "PEERGPU_EVENTS="+p.Events)
	}
	if p.Bucket.URL != "" {
		env = append(env, p.Bucket.Env()...)
	}
	return env
}

// in fills in what the embedded parts of a server come to, whose data is in a folder.
func (p Profile) in(data string) Profile {
	if p.Database == "" {
		p.Database = "sqlite://" + filepath.Join(data, "peergpu.db")
	}
	if p.Bucket.URL == "" {
		p.Bucket.Folder = filepath.Join(data, "blobs")
		p.Bucket.URL = "file://" + p.Bucket.Folder
	}
	return p
}

// data is the folder of a cluster's server.
func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }
