package bench

import (
	"bufio"
	"context"
	"database/sql"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	_ "github.com/peergpu/peergpu/adapters/bunstore" // brings the driver for SQLite
	"github.com/peergpu/peergpu/tests/testkit"
)

// floor is what a job cannot do without on this machine: the bare hops of its way, one
// after the other, with nothing between them.
type floor struct {
	b       *testing.B
	health  string   // answers a GET
	commit  func()   // stores one row, as durably as the server does
	journal *os.File // of the agent
	echo    *websocket.Conn
	command []string

	http, commits, fsync, hop, firstLine, exit, first, finished samples
}

// newFloor opens what the hops need. The database is the server's kind of database, with
// the same settings, but another one.
func newFloor(b *testing.B, url, database string, command []string) *floor {
	b.Helper()
	f := &floor{b: b, health: url + "/healthz", command: command}
	if database == "" {
		f.commit = sqliteCommit(b)
	} else {
		f.commit = postgresCommit(b, database)
	}
	var err error
	f.journal, err = os.OpenFile(filepath.Join(testkit.Dir(b), "journal"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, f.journal.Close()) })
	f.echo = echo(b)
	return f
}

// once goes the way of a job: submit, two commits (hold, job), the manifest to the agent,
// its journal, the process and its first line, the line to the server and to the viewer.
// Then the end of the process, the journal again, the result to the server, one commit
// and the state to the viewer.
func (f *floor) once(record bool) {
	line := make([]byte, 200)
	rtt := timed(func() {
		resp, err := http.Get(f.health)
		require.NoError(f.b, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(f.b, err)
		require.NoError(f.b, resp.Body.Close())
	})
	commits := [3]time.Duration{timed(f.commit), timed(f.commit), timed(f.commit)}
	var fsyncs [2]time.Duration
	for i := range fsyncs {
		fsyncs[i] = timed(func() {
			_, err := f.journal.Write(line)
			require.NoError(f.b, err)
			require.NoError(f.b, unix.Fdatasync(int(f.journal.Fd())))
		})
	}
	hop := timed(func() {
		require.NoError(f.b, f.echo.WriteMessage(websocket.TextMessage, line))
		_, _, err := f.echo.ReadMessage()
		require.NoError(f.b, err)
	}) / 2
	firstLine, exit := f.fork()
	if !record {
		return
	}
	first := rtt + commits[0] + commits[1] + fsyncs[0] + 3*hop + firstLine
	f.http, f.commits, f.fsync = append(f.http, rtt), append(f.commits, commits[:]...), append(f.fsync, fsyncs[:]...)
	f.hop, f.firstLine, f.exit = append(f.hop, hop), append(f.firstLine, firstLine), append(f.exit, exit)
	f.first = append(f.first, first)
	f.finished = append(f.finished, first+exit+fsyncs[1]+commits[2]+2*hop)
}

// fork runs the command and tells when its line was there, and how long after that it
// had ended.
func (f *floor) fork() (firstLine, exit time.Duration) {
	began := time.Now()
	cmd := exec.Command(f.command[0], f.command[1:]...)
	out, err := cmd.StdoutPipe()
	require.NoError(f.b, err)
	require.NoError(f.b, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	firstLine = time.Since(began)
	require.NoError(f.b, err)
	require.Equal(f.b, "hello\n", line)
	require.NoError(f.b, cmd.Wait())
	return firstLine, time.Since(began) - firstLine
}

// report prints the floor of the whole and what it consists of.
func (f *floor) report() {
	for name, s := range map[string]samples{
		"floor-http": f.http, "floor-commit": f.commits, "floor-fdatasync": f.fsync, "floor-hop": f.hop,
		"floor-line": f.firstLine, "floor-exit": f.exit,
	} {
		f.b.ReportMetric(s.at(50), name+"-ms")
	}
}

// echo is a WebSocket whose other end gives back what it gets.
func echo(b *testing.B) *websocket.Conn {
	b.Helper()
	var up websocket.Upgrader
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			kind, data, err := conn.ReadMessage()
			if err != nil || conn.WriteMessage(kind, data) != nil {
				return
			}
		}
	}))
	b.Cleanup(server.Close)
	conn, resp, err := websocket.DefaultDialer.Dial(strings.Replace(server.URL, "http", "ws", 1), nil)
	require.NoError(b, err)
	require.NoError(b, resp.Body.Close())
	b.Cleanup(func() { _ = conn.Close() })
	return conn
}

const oneRow = "CREATE TABLE floor (id INTEGER PRIMARY KEY, body TEXT)"

var body = strings.Repeat("x", 200)

// sqliteDSN opens a file with the settings of the server's SQLite.
func sqliteDSN(path string) string {
	return "file:" + path + "?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)"
}

// sqliteCommit stores a row.
func sqliteCommit(b *testing.B) func() {
	b.Helper()
	db, err := sql.Open("sqlite", sqliteDSN(filepath.Join(testkit.Dir(b), "floor.db")))
	require.NoError(b, err)
	db.SetMaxOpenConns(1)
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	_, err = db.Exec(oneRow)
	require.NoError(b, err)
	insert, err := db.Prepare("INSERT INTO floor (body) VALUES (?)")
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, insert.Close()) })
	return func() {
		_, err := insert.Exec(body)
		require.NoError(b, err)
	}
}

// postgresCommit stores a row and waits for the disk.
func postgresCommit(b *testing.B, database string) func() {
	b.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, database)
	require.NoError(b, err)
	b.Cleanup(func() { _ = conn.Close(ctx) })
	var fsync, synchronous string
	require.NoError(b, conn.QueryRow(ctx, "SELECT current_setting('fsync'), current_setting('synchronous_commit')").Scan(&fsync, &synchronous))
	require.Equal(b, [2]string{"on", "on"}, [2]string{fsync, synchronous}, "the figures are those of a durable database")
	_, err = conn.Exec(ctx, "CREATE TEMP SEQUENCE s; "+strings.Replace(oneRow, "INTEGER", "BIGINT DEFAULT nextval('s')", 1))
	require.NoError(b, err)
	return func() {
		_, err := conn.Exec(ctx, "INSERT INTO floor (body) VALUES ($1)", body)
		require.NoError(b, err)
	}
}
