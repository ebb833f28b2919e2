package httpapi

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/peergpu/peergpu/application/hosts"
	"github.com/peergpu/peergpu/domain"
	domainhosts "github.com/peergpu/peergpu/domain/hosts"
	"github.com/peergpu/peergpu/openapi/api"
	"github.com/peergpu/peergpu/openapi/wire"
)

// minAgentVersion is the oldest agent that we understand.
const minAgentVersion = "0.1.0"

// CreateEnrollmentToken makes a one-time token that adds a host.
func (s *server) CreateEnrollmentToken(ctx context.Context, _ api.CreateEnrollmentTokenRequestObject) (api.CreateEnrollmentTokenResponseObject, error) {
	token, expires, err := s.Hosts.EnrollmentToken(ctx, actorOf(ctx))
	if err != nil {
		return nil, err
	}
	return api.CreateEnrollmentToken201JSONResponse{Token: token, ExpiresAt: expires, ExpiresInS: int64(hosts.EnrollmentTTL.Seconds())}, nil
}

// RegisterHost enrols a host that proves to hold its key.
func (s *server) RegisterHost(ctx context.Context, r api.RegisterHostRequestObject) (api.RegisterHostResponseObject, error) {
	b := r.Body
	key, err := base64.RawURLEncoding.DecodeString(b.PublicKey.X)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, &domain.Error{Kind: domain.KindInvalid, Code: "invalid_key", Detail: "the public key is no Ed25519 key",
			Fields: []domain.Field{{Pointer: "/public_key/x", Code: "invalid", Detail: "32 bytes, base64url without padding"}}}
	}
	proof, err := base64.RawURLEncoding.DecodeString(b.Proof)
	if err != nil || !ed25519.Verify(key, wire.EnrolPayload(b.EnrollmentToken, key), proof) {
		return nil, domain.Unauthenticated("the proof is no signature of the enrolment by this key")
	}
	h, err := s.Hosts.Register(ctx, hosts.Enrolment{
		Token: b.EnrollmentToken, PublicKey: key, Name: hostName(*b), Facts: domainhosts.Facts{
			AgentVersion: b.Host.AgentVersion, MachineID: b.Host.MachineID, OS: b.Host.Os, Arch: b.Host.Arch,
			CPUs: b.Host.CPUs, MemoryMB: b.Host.MemoryMB, DiskMB: b.Host.DiskMB,
		},
		GPUs: devicesOf(b.GPUs), Price: toMicros(b.PricePerGPUHourMicros), Tags: b.Tags, Region: b.Region,
	})
	if err != nil {
		return nil, err
	}
	keys, _, err := s.Manifests.KeySet()
	if err != nil {
		return nil, err
	}
	return api.RegisterHost201JSONResponse{
		HostID: h.ID.Prefixed("hst"), Keys: keys, ServerTime: s.Clock.Now(), MinAgentVersion: minAgentVersion,
	}, nil
}

// hostName is what the agent says, or the machine's own name as far as it fits.
func hostName(r api.HostRegistration) string {
	if r.Name != "" {
		return r.Name
	}
	name := []rune(r.Host.Hostname)
	return string(name[:min(len(name), 64)])
}

func devicesOf(gpus []api.GPU) []domainhosts.Device {
	var devices []domainhosts.Device
	for _, g := range gpus {
		if !g.MIG { // a partitioned GPU is not offered as a whole
			devices = append(devices, domainhosts.Device{UUID: g.UUID, Model: g.Model, VRAMMB: g.VRAMMB, Driver: g.Driver, CUDA: g.CUDA})
		}
	}
	return devices
}

// CreateAgentToken exchanges a host's assertion. Whose key has to have signed it is
// what it says itself; the use case then checks that.
func (s *server) CreateAgentToken(ctx context.Context, r api.CreateAgentTokenRequestObject) (api.CreateAgentTokenResponseObject, error) {
	host, ok := issuerOf(r.Body.ClientAssertion)
	if !ok {
		return nil, domain.Unauthenticated("the assertion is no JWT of a host")
	}
	token, err := s.Hosts.AgentToken(ctx, host, r.Body.ClientAssertion)
	if err != nil {
		return nil, err
	}
	return api.CreateAgentToken200JSONResponse{
		AccessToken: token, TokenType: "Bearer", ExpiresIn: int(hosts.AgentTokenTTL.Seconds()),
	}, nil
}

