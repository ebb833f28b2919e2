package httpapi

import (
	"context"
	"net/http"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"

	"github.com/peergpu/peergpu/application/identity"
	"github.com/peergpu/peergpu/domain"
	"github.com/peergpu/peergpu/openapi"
)

// caller is what handlers need of a request beside its parameters and body.
type caller struct {
	who     domain.Actor
	client  identity.Client
	request *http.Request
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// actorOf is who asks; visitors are the zero Actor.
func actorOf(ctx context.Context) domain.Actor { return callerOf(ctx).who }

// asking is who asks for a list: with mine, an administrator without the view of one.
func asking(ctx context.Context, mine bool) domain.Actor {
	who := actorOf(ctx)
	if mine {
		who.Roles = nil
	}
	return who
}

// rule is what the document says about who may call an operation.
type rule struct {
	bearer      bool // a credential of an account is needed
	link        bool // the signature of a link stands in for it
	scope       domain.Scope
	role        domain.Role
	sessionOnly bool
	submits     bool // makes a job that will run
}

// ruleOf reads an operation. Sockets and the refresh cookie have credentials of their
// own, which the gateway and the handlers check.
func ruleOf(spec *openapi3.T, op *openapi3.Operation) rule {
	needed := spec.Security
	if op.Security != nil {
		needed = *op.Security
	}
	var r rule
	for _, way := range needed {
		if _, ok := way["bearer"]; ok {
			r.bearer = true
		}
		if _, ok := way["link"]; ok {
			r.link = true
		}
		if _, ok := way["ticket"]; ok {
			return rule{}
		}
	}
	text := func(name string) string {
		s, _ := op.Extensions[name].(string)
		return s
	}
	r.scope, r.role = domain.Scope(text(openapi.ExtScope)), domain.Role(text(openapi.ExtRole))
	r.submits = op.OperationID == "createJob" || op.OperationID == "rerunJob"
	r.sessionOnly, _ = op.Extensions[openapi.ExtSessionOnly].(bool)
	return r
}

// authenticate tells who asks and holds that against the document, so that no operation
// can forget to. What belongs to whom is the use cases' to check, and so is all of this
// once more.
func (s *server) authenticate(spec *openapi3.T) echo.MiddlewareFunc {
	rules := map[string]rule{}
	for key, route := range describedRoutes(spec) {
		rules[key] = ruleOf(spec, route.Operation)
	}
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			req := c.Request()
			method := req.Method
			if method == http.MethodHead {
				method = http.MethodGet
			}
			r := rules[method+" "+c.Path()]
			who, err := s.identify(c, r)
			if err := s.limit(c, r, who); err != nil {
				return err
			}
			if err != nil {
				return err
			}
			known := caller{who: who, client: identity.Client{Address: c.RealIP(), UserAgent: req.UserAgent()}, request: req}
			c.SetRequest(req.WithContext(context.WithValue(req.Context(), callerKey{}, known)))
			return next(c)
		}
	}
}

// limit counts a request of the API. One whose credential is none counts as its
// address's, so that credentials cannot be tried without end.
func (s *server) limit(c echo.Context, r rule, who domain.Actor) error {
	if !strings.HasPrefix(c.Path(), "/api/") {
		return nil
	}
	ctx, by := c.Request().Context(), "address:"+c.RealIP()
	if !who.User.IsZero() {
		by = "user:" + who.User.String()
	}
	if err := s.Settings.Requests.Use(ctx, s.Limiter, "api:"+by); err != nil || !r.submits || who.User.IsZero() {
		return err
	}
	return s.Settings.Submits.Use(ctx, s.Limiter, "jobs:"+by)
}

func (s *server) identify(c echo.Context, r rule) (domain.Actor, error) {
	if !r.bearer {
		return domain.Actor{}, nil
	}
	header := c.Request().Header.Get(echo.HeaderAuthorization)
	if link := c.QueryParam("link"); r.link && header == "" && link != "" {
		return s.readLink(link, c.Param("id"))
	}
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return domain.Actor{}, domain.Unauthenticated("sign in, or send a personal access token")
	}
	who, err := s.Identity.Authenticate(c.Request().Context(), token)
	if err != nil {
		return who, err
	}
	return who, r.allows(who)
}

func (r rule) allows(who domain.Actor) error {
	if r.sessionOnly && who.Scopes != nil {
		return domain.Forbidden("a personal access token cannot do this; sign in")
	}
	if r.scope != "" {
		if err := who.Allow(r.scope); err != nil {
			return err
		}
	}
	if r.role != "" && !who.Is(r.role) {
		return domain.Forbidden("this needs the role %s", r.role)
	}
	return nil
}
