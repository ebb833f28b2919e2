package ports

import (
	"context"
	"log/slog"
	"slices"
)

type logKey struct{}

// WithLog has everything that is logged with the context carry attributes, such as the id
// of the request that it is about.
func WithLog(ctx context.Context, attrs ...slog.Attr) context.Context {
	return context.WithValue(ctx, logKey{}, slices.Concat(LogAttrs(ctx), attrs))
}

// LogAttrs are the attributes that a context carries.
func LogAttrs(ctx context.Context) []slog.Attr {
	attrs, _ := ctx.Value(logKey{}).([]slog.Attr)
	return attrs
}
