package httpapi

import (
	"net/http"

	"github.com/peergpu/peergpu/ports"
)

// stream writes an answer of unknown length. A client that does not read for too long
// is given up.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	clock   ports.Clock
}

func (s *stream) Write(p []byte) (int, error) {
	// Writers of tests know no deadline, and do not block.
	_ = s.control.SetWriteDeadline(s.clock.Now().Add(partTimeout))
	return s.w.Write(p)
}

func (s *stream) flush() error { return s.control.Flush() }
