package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/peergpu/peergpu/tests/testkit"
)

// Profile is where a server keeps what it has. The zero value leaves that to the run:
// it is Embedded, or Shared where ProfileVariable says "shared".
type Profile struct {
	Database string // URL
	Events   string // URL
	Bucket   testkit.Bucket

	chosen bool
}

// ProfileVariable names the environment variable that has the tests run on another
// profile which name none.
const ProfileVariable = "PEERGPU_TEST_PROFILE"

// Embedded is SQLite and a folder, in the server's own data.
var Embedded = Profile{chosen: true}

// Shared is the profile of servers that are replicas: a database of PostgreSQL, Redis and
// a bucket of the test's own.
func Shared(t testing.TB) Profile {
	t.Helper()
	return Profile{Database: testkit.PostgresDatabase(t), Events: testkit.Redis(t), Bucket: testkit.S3(t), chosen: true}
}

// profiles are those that everything has to work on.
var profiles = map[string]func(testing.TB) Profile{
	"the embedded parts":     func(testing.TB) Profile { return Embedded },
	"Postgres, Redis and S3": Shared,
}

// choose settles what is left to the run.
func (p Profile) choose(t testing.TB) Profile {
	t.Helper()
	if p == (Profile{}) && os.Getenv(ProfileVariable) == "shared" {
		return Shared(t)
	}
	return p
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
