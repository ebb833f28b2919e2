package fleet

import (
	"context"
	"errors"
	"fmt"

	"github.com/peergpu/peergpu/openapi/wire"
)

// Deliver announces results, has them put where the server says, in its order, and
// confirms them. It is for scripts whose session lasts.
func (t *Attempt) Deliver(ctx context.Context, files []wire.Artifact, put func(i int, to wire.UploadTarget) error) error {
	answer, err := t.call(ctx, &wire.UploadRequest{JobID: t.key.job, Attempt: t.key.attempt, Files: files})
	if err != nil {
		return err
	}
	upload, ok := answer.(*wire.Upload)
	if !ok {
		return fmt.Errorf("the server does not say where to put the results: %+v", answer)
	}
	for i, to := range upload.Files {
		if err := put(i, to); err != nil {
			return err
		}
	}
	answer, err = t.call(ctx, &wire.Uploaded{JobID: t.key.job, Attempt: t.key.attempt, Files: files})
	if ack, ok := answer.(*wire.Ack); err == nil && (!ok || !ack.Ok) {
		return fmt.Errorf("the server does not take the results: %+v", answer)
	}
	return err
}

func (t *Attempt) call(ctx context.Context, body any) (any, error) {
	t.mu.Lock()
	l := t.link
	t.mu.Unlock()
	if l == nil {
		return nil, errors.New("there is no session")
	}
	answered := make(chan any, 1)
	if err := l.call(body, func(body any) { answered <- body }); err != nil {
		return nil, err
	}
	select {
	case answer := <-answered:
		return answer, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
