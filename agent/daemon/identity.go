package daemon

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/peergpu/peergpu/openapi/wire"
)

// ErrNotEnrolled is a state folder without an identity.
var ErrNotEnrolled = errors.New("this host is not enrolled yet: run peergpu-agent enroll")

// Identity is who this host is: the name that the server gave it, the key that was made
// here and never leaves, and the server's keys as pinned at enrolment.
type Identity struct {
	HostID string
	Server string // URL at which it enrolled, for people
	key    ed25519.PrivateKey
	keys   string // the pinned key set, as signed
}

// identityFile is identity.json. It holds nothing secret.
type identityFile struct {
	HostID string `json:"host_id"`
	Server string `json:"server"`
	Keys   string `json:"keys"`
}

// The files of an identity in the state folder.
const (
	keyFile      = "key.pem"
	identityName = "identity.json"
)

// LoadIdentity reads the identity of a state folder, or answers ErrNotEnrolled.
func LoadIdentity(dir string) (*Identity, error) {
	data, err := os.ReadFile(filepath.Join(dir, identityName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotEnrolled
	}
	if err != nil {
		return nil, err
	}
	var f identityFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", identityName, err)
	}
	key, err := loadKey(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	return &Identity{HostID: f.HostID, Server: f.Server, key: key, keys: f.Keys}, nil
}

// save writes everything but the key, which is written once, when it is made.
func (i *Identity) save(dir string) error {
	data, err := json.MarshalIndent(identityFile{HostID: i.HostID, Server: i.Server, Keys: i.keys}, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, identityName), append(data, '\n'))
}

// Thumbprint is the name of the host's public key.
func (i *Identity) Thumbprint() string { return wire.Thumbprint(i.key.Public().(ed25519.PublicKey)) }

// Sign signs a payload with the host's key.
func (i *Identity) Sign(payload []byte) []byte { return ed25519.Sign(i.key, payload) }

// Assertion is a private_key_jwt (RFC 7523), good for a minute of the server's clock.
func (i *Identity) Assertion(now time.Time) (string, error) {
	claims := wire.AssertionClaims{
		Iss: i.HostID, Sub: i.HostID, Aud: wire.AssertionAudience, JTI: rand.Text(),
		Iat: now.Unix(), Exp: now.Add(time.Minute).Unix(),
	}
	payload, err := wire.MarshalClaims(&claims)
	if err != nil {
		return "", err
	}
	options := (&jose.SignerOptions{}).WithType(wire.TypAssertion)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: i.key, KeyID: i.Thumbprint()}}, options)
	if err != nil {
		return "", err
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

// Enrolment is what an owner says when enrolling a host.
type Enrolment struct {
	Token       string // pgpu_enr_…, used up
	Server      string // URL, kept for people
	Name        string // as listed; "": the hostname
	HourlyPrice *int64 // per GPU, millionths; nil: not listed yet
	Tags        []string
	Region      string
	Version     string // of the agent
	Again       bool   // replace an identity that the folder has already
}

// Enrol makes this host's key, if the folder has none, and registers it. Nothing is
// kept of the token. One that fails leaves an identity that there was as it is.
func Enrol(ctx context.Context, dir string, p Ports, e Enrolment) (*Identity, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if old, err := LoadIdentity(dir); err == nil && !e.Again {
		return nil, fmt.Errorf("this folder belongs to host %s already; enrol in another folder, or again with --force", old.HostID)
	}
	key, err := makeKey(filepath.Join(dir, keyFile), e.Again)
	if err != nil {
		return nil, err
	}
	gpus, err := p.GPUs.Probe(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for GPUs: %w", err)
	}
	public := key.Public().(ed25519.PublicKey)
	answer, err := p.Server.Register(ctx, wire.Registration{
		EnrollmentToken: e.Token, PublicKey: wire.PublicKeyOf(public),
		Proof: base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, wire.EnrolPayload(e.Token, public))),
		Name:  e.Name, Host: hostFacts(dir, e.Version, Policy{}), GPUs: wireGPUs(gpus),
		PricePerGPUHourMicros: e.HourlyPrice, Tags: e.Tags, Region: e.Region,
	})
	if err != nil {
		return nil, err
	}
	if _, err := pin(answer.Keys); err != nil {
		return nil, err
	}
	if e.Again {
		if err := writeKey(filepath.Join(dir, keyFile), key); err != nil {
			return nil, err
		}
	}
	id := &Identity{HostID: answer.HostID, Server: e.Server, key: key, keys: answer.Keys}
	return id, id.save(dir)
}

// makeKey makes the host's key, or takes the one that an enrolment that failed left. A
// fresh one is written when the server has it, because it takes the place of another.
func makeKey(path string, fresh bool) (ed25519.PrivateKey, error) {
	if !fresh {
		if key, err := loadKey(path); !errors.Is(err, os.ErrNotExist) {
			return key, err
		}
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil || fresh {
		return key, err
	}
	return key, writeKey(path, key)
}

// writeKey stores the key for its owner alone.
func writeKey(path string, key ed25519.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// ErrExposedKey is a key file that more than its owner may read.
var ErrExposedKey = errors.New("others can read the host's key")

// loadKey reads the key, and refuses one that others on the machine can read.
func loadKey(path string) (ed25519.PrivateKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: chmod 600 %s", ErrExposedKey, path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM file", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s is no Ed25519 key", path)
	}
	return key, nil
}
