package api_test

import (
	"archive/zip"
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/openapi/api"
	"github.com/peergpu/peergpu/tests/testkit/market"
)

func TestResultsAreListedLinkedAndPacked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 10*market.Dollar)
		_, other := s.person("eve", 0)
		h := s.Host(s.Person("bob", 0), market.Machine{GPUs: 2})
		job := s.submit(renter, echoJob(map[string]any{"name": "digits / \"1\""}))
		s.do(ask{method: "GET", path: "/api/jobs/" + job.ID + "/artifacts.zip", token: renter}).problem(t, 409, "no_artifacts")
		a := h.Take()
		a.Start()
		a.Exit(0)
		want := map[string]string{"outputs/a.txt": "A", "outputs/b:c.txt": "B", "outputs/b_c.txt": "C", "outputs/empty": ""}
		for name, content := range want {
			a.Upload(name, content)
		}
		a.Finish()
		synctest.Wait()

		var names []string
		var first api.Artifact
		for after := ""; ; {
			var page api.ArtifactList
			s.do(ask{method: "GET", path: "/api/jobs/" + job.ID + "/artifacts?limit=3&after=" + after, token: renter}).json(t, 200, &page)
			for _, f := range page.Items {
				names = append(names, f.Path)
				assert.Equal(t, sumOf(want[f.Path]), f.SHA256)
			}
			if first.ID == "" {
				first = page.Items[0]
			}
			if after = page.Next; after == "" {
				break
			}
		}
		assert.Equal(t, []string{"outputs/a.txt", "outputs/b:c.txt", "outputs/b_c.txt", "outputs/empty"}, names)

		path := "/api/jobs/" + job.ID + "/artifacts/" + first.ID
		sent := s.do(ask{method: "GET", path: path, token: renter})
		assert.Equal(t, 302, sent.StatusCode)
		file := s.do(ask{method: "GET", path: sent.Header.Get("Location")})
		assert.Equal(t, "A", string(file.Body))
		assert.Equal(t, "application/octet-stream", file.Header.Get("Content-Type"))
		assert.Contains(t, file.Header.Get("Content-Disposition"), "attachment")
		assert.Contains(t, file.Header.Get("Content-Security-Policy"), "sandbox")
		var link api.Link
		s.do(ask{method: "POST", path: path + "/link", token: renter}).json(t, 201, &link)
		assert.Equal(t, "A", string(s.do(ask{method: "GET", path: link.URL}).Body))
		assert.Equal(t, s.Clock.Now().Add(time.Minute), link.ExpiresAt)

		// The archive, with a bearer and by a link.
		zipPath := "/api/jobs/" + job.ID + "/artifacts.zip"
		s.do(ask{method: "POST", path: zipPath + "/link", token: renter}).json(t, 201, &link)
		for _, a := range []ask{{method: "GET", path: zipPath, token: renter}, {method: "GET", path: link.URL}} {
			got := s.do(a)
			require.Equal(t, 200, got.StatusCode, string(got.Body))
			assert.Equal(t, `attachment; filename="digits----1.zip"`, got.Header.Get("Content-Disposition"))
			z, err := zip.NewReader(bytes.NewReader(got.Body), int64(len(got.Body)))
			require.NoError(t, err)
			content := map[string]string{}
			for _, f := range z.File {
				r, err := f.Open()
				require.NoError(t, err)
				data, err := io.ReadAll(r)
				require.NoError(t, err)
				content[f.Name] = string(data)
			}
			assert.Equal(t, map[string]string{"outputs/a.txt": "A", "outputs/b_c.txt": "B", "outputs/b_c (2).txt": "C", "outputs/empty": ""}, content)
		}
		head := s.do(ask{method: "HEAD", path: zipPath, token: renter})
		assert.Equal(t, 200, head.StatusCode)

		// A link is for one job, for a minute, and for reading.
		_, query, _ := strings.Cut(link.URL, "?")
		rerun := s.submit(renter, echoJob(nil))
		for _, bad := range []string{zipPath + "?" + query + "x", zipPath + "?link=x", zipPath + "?link=.", "/api/jobs/" + rerun.ID + "/artifacts.zip?" + query} {
			s.do(ask{method: "GET", path: bad}).problem(t, 401, "unauthenticated")
		}
		s.do(ask{method: "GET", path: zipPath + "?" + query, token: other}).problem(t, 404, "not_found")
		s.do(ask{method: "GET", path: "/api/jobs/" + job.ID + "/artifacts?" + query}).problem(t, 401, "unauthenticated")
		pass(time.Minute)
		s.do(ask{method: "GET", path: zipPath + "?" + query}).problem(t, 401, "unauthenticated")
		s.do(ask{method: "GET", path: sent.Header.Get("Location")}).problem(t, 403, "link_expired")
	})
}

