package faults_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/peergpu/peergpu/tests/faults"
)

func TestAPointHasOneName(t *testing.T) {
	t.Parallel()
	all := slices.Concat(faults.Server, faults.Agent, faults.Notes)
	slices.Sort(all)
	assert.Equal(t, slices.Compact(slices.Clone(all)), all)
}
