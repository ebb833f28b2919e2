package system

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/peergpu/peergpu/domain"
)

// The parameters of today: the second choice of OWASP's list, 19 MiB and some 40 ms.
const (
	argonMemory  = 19456 // KiB
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16 // bytes
	argonKey     = 32 // bytes
)

// What a stored hash may ask for. Its parameters are honoured, so a row that somebody
// tampered with could otherwise take all memory.
const (
	mostMemory  = 1 << 20 // KiB
	mostTime    = 64
	mostThreads = 16
)

// Passwords hashes with argon2id. Each hash takes 19 MiB, therefore at most two for
// each core run at once; the others wait their turn.
type Passwords struct{ turns chan struct{} }

// NewPasswords makes the hasher of this machine.
func NewPasswords() *Passwords {
	return &Passwords{turns: make(chan struct{}, 2*runtime.GOMAXPROCS(0))}
}

// Hash implements ports.Passwords.
func (p *Passwords) Hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, argonSalt)
	rand.Read(salt) // it never fails: the process would end
	h := phc{memory: argonMemory, time: argonTime, threads: argonThreads, salt: salt}
	key, err := p.derive(ctx, h, password, argonKey)
	if err != nil {
		return "", err
	}
	h.key = key
	return h.String(), nil
}

// Verify implements ports.Passwords.
func (p *Passwords) Verify(ctx context.Context, hash, password string) (ok, stale bool, err error) {
	h := nobody
	if hash != "" {
		if h, err = parsePHC(hash); err != nil {
			return false, false, err
		}
	}
	key, err := p.derive(ctx, h, password, len(h.key))
	if err != nil {
		return false, false, err
	}
	same := subtle.ConstantTimeCompare(key, h.key) == 1
	if hash == "" {
		return false, false, nil
	}
	return same, h.stale(), nil
}

func (p *Passwords) derive(ctx context.Context, h phc, password string, size int) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case p.turns <- struct{}{}:
		defer func() { <-p.turns }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return argon2.IDKey([]byte(password), h.salt, h.time, h.memory, h.threads, uint32(size)), nil // at most 64, see parsePHC
}

// nobody is what the password of an unknown account is held against. No password has
// this key, and none is accepted if one had.
var nobody = phc{
	memory: argonMemory, time: argonTime, threads: argonThreads,
	salt: make([]byte, argonSalt), key: make([]byte, argonKey),
}

// phc is a hash in the PHC string format,
// $argon2id$v=19$m=19456,t=2,p=1$salt$key in unpadded standard base64.
type phc struct {
	memory, time uint32
	threads      uint8
	salt, key    []byte
}

func (h phc) stale() bool {
	return h.memory < argonMemory || h.time < argonTime || len(h.salt) < argonSalt || len(h.key) < argonKey
}

// String writes the PHC form.
func (h phc) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.time, h.threads,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.key))
}

// parsePHC reads what String writes. The error does not show the hash.
func parsePHC(s string) (h phc, err error) {
	broken := domain.NewError(domain.KindInternal, "bad_password_hash", "a stored password hash cannot be read")
	part := strings.Split(s, "$")
	if len(part) != 6 || part[0] != "" || part[1] != "argon2id" || part[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return h, broken
	}
	if _, err := fmt.Sscanf(part[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &h.threads); err != nil {
		return h, broken
	}
	if h.salt, err = base64.RawStdEncoding.DecodeString(part[4]); err != nil {
		return h, broken
	}
	if h.key, err = base64.RawStdEncoding.DecodeString(part[5]); err != nil {
		return h, broken
	}
	// Writing it again finds what the reading was lenient about.
	sane := h.String() == s && h.memory <= mostMemory && h.time >= 1 && h.time <= mostTime &&
		h.threads >= 1 && h.threads <= mostThreads && len(h.salt) >= 8 && len(h.salt) <= 64 && len(h.key) >= 16 && len(h.key) <= 64
	if !sane {
		return h, broken
	}
	return h, nil
}