func issuerOf(assertion string) (domain.ID, bool) {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return domain.ID{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return domain.ID{}, false
	}
	id, err := parseID("hst", claims.Issuer)
	return id, err == nil
}

// GetAgentKeys shows the keys that sign manifests.
func (s *server) GetAgentKeys(context.Context, api.GetAgentKeysRequestObject) (api.GetAgentKeysResponseObject, error) {
	signed, _, err := s.Manifests.KeySet()
	if err != nil {
		return nil, err
	}
	return api.GetAgentKeys200JSONResponse{JWS: signed}, nil
}

// ListHosts lists the account's hosts.
func (s *server) ListHosts(ctx context.Context, r api.ListHostsRequestObject) (api.ListHostsResponseObject, error) {
	page, err := s.page("hosts", r.Params.After, r.Params.Limit)
	if err != nil {
		return nil, err
	}
	list, err := s.Hosts.List(ctx, asking(ctx, r.Params.Mine), page)
	if err != nil {
		return nil, err
	}
	list, next := cut(s, "hosts", list, r.Params.Limit, func(v hosts.View) domain.ID { return v.ID })
	refs, answer := s.userRefs(), api.ListHosts200JSONResponse{Items: []api.Host{}, Next: next}
	for _, v := range list {
		owner, err := refs.of(ctx, v.Owner)
		if err != nil {
			return nil, err
		}
		answer.Items = append(answer.Items, hostJSON(v, owner, s.Hosts.Settings().Currency))
	}
	return answer, nil
}

// GetHost shows a host to its owner.
func (s *server) GetHost(ctx context.Context, r api.GetHostRequestObject) (api.GetHostResponseObject, error) {
	id, err := parseID("hst", r.ID)
	if err != nil {
		return nil, err
	}
	v, err := s.Hosts.Get(ctx, actorOf(ctx), id)
	if err != nil {
		return nil, err
	}
	owner, err := s.userRefs().of(ctx, v.Owner)
	return api.GetHost200JSONResponse(hostJSON(v, owner, s.Hosts.Settings().Currency)), err
}

// UpdateHost changes a host and what its devices cost.
func (s *server) UpdateHost(ctx context.Context, r api.UpdateHostRequestObject) (api.UpdateHostResponseObject, error) {
	id, err := parseID("hst", r.ID)
	if err != nil {
		return nil, err
	}
	v, err := s.Hosts.Update(ctx, actorOf(ctx), id, hosts.Change{
		Details: domainhosts.Details{Name: r.Body.Name, Tags: r.Body.Tags, Region: r.Body.Region},
		Price:   toMicros(r.Body.PriceMicros), Listed: r.Body.Listed,
	})
	if err != nil {
		return nil, err
	}
	owner, err := s.userRefs().of(ctx, v.Owner)
	return api.UpdateHost200JSONResponse(hostJSON(v, owner, s.Hosts.Settings().Currency)), err
}

// UpdateDevice changes what one device costs.
func (s *server) UpdateDevice(ctx context.Context, r api.UpdateDeviceRequestObject) (api.UpdateDeviceResponseObject, error) {
	id, err := parseID("hst", r.ID)
	if err != nil {
		return nil, err
	}
	device, err := parseID("dev", r.Device)
	if err != nil {
		return nil, err
	}
	v, err := s.Hosts.UpdateDevice(ctx, actorOf(ctx), id, device, toMicros(r.Body.PriceMicros), r.Body.Listed)
	if err != nil {
		return nil, err
	}
	for _, d := range v.Devices {
		if d.ID == device {
			return api.UpdateDevice200JSONResponse(deviceJSON(v, d)), nil
		}
	}
	return nil, domain.NotFound("device")
}

// DeleteHost removes a host for good.
func (s *server) DeleteHost(ctx context.Context, r api.DeleteHostRequestObject) (api.DeleteHostResponseObject, error) {
	id, err := parseID("hst", r.ID)
	if err != nil {
		return nil, err
	}
	if err := s.Hosts.Retire(ctx, actorOf(ctx), id); err != nil {
		return nil, err
	}
	return api.DeleteHost204Response{}, nil
}
