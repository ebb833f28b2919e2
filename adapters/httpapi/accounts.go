package httpapi

import (
	"context"
	"net/http"

	"github.com/peergpu/peergpu/application/identity"
	"github.com/peergpu/peergpu/domain"
	domainidentity "github.com/peergpu/peergpu/domain/identity"
	"github.com/peergpu/peergpu/openapi/api"
)

// GetAuthProviders shows how one can sign in.
func (s *server) GetAuthProviders(context.Context, api.GetAuthProvidersRequestObject) (api.GetAuthProvidersResponseObject, error) {
	ways := api.GetAuthProviders200JSONResponse{Password: true, SignUp: api.SignUpOpen, Oauth: []api.OAuthProvider{}}
	if s.Settings.Demo != nil {
		ways.Demo = *s.Settings.Demo
	}
	return ways, nil
}

// Register opens an account.
func (s *server) Register(ctx context.Context, r api.RegisterRequestObject) (api.RegisterResponseObject, error) {
	u, err := s.Identity.Register(ctx, callerOf(ctx).client, identity.SignUp{
		Email: r.Body.Email, Password: r.Body.Password, Name: r.Body.Name, AcceptedTerms: r.Body.AcceptedTerms,
	})
	if err != nil {
		return nil, err
	}
	return api.Register201JSONResponse(userJSON(u)), nil
}

// Login starts a session.
func (s *server) Login(ctx context.Context, r api.LoginRequestObject) (api.LoginResponseObject, error) {
	in, err := s.Identity.Login(ctx, callerOf(ctx).client, r.Body.Email, r.Body.Password)
	if err != nil {
		return nil, err
	}
	return api.Login200JSONResponse{Body: sessionJSON(in), Headers: api.Login200ResponseHeaders{SetCookie: s.refreshCookie(in.Refresh)}}, nil
}

// RefreshSession exchanges the refresh cookie.
func (s *server) RefreshSession(ctx context.Context, _ api.RefreshSessionRequestObject) (api.RefreshSessionResponseObject, error) {
	token, err := s.presented(ctx)
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, domain.Unauthenticated("there is no session here; sign in")
	}
	in, err := s.Identity.Refresh(ctx, token)
	if err != nil {
		return nil, err
	}
	return refreshed{s: s, in: in}, nil
}

// refreshed is the answer of a refresh. When another tab was faster, the browser has
// the newer cookie already and must keep it.
type refreshed struct {
	s  *server
	in identity.SignedIn
}

func (a refreshed) VisitRefreshSessionResponse(w http.ResponseWriter) error {
	answer := api.RefreshSession200JSONResponse{Body: sessionJSON(a.in)}
	if a.in.Refresh == "" {
		return writeJSON(w, http.StatusOK, answer.Body)
	}
	answer.Headers.SetCookie = a.s.refreshCookie(a.in.Refresh)
	return answer.VisitRefreshSessionResponse(w)
}

// Logout ends the session of the refresh cookie.
func (s *server) Logout(ctx context.Context, _ api.LogoutRequestObject) (api.LogoutResponseObject, error) {
	token, err := s.presented(ctx)
	if err != nil {
		return nil, err
	}
	if token != "" {
		if err := s.Identity.Logout(ctx, token); err != nil {
			return nil, err
		}
	}
	return api.Logout204Response{Headers: api.Logout204ResponseHeaders{SetCookie: s.refreshCookie("")}}, nil
}

// GetMe shows the account.
func (s *server) GetMe(ctx context.Context, _ api.GetMeRequestObject) (api.GetMeResponseObject, error) {
	u, err := s.Identity.Me(ctx, actorOf(ctx))
	if err != nil {
		return nil, err
	}
	return api.GetMe200JSONResponse(userJSON(u)), nil
}

// UpdateMe changes the account.
func (s *server) UpdateMe(ctx context.Context, r api.UpdateMeRequestObject) (api.UpdateMeResponseObject, error) {
	var u domainidentity.Snapshot
	var err error
	if r.Body.Name != nil {
		u, err = s.Identity.Rename(ctx, actorOf(ctx), *r.Body.Name)
	} else {
		u, err = s.Users.Get(ctx, actorOf(ctx).User)
	}
	if err != nil {
		return nil, err
	}
	return api.UpdateMe200JSONResponse(userJSON(u)), nil
}

// ListTokens lists personal access tokens.
func (s *server) ListTokens(ctx context.Context, r api.ListTokensRequestObject) (api.ListTokensResponseObject, error) {
	page, err := s.page("tokens", r.Params.After, r.Params.Limit)
	if err != nil {
		return nil, err
	}
	all, err := s.Identity.ListTokens(ctx, actorOf(ctx))
	if err != nil {
		return nil, err
	}
	var list []domainidentity.APIToken
	for _, t := range all {
		if compareIDs(t.ID, page.After) > 0 && len(list) < page.Limit {
			list = append(list, t)
		}
	}
	list, next := cut(s, "tokens", list, r.Params.Limit, func(t domainidentity.APIToken) domain.ID { return t.ID })
	return api.ListTokens200JSONResponse{Items: mapped(list, tokenJSON), Next: next}, nil
}

// CreateToken makes a personal access token and shows it, this once.
func (s *server) CreateToken(ctx context.Context, r api.CreateTokenRequestObject) (api.CreateTokenResponseObject, error) {
	in := identity.NewToken{Name: r.Body.Name, Expires: r.Body.ExpiresAt}
	for _, scope := range r.Body.Scopes {
		in.Scopes = append(in.Scopes, domain.Scope(scope))
	}
	t, secret, err := s.Identity.CreateToken(ctx, actorOf(ctx), in)
	if err != nil {
		return nil, err
	}
	shown := tokenJSON(t)
	return api.CreateToken201JSONResponse{
		ID: shown.ID, Name: shown.Name, Prefix: shown.Prefix, Scopes: shown.Scopes,
		CreatedAt: shown.CreatedAt, ExpiresAt: shown.ExpiresAt, Token: secret,
	}, nil
}

// DeleteToken revokes a token.
func (s *server) DeleteToken(ctx context.Context, r api.DeleteTokenRequestObject) (api.DeleteTokenResponseObject, error) {
	id, err := parseID("tok", r.ID)
	if err != nil {
		return nil, err
	}
	if err := s.Identity.RevokeToken(ctx, actorOf(ctx), id); err != nil {
		return nil, err
	}
	return api.DeleteToken204Response{}, nil
}

// CreateWSTicket makes a permission to open one WebSocket.
func (s *server) CreateWSTicket(ctx context.Context, r api.CreateWSTicketRequestObject) (api.CreateWSTicketResponseObject, error) {
	who := actorOf(ctx)
	// The resource is what the gateway redeems the ticket for.
	resource, protocol := string(r.Body.Resource), "v1.me"
	if r.Body.JobID != "" {
		id, err := parseID("job", r.Body.JobID)
		if err != nil {
			return nil, err
		}
		if _, err := s.Jobs.Get(ctx, who, id); err != nil {
			return nil, err
		}
		resource, protocol = "job:"+id.String(), "v1.job"
	}
	ticket, err := s.Identity.Ticket(ctx, who, resource)
	if err != nil {
		return nil, err
	}
	return api.CreateWSTicket201JSONResponse{
		Ticket: ticket, Protocols: []string{protocol, "ticket." + ticket}, ExpiresAt: s.Clock.Now().Add(identity.TicketTTL),
	}, nil
}
