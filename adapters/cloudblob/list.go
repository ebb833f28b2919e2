package cloudblob

import (
	"context"
	"iter"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"github.com/peergpu/peergpu/domain"
)

const (
	listed    = 10_000 // objects of a page: each page of a folder costs a walk through all of it
	listTries = 10     // a walk through a folder fails over a file that goes away meanwhile
)

// Older implements ports.BlobIndex.
func (s *Store) Older(ctx context.Context, prefix string, before time.Time) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		folder, ok := strings.CutSuffix(prefix, "/")
		if !ok || checkKey(folder) != nil {
			yield("", domain.Invalid("invalid_key", "%.64q is no prefix of keys", prefix))
			return
		}
		for token := blob.FirstPageToken; len(token) > 0; {
			page, next, err := s.page(ctx, token, prefix)
			if err != nil {
				yield("", translate(ctx, err))
				return
			}
			for _, o := range page {
				// What is being written has a name that is no key.
				if o.ModTime.Before(before) && checkKey(o.Key) == nil && !yield(o.Key, nil) {
					return
				}
			}
			token = next
		}
	}
}

func (s *Store) page(ctx context.Context, token []byte, prefix string) (page []*blob.ListObject, next []byte, err error) {
	for range listTries {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		page, next, err = s.bucket.ListPage(ctx, token, listed, &blob.ListOptions{Prefix: prefix})
		if gcerrors.Code(err) != gcerrors.NotFound {
			break
		}
	}
	return page, next, err
}
