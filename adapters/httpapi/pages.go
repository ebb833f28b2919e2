package httpapi

import (
	"errors"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// notPages are the paths at and below which the web app has no pages: what is missing
// there is a problem, not a page.
var notPages = []string{"/api", "/ws", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics", "/hf", "/blobs"}

// webApp answers what no route does: with the web app, which has its own page for what
// is not there.
func (s *server) webApp(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		err := next(c)
		if !errors.Is(err, echo.ErrNotFound) || !mayBePage(c.Request()) {
			return err
		}
		s.Pages.ServeHTTP(c.Response(), c.Request())
		return nil
	}
}

func mayBePage(r *http.Request) bool {
	for _, path := range notPages {
		if below, found := strings.CutPrefix(r.URL.Path, path); found && (below == "" || below[0] == '/') {
			return false
		}
	}
	return r.Method == http.MethodGet || r.Method == http.MethodHead
}
