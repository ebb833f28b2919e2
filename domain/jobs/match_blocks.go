package jobs

import (
	"slices"
	"sort"
)

// blockSize is a trade: moving elements within a block against reading a summary of
// each when a large order is searched.
const blockSize = 64

// ranked is an element of a blocks: it knows its place, which must not change while
// it is in there, and what it adds to the summary of the block that it lies in.
type ranked[E, S any] interface {
	compare(other E) int
	widen(summary *S)
	marks(summary *S) bool // without it the summary may be much narrower
}

// blocks keeps elements in order, cut into short runs with a summary each, so that a
// search in that order passes over 64 elements at a time which cannot be meant.
type blocks[E ranked[E, S], S any] struct {
	runs  []*block[E, S]
	size  int
	spare *block[E, S] // many orders are short, and often empty for a moment
}

// block is one run. Its summary is at least as wide as its elements need: not every
// removal narrows it.
type block[E ranked[E, S], S any] struct {
	items   []E
	summary S
	stale   int // removals since the summary was exact
}

func (b *blocks[E, S]) first() E { return b.runs[0].items[0] }

// find is where an element lies, or would lie if it were added. There is one at least.
func (b *blocks[E, S]) find(e E) (run, item int) {
	run = sort.Search(len(b.runs), func(i int) bool {
		items := b.runs[i].items
		return items[len(items)-1].compare(e) >= 0
	})
	if run == len(b.runs) {
		return run - 1, len(b.runs[run-1].items)
	}
	items := b.runs[run].items
	return run, sort.Search(len(items), func(i int) bool { return items[i].compare(e) >= 0 })
}

func (b *blocks[E, S]) insert(e E) {
	b.size++
	if len(b.runs) == 0 {
		only := b.spare
		if only == nil {
			only = &block[E, S]{}
		}
		only.items = append(only.items, e)
		only.measure()
		b.runs, b.spare = append(b.runs, only), nil
		return
	}
	i, at := b.find(e)
	run := b.runs[i]
	run.items = slices.Insert(run.items, at, e)
	e.widen(&run.summary)
	if len(run.items) > blockSize {
		half := len(run.items) / 2
		right := &block[E, S]{items: slices.Clone(run.items[half:])}
		run.items = slices.Delete(run.items, half, len(run.items))
		run.measure()
		right.measure()
		b.runs = slices.Insert(b.runs, i+1, right)
	}
}

func (b *blocks[E, S]) remove(e E) {
	i, at := b.find(e)
	b.size--
	run := b.runs[i]
	run.items = slices.Delete(run.items, at, at+1)
	run.stale++
	switch {
	case len(run.items) == 0:
		b.runs, b.spare = slices.Delete(b.runs, i, i+1), run
	case i+1 < len(b.runs) && len(run.items)+len(b.runs[i+1].items) <= blockSize/2:
		run.items = append(run.items, b.runs[i+1].items...)
		b.runs = slices.Delete(b.runs, i+1, i+2)
		run.measure()
	case run.stale >= blockSize/4 || e.marks(&run.summary):
		run.measure()
	}
}

// measure makes the summary exact.
func (b *block[E, S]) measure() {
	var exact S
	for _, e := range b.items {
		e.widen(&exact)
	}
	b.summary, b.stale = exact, 0
}
