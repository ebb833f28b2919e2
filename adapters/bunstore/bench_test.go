package bunstore

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/domain/jobs"
)

// The benchmarks run many callers at once, as a server does; what they show is how well
// commits are shared. Alone is one caller, who waits for each commit.

func benchmark(b *testing.B, setUp func(b *testing.B, s *Store) func() error) {
	for name, url := range urls {
		b.Run(name, func(b *testing.B) {
			call := setUp(b, open(b, url(b)))
			b.Run("alone", func(b *testing.B) {
				for b.Loop() {
					require.NoError(b, call())
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
			})
			b.Run("64 at once", func(b *testing.B) {
				b.SetParallelism(32)
				b.RunParallel(func(p *testing.PB) {
					for p.Next() {
						if err := call(); err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
			})
		})
	}
}

func BenchmarkAdd(b *testing.B) {
	benchmark(b, func(b *testing.B, s *Store) func() error {
		return func() error { return s.Jobs().Add(b.Context(), newJob(b)) }
	})
}

func BenchmarkUpdate(b *testing.B) {
	benchmark(b, func(b *testing.B, s *Store) func() error {
		fleet := make(chan domain.ID, 256)
		for range cap(fleet) {
			fleet <- addJob(b, s)
		}
		return func() error {
			id := <-fleet
			defer func() { fleet <- id }()
			_, err := s.Jobs().Update(b.Context(), id, func(j *jobs.Job) error {
				j.Record("tests.changed", id, count.Now(), jobs.Happening{State: jobs.Queued})
				return nil
			})
			return err
		}
	})
}

func BenchmarkPost(b *testing.B) {
	benchmark(b, func(b *testing.B, s *Store) func() error {
		user := count.New()
		require.NoError(b, s.Ledger().Post(b.Context(), topUp(user, 1<<50)))
		return func() error { return s.Ledger().Post(b.Context(), hold(user, 1)) }
	})
}

func BenchmarkAppend(b *testing.B) {
	line := []byte("epoch 12: loss 0.1234 accuracy 0.9876\n")
	benchmark(b, func(b *testing.B, s *Store) func() error {
		type log struct {
			job, host domain.ID
			size      int64
		}
		logs := make(chan log, 256)
		for range cap(logs) {
			job, host := leaseJob(b, s)
			logs <- log{job: job, host: host}
		}
		return func() error {
			l := <-logs
			err := s.Logs().Append(b.Context(), l.job, 1, l.host, l.size, line, count.Now())
			l.size += int64(len(line))
			logs <- l
			return err
		}
	})
}
