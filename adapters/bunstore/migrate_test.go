package bunstore

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
)

func TestBothFoldersHaveTheSameMigrations(t *testing.T) {
	t.Parallel()
	names := func(d *dialect) (found []string) {
		files, err := d.migrations()
		require.NoError(t, err)
		entries, err := fs.ReadDir(files, ".")
		require.NoError(t, err)
		for i, e := range entries {
			assert.True(t, strings.HasPrefix(e.Name(), fmt.Sprintf("%05d_", i+1)), "%s is out of order", e.Name())
			found = append(found, e.Name())
		}
		return found
	}
	assert.Equal(t, names(sqliteDialect), names(postgresDialect))
}

// What comes of the migrations, one line for each column and index.
const (
	sqliteColumns = `SELECT m.name || '.' || c.name || ' ' || c.type || CASE WHEN c."notnull" THEN ' NOT NULL' ELSE '' END || CASE WHEN c.pk > 0 THEN ' KEY' || c.pk ELSE '' END
		FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name NOT LIKE 'goose_%'`
	postgresColumns = `SELECT c.table_name || '.' || c.column_name || ' ' || c.data_type || CASE WHEN c.is_nullable = 'NO' THEN ' NOT NULL' ELSE '' END || COALESCE(' KEY' || k.ordinal_position, '')
		FROM information_schema.columns AS c
		LEFT JOIN information_schema.table_constraints AS p ON p.table_schema = c.table_schema AND p.table_name = c.table_name AND p.constraint_type = 'PRIMARY KEY'
		LEFT JOIN information_schema.key_column_usage AS k ON k.constraint_schema = p.constraint_schema AND k.constraint_name = p.constraint_name AND k.column_name = c.column_name
		WHERE c.table_schema = current_schema() AND c.table_name NOT LIKE 'goose_%'`
	sqliteIndexes   = `SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name NOT LIKE 'goose_%'`
	postgresIndexes = `SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() AND indexname NOT LIKE '%_pkey' AND tablename NOT LIKE 'goose_%'`
)

// sameType gives the types of both databases one name.
var sameType = strings.NewReplacer(
	" uuid", " TEXT", " json", " TEXT", " text", " TEXT", " bytea", " BLOB",
	" bigint", " BIGINT", " INTEGER", " BIGINT", " boolean", " BOOLEAN",
)

// spelling is what PostgreSQL adds to the definition of an index.
var spelling = regexp.MustCompile(`::text|USING btree |[()"]`)

func TestBothDatabasesHaveTheSameTables(t *testing.T) {
	t.Parallel()
	lite, post := open(t, urls["SQLite"](t)), open(t, urls["PostgreSQL"](t))
	columns := func(s *Store, query string) []string {
		found := lines(t, s.read, query)
		for i := range found {
			found[i] = sameType.Replace(found[i])
		}
		slices.Sort(found)
		return found
	}
	assert.Equal(t, columns(lite, sqliteColumns), columns(post, postgresColumns))
	indexes := func(s *Store, query string) []string {
		var schema string
		if s.postgres != nil {
			schema = lines(t, s.read, "SELECT current_schema()")[0] + "."
		}
		found := lines(t, s.read, query)
		for i := range found {
			found[i] = spelling.ReplaceAllString(strings.ReplaceAll(found[i], schema, ""), "")
		}
		slices.Sort(found)
		return found
	}
	assert.Equal(t, indexes(lite, sqliteIndexes), indexes(post, postgresIndexes))
}

func TestServersThatStartAtOnceAllSucceed(t *testing.T) {
	t.Parallel()
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := url(t)
			stores, errs := make([]*Store, 3), make([]error, 3)
			var all sync.WaitGroup
			for i := range stores {
				all.Go(func() { stores[i], errs[i] = Open(t.Context(), at, options) })
			}
			all.Wait()
			for i, s := range stores {
				require.NoError(t, errs[i])
				addJob(t, s)
				require.NoError(t, s.Close())
			}
		})
	}
}

func TestVersionsThatWereGivenTwiceAreNumberedAnew(t *testing.T) {
	t.Parallel()
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := url(t)
			s := open(t, at)
			first, other := addJob(t, s), addJob(t, s)
			old, err := s.Jobs().Get(t.Context(), first, domain.ID{})
			require.NoError(t, err)
			require.NoError(t, exec(t, s, "DROP INDEX jobs_version; DROP TABLE image_pins"))
			require.NoError(t, exec(t, s, "DELETE FROM goose_db_version WHERE version_id >= 8"))
			versions := []domain.ID{first}
			for range 3 {
				j, err := jobs.New(jobs.Draft{ID: count.New(), Renter: old.Renter, Spec: old.Spec, Currency: "EUR", Rerun: &old, RunVersion: 2}, count.Now())
				require.NoError(t, err)
				require.NoError(t, s.Jobs().Add(t.Context(), j))
				versions = append(versions, j.Snapshot().ID)
			}
			s = open(t, at)
			for i, id := range versions {
				v, err := s.Jobs().Get(t.Context(), id, domain.ID{})
				require.NoError(t, err)
				assert.Equal(t, i+1, v.RunVersion)
			}
			v, err := s.Jobs().Get(t.Context(), other, domain.ID{})
			require.NoError(t, err)
			assert.Equal(t, 1, v.RunVersion)
			assert.Error(t, exec(t, s, "UPDATE jobs SET run_version = 1"))
		})
	}
}

func exec(t *testing.T, s *Store, query string) error {
	t.Helper()
	_, err := s.write.ExecContext(t.Context(), query)
	return err
}
