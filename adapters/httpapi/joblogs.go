package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/peergpu/peergpu/application/jobs"
	"github.com/peergpu/peergpu/openapi/api"
)

// GetJobLogs reads a job's log: what there is, a range of it, or what comes as well.
func (s *server) GetJobLogs(ctx context.Context, r api.GetJobLogsRequestObject) (api.GetJobLogsResponseObject, error) {
	id, err := parseID("job", r.ID)
	if err != nil {
		return nil, err
	}
	view, err := s.Jobs.OpenLog(ctx, actorOf(ctx), id, r.Params.Attempt)
	if err != nil {
		return nil, err
	}
	a := logAnswer{s: s, ctx: ctx, view: view, from: r.Params.From, to: view.Size}
	wanted, ranged := parseRange(r.Params.Range)
	a.follow = r.Params.Follow && !view.Over && callerOf(ctx).request.Method != http.MethodHead
	if ranged && r.Params.Follow && (wanted.last >= 0 || wanted.suffix >= 0) {
		return nil, badParameter("/query/follow", "not_together", "what is still to come has no end: send a Range without one")
	}
	if ranged && a.follow {
		a.from, ranged = wanted.first, false // the size is not known yet
	}
	if ranged {
		var ok bool
		if a.from, a.to, ok = wanted.within(view.Size); !ok {
			return logBeyond{view.Size}, nil
		}
	}
	a.from = max(0, a.from)
	a.partial = ranged
	return a, nil
}

// byteRange is one range of RFC 9110; -1 is what is not said.
type byteRange struct{ first, last, suffix int64 }

// parseRange reads a Range header. One that is malformed, or asks for several ranges,
// is ignored, as the RFC allows.
func parseRange(header string) (byteRange, bool) {
	none := byteRange{-1, -1, -1}
	text, ok := strings.CutPrefix(header, "bytes=")
	first, last, dash := strings.Cut(strings.TrimSpace(text), "-")
	if !ok || !dash {
		return none, false
	}
	number := func(s string) (int64, bool) {
		n, err := strconv.ParseUint(s, 10, 63)
		return int64(n), err == nil
	}
	r := none
	switch {
	case first == "":
		r.suffix, ok = number(last)
	case last == "":
		r.first, ok = number(first)
	default:
		var both bool
		r.first, ok = number(first)
		r.last, both = number(last)
		ok = ok && both && r.first <= r.last
	}
	return r, ok
}

// within gives the half-open range of something of a size.
func (r byteRange) within(size int64) (from, to int64, ok bool) {
	if r.suffix >= 0 {
		return max(0, size-r.suffix), size, r.suffix > 0 && size > 0
	}
	to = size
	if r.last >= 0 {
		to = min(size, r.last+1)
	}
	return r.first, to, r.first < size
}

// logBeyond refuses a range that begins behind the end, and tells where that is.
type logBeyond struct{ size int64 }

func (b logBeyond) VisitGetJobLogsResponse(w http.ResponseWriter) error {
	size := strconv.FormatInt(b.size, 10)
	w.Header().Set("Accept-Ranges", "bytes")
	w.Header().Set("Content-Range", "bytes */"+size)
	return &problem{
		status: http.StatusRequestedRangeNotSatisfiable, code: "range_not_satisfiable", detail: "the log has " + size + " bytes",
	}
}

// logAnswer sends log bytes as they are read.
type logAnswer struct {
	s        *server
	ctx      context.Context //nolint:containedctx // of the one request that it answers
	view     jobs.LogView
	from, to int64
	follow   bool
	partial  bool
}

func (a logAnswer) VisitGetJobLogsResponse(w http.ResponseWriter) error {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Accept-Ranges", "bytes")
	h.Set("X-Log-Attempt", strconv.Itoa(max(1, a.view.Attempt))) // the first, if none began yet
	status := http.StatusOK
	if a.partial {
		status = http.StatusPartialContent
		h.Set("Content-Range", "bytes "+strconv.FormatInt(a.from, 10)+"-"+strconv.FormatInt(a.to-1, 10)+"/"+strconv.FormatInt(a.view.Size, 10))
	}
	if !a.follow {
		h.Set("Content-Length", strconv.FormatInt(max(0, a.to-a.from), 10))
	}
	w.WriteHeader(status)
	if callerOf(a.ctx).request.Method == http.MethodHead {
		return nil
	}
	out := &stream{w: w, control: http.NewResponseController(w), clock: a.s.Clock}
	err := a.send(out)
	if err != nil && !errors.Is(err, context.Canceled) {
		a.s.Log.WarnContext(a.ctx, "a log broke off", "job", a.view.Job.Prefixed("job"), "error", err)
	}
	if err != nil {
		// Too late for a problem: a connection that is cut tells it.
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (a logAnswer) send(out *stream) error {
	if !a.follow {
		return a.history(out)
	}
	if err := out.flush(); err != nil {
		return err
	}
	who := actorOf(a.ctx)
	ctx, cancel := a.s.Identity.Lasting(a.ctx, who)
	defer cancel()
	return a.view.Follow(ctx, who, a.from, func(batch []byte) error {
		_, _, data := jobs.DecodeBatch(batch)
		if _, err := out.Write(data); err != nil {
			return err
		}
		return out.flush()
	})
}

// history sends what was promised by the Content-Length.
func (a logAnswer) history(out *stream) error {
	for at, again := a.from, false; at < a.to; {
		data, err := a.view.Read(a.ctx, at)
		if err != nil {
			return err
		}
		if len(data) == 0 {
			if again {
				return errors.New("the log is shorter than it was")
			}
			// The attempt ended meanwhile, and its log was moved to the archive.
			if a.view, err = a.s.Jobs.OpenLog(a.ctx, actorOf(a.ctx), a.view.Job, a.view.Attempt); err != nil {
				return err
			}
			again = true
			continue
		}
		again = false
		data = data[:min(int64(len(data)), a.to-at)]
		if _, err := out.Write(data); err != nil {
			return err
		}
		at += int64(len(data))
	}
	return nil
}

// CreateLogLink signs a download of a log that is complete.
func (s *server) CreateLogLink(ctx context.Context, r api.CreateLogLinkRequestObject) (api.CreateLogLinkResponseObject, error) {
	id, err := parseID("job", r.ID)
	if err != nil {
		return nil, err
	}
	signed, err := s.Jobs.LogLink(ctx, actorOf(ctx), id, r.Params.Attempt)
	if err != nil {
		return nil, err
	}
	return api.CreateLogLink201JSONResponse(s.linkJSON(ctx, signed)), nil
}
