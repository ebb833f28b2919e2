package bench

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/openapi/wire"
	"github.com/peergpu/peergpu/tests/e2e"
	"github.com/peergpu/peergpu/tests/testkit/fleet"
)

// BenchmarkE7 puts results by the links that a host gets, and gets them by those that a
// renter gets: one of 1 GiB, and a thousand of 100 KB, one after the other. The bytes go to
// the folder of the server by the server, and to the object storage past it. The floor is a
// bare file server.
func BenchmarkE7(b *testing.B) {
	for _, p := range profiles {
		for _, files := range []struct {
			name        string
			count, size int
		}{{"files=1x1GiB", 1, 1 << 30}, {"files=1000x100KB", 1000, 100_000}} {
			b.Run(p.name+"/"+files.name, func(b *testing.B) { e7(b, p.open(b).Profile, files.count, files.size) })
		}
	}
}

// results are files of one size with different contents.
type results struct {
	b     *testing.B
	url   string // of the server
	host  *http.Client
	bytes []byte
	files []wire.Artifact
}

// content is that of a file: what all have, after what tells them apart.
func (r *results) content(i int) []byte {
	copy(r.bytes, fmt.Sprintf("%08d", i))
	return r.bytes
}

func e7(b *testing.B, p e2e.Profile, count, size int) {
	b.Helper()
	c := e2e.NewCluster(b, p, "PEERGPU_LEASE_TTL=60s")
	c.Start()
	u := rich(c)
	scripts := make(chan func(*fleet.Attempt))
	f, err := fleet.Start(b.Context(), fleet.Options{
		URL: c.URL, Owner: u.Token(), Name: "box", Count: 1, Run: func(a *fleet.Attempt) { (<-scripts)(a) },
	})
	require.NoError(b, err)
	b.Cleanup(f.Stop)
	require.Eventually(b, func() bool { return f.Online() == 1 }, time.Minute, 10*time.Millisecond)

	r := &results{b: b, url: c.URL, host: &http.Client{Transport: &http.Transport{DisableCompression: true}}, bytes: make([]byte, size)}
	defer r.host.CloseIdleConnections()
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(r.bytes)
	for i := range count {
		sum := sha256.Sum256(r.content(i))
		r.files = append(r.files, wire.Artifact{Path: fmt.Sprintf("%04d", i), Size: int64(size), SHA256: hex.EncodeToString(sum[:])})
	}
	for b.Loop() {
		bare := startBare(b)
		at := strings.Replace(bare.url, "ws:", "http:", 1) + "/file/"
		floorPut := timed(func() { r.each(func(i int) { r.put(at+r.files[i].Path, nil, i) }) })
		floorGet := timed(func() { r.each(func(i int) { r.get(at+r.files[i].Path, i) }) })

		var job struct{ ID, State string }
		u.Call(http.MethodPost, "/api/jobs", map[string]any{
			"command": []string{"anything"}, "limits": map[string]any{"max_runtime_s": 600, "max_cost_micros": 1_000_000},
		}, &job)
		before := c.Memory("VmRSS")
		server := cpu(b, c.Process())
		var put time.Duration
		delivered := make(chan error, 1)
		scripts <- func(a *fleet.Attempt) {
			delivered <- a.Deliver(b.Context(), r.files, func(i int, to wire.UploadTarget) error {
				put += timed(func() { r.put(to.URL, to.Headers, i) })
				return nil
			})
		}
		require.NoError(b, <-delivered)
		require.Eventually(b, func() bool {
			u.Call(http.MethodGet, "/api/jobs/"+job.ID, nil, &job)
			return job.State == "succeeded"
		}, time.Minute, 10*time.Millisecond)
		ids := artifacts(u, job.ID)
		require.Len(b, ids, count)
		var get time.Duration
		r.each(func(i int) {
			var link struct{ URL string }
			u.Call(http.MethodPost, "/api/jobs/"+job.ID+"/artifacts/"+ids[r.files[i].Path]+"/link", nil, &link)
			get += timed(func() { r.get(link.URL, i) })
		})
		server = cpu(b, c.Process()) - server

		rate := func(d time.Duration) float64 { return float64(count) * float64(size) / 1e6 / d.Seconds() }
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(rate(put), "put-MB/s")
		b.ReportMetric(rate(floorPut), "put-floor-MB/s")
		b.ReportMetric(floorPut.Seconds()/put.Seconds(), "put/floor")
		b.ReportMetric(rate(get), "get-MB/s")
		b.ReportMetric(rate(floorGet), "get-floor-MB/s")
		b.ReportMetric(floorGet.Seconds()/get.Seconds(), "get/floor")
		b.ReportMetric(server.Seconds()*1e3/float64(count), "server-cpu-ms/file")
		more := float64(c.Memory("VmHWM")-before) / (1 << 20)
		b.ReportMetric(more, "rss-more-MB")
		b.ReportMetric(load(b), "load")
		bound := 0.9
		if p.Bucket.URL == "" {
			bound = 0.6 // our own store sums what it takes
		}
		aim(b, "put, MB/s", rate(put), rate(floorPut), timesAtLeast(bound))
		aim(b, "get, MB/s", rate(get), rate(floorGet), timesAtLeast(0.9))
		if count > 1 || p.Bucket.URL != "" { // else its bytes go through the server
			aim(b, "CPU of the server, ms a file", server.Seconds()*1e3/float64(count), 0, atMost(5))
		}
		aim(b, "memory more, MB", more, 0, atMost(64))
	}
}

// artifacts are the ids of a job's results by their paths.
func artifacts(u *e2e.User, job string) map[string]string {
	ids := map[string]string{}
	for after, more := "", true; more; more = after != "" {
		var page struct {
			Items []struct{ ID, Path string }
			Next  string
		}
		u.Call(http.MethodGet, "/api/jobs/"+job+"/artifacts?limit=100&after="+after, nil, &page)
		for _, a := range page.Items {
			ids[a.Path] = a.ID
		}
		after = page.Next
	}
	return ids
}

func (r *results) each(do func(i int)) {
	for i := range r.files {
		do(i)
	}
}

// put sends a file. What is only a path is meant on the server.
func (r *results) put(to string, headers map[string]string, i int) {
	r.do(http.MethodPut, to, headers, bytes.NewReader(r.content(i)), func(io.Reader) {})
}

// get reads a file and compares its sum.
func (r *results) get(from string, i int) {
	r.do(http.MethodGet, from, nil, nil, func(body io.Reader) {
		sum := sha256.New()
		_, err := io.Copy(sum, body)
		assert.NoError(r.b, err)
		assert.Equal(r.b, r.files[i].SHA256, hex.EncodeToString(sum.Sum(nil)))
	})
}

func (r *results) do(method, to string, headers map[string]string, body io.Reader, read func(io.Reader)) {
	if strings.HasPrefix(to, "/") {
		to = r.url + to
	}
	request, err := http.NewRequestWithContext(r.b.Context(), method, to, body)
	if !assert.NoError(r.b, err) {
		return
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := r.host.Do(request)
	if !assert.NoError(r.b, err) {
		return
	}
	defer response.Body.Close()
	assert.Less(r.b, response.StatusCode, 300)
	read(response.Body)
	_, _ = io.Copy(io.Discard, response.Body)
}
