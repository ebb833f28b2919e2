//go:build !faults

package faults

import "fmt"

// Enabled says whether this build has crash points.
const Enabled = false

// Point is reached whenever the program passes the place of that name; where the place
// can fail, it fails with the error.
func Point(string) error { return nil }

// Note tells tests that something happened to one of many.
func Note(string, fmt.Stringer) {}