func TestLogsAreReadByRange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 10*market.Dollar)
		h := s.Host(s.Person("bob", 0), market.Machine{})
		job := s.submit(renter, echoJob(nil))
		path := "/api/jobs/" + job.ID + "/logs"
		s.do(ask{method: "POST", path: "/api/jobs/" + job.ID + "/log/link", token: renter}).problem(t, 409, "log_not_complete")
		a := h.Take()
		a.Start()
		a.Print("0123456789")
		check := func() {
			t.Helper()
			for _, c := range []struct {
				query, ranged string
				status        int
				body, content string
			}{
				{"", "", 200, "0123456789", ""},
				{"?from=4", "", 200, "456789", ""},
				{"?from=10", "", 200, "", ""},
				{"?from=99", "", 200, "", ""},
				{"", "bytes=2-4", 206, "234", "bytes 2-4/10"},
				{"", "bytes=7-", 206, "789", "bytes 7-9/10"},
				{"", "bytes=7-100", 206, "789", "bytes 7-9/10"},
				{"", "bytes=-3", 206, "789", "bytes 7-9/10"},
				{"", "bytes=-100", 206, "0123456789", "bytes 0-9/10"},
				{"?from=1", "bytes=0-0", 206, "0", "bytes 0-0/10"},
				{"", "bytes=10-", 416, "", "bytes */10"},
				{"", "bytes=-0", 416, "", "bytes */10"},
				{"", "bytes=4-2", 200, "0123456789", ""},
				{"", "bytes=1-2,4-5", 200, "0123456789", ""},
				{"", "lines=1-2", 200, "0123456789", ""},
				{"", "bytes=99999999999999999999-", 200, "0123456789", ""},
				{"?attempt=1", "", 200, "0123456789", ""},
			} {
				header := http.Header{}
				if c.ranged != "" {
					header.Set("Range", c.ranged)
				}
				got := s.do(ask{method: "GET", path: path + c.query, token: renter, header: header})
				require.Equal(t, c.status, got.StatusCode, "%v: %s", c, got.Body)
				assert.Equal(t, c.content, got.Header.Get("Content-Range"), c)
				if c.status == 416 {
					got.problem(t, 416, "range_not_satisfiable")
					continue
				}
				assert.Equal(t, c.body, string(got.Body), c)
				assert.Equal(t, "1", got.Header.Get("X-Log-Attempt"))
				assert.Equal(t, strconv.Itoa(len(c.body)), got.Header.Get("Content-Length"))
			}
		}
		check() // not durable yet
		pass(time.Second)
		check()
		a.Exit(0)
		a.Finish()
		synctest.Wait()
		check() // in the archive
		s.do(ask{method: "GET", path: path + "?attempt=2", token: renter}).problem(t, 404, "not_found")
		s.do(ask{method: "GET", path: path + "?follow=true", token: renter, header: http.Header{"Range": {"bytes=1-2"}}}).problem(t, 400, "invalid_request")
		head := s.do(ask{method: "HEAD", path: path + "?follow=true", token: renter})
		assert.Equal(t, "10", head.Header.Get("Content-Length"))

		var link api.Link
		s.do(ask{method: "POST", path: "/api/jobs/" + job.ID + "/log/link", token: renter}).json(t, 201, &link)
		assert.Equal(t, "0123456789", string(s.do(ask{method: "GET", path: link.URL}).Body))
	})
}

func TestALogIsFollowedFromBeforeTheFirstAttemptToItsEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 10*market.Dollar)
		job := s.submit(renter, echoJob(map[string]any{"needs": map[string]any{"max_price_micros": 360_000}}))
		res, err := s.client.Do(s.request(ask{method: "GET", path: "/api/jobs/" + job.ID + "/logs?follow=true&from=2", token: renter}))
		require.NoError(t, err, "the headers come at once")
		defer res.Body.Close()
		assert.Equal(t, "1", res.Header.Get("X-Log-Attempt"))
		read := make(chan string)
		go func() {
			defer close(read)
			buf := make([]byte, 1000)
			for {
				n, err := res.Body.Read(buf)
				if n > 0 {
					read <- string(buf[:n])
				}
				if err != nil {
					assert.ErrorIs(t, err, io.EOF)
					return
				}
			}
		}()
		h := s.Host(s.Person("bob", 0), market.Machine{})
		pass(3 * time.Second)
		a := h.Take()
		a.Start()
		a.Print("one\n")
		assert.Equal(t, "e\n", <-read, "as it comes")
		pass(time.Minute)
		a.Print("two\n")
		assert.Equal(t, "two\n", <-read)
		a.Exit(0)
		a.Finish()
		_, more := <-read
		assert.False(t, more, "it ends with the attempt")
	})
}

func TestAFollowedLogBreaksOffWithTheSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := open(t)
		_, renter := s.person("ada", 10*market.Dollar)
		job := s.submit(renter, echoJob(map[string]any{"needs": map[string]any{"max_price_micros": 360_000}}))
		var made struct{ ID, Token string }
		s.do(ask{method: "POST", path: "/api/tokens", token: renter, body: map[string]any{"name": "laptop", "scopes": []string{"jobs:read"}}}).json(t, 201, &made)
		res, err := s.client.Do(s.request(ask{method: "GET", path: "/api/jobs/" + job.ID + "/logs?follow=true", token: made.Token}))
		require.NoError(t, err)
		defer res.Body.Close()
		read := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, res.Body)
			read <- err
		}()
		pass(10 * time.Second)
		assert.Empty(t, read)
		s.do(ask{method: "DELETE", path: "/api/tokens/" + made.ID, token: renter})
		pass(7 * time.Second)
		require.NotEmpty(t, read)
		assert.Error(t, <-read, "that is no end of the log")
	})
}
