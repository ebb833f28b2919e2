package jobs_test

import (
	"sync"

	"github.com/peergpu/peergpu/application/jobs"
	domainjobs "github.com/peergpu/peergpu/domain/jobs"
)

func submission(spec domainjobs.Spec) jobs.Submission { return jobs.Submission{Spec: spec} }

// race makes n calls at the same time.
func race(n int, call func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			errs[i] = call(i)
		})
	}
	close(start)
	all.Wait()
	return errs
}
