// Package ports is every way out of the hexagon: what the use cases need of storage,
// time, messages, money and machines, in the words of the domain. A port stands in
// the file of the context that needs it. Each sentence of its comment is a case of
// its suite in tests/contract, which every adapter passes.
//
// Rules that hold for all of them: adapters translate their driver's errors into
// domain errors; a cancelled context ends a call with its error and no effect; times
// come back in UTC, cut to microseconds; what is returned belongs to the caller.
package ports

import "github.com/peergpu/peergpu/domain"

// Page asks for part of a list. Lists are ordered by id unless their port says
// otherwise; ids grow with time.
type Page struct {
	After domain.ID // exclusive; zero: from the beginning
	Limit int       // at least 1
}
