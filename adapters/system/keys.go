package system

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// KeySize is the length of each key, in bytes.
const KeySize = 32

// Keys is what the server keeps secret. Each key has one purpose; two that are equal
// are refused.
type Keys struct {
	TokenSeed    []byte // Ed25519 seed: access tokens
	ManifestSeed []byte // Ed25519 seed: manifests and commands to agents
	VaultKey     []byte // AES-256: renters' secrets in the database
	BlobKey      []byte // HMAC-SHA256: signed links of our own blob handler
}

// GivenKeys is keys as the configuration gives them, in base64; empty ones are not given.
type GivenKeys struct{ Token, Manifest, Vault, Blob string }

// secret is one key on its way from the configuration or its file.
type secret struct {
	variable, file string
	given          string
	key            *[]byte
}

// OpenKeys takes each key from the configuration, or from its file in the folder. A
// file that does not exist is made, readable by this user alone. Without a folder
// every key has to be given. Errors name what is wrong and never show a key.
func OpenKeys(folder string, given GivenKeys) (Keys, error) {
	var k Keys
	secrets := []secret{
		{"PEERGPU_TOKEN_KEY", "token.key", given.Token, &k.TokenSeed},
		{"PEERGPU_MANIFEST_KEY", "manifest.key", given.Manifest, &k.ManifestSeed},
		{"PEERGPU_VAULT_KEY", "vault.key", given.Vault, &k.VaultKey},
		{"PEERGPU_BLOB_KEY", "blob.key", given.Blob, &k.BlobKey},
	}
	var missing []string
	for _, s := range secrets {
		var err error
		switch {
		case s.given != "":
			if *s.key, err = decodeKey(s.given); err != nil {
				return Keys{}, fmt.Errorf("%s %w", s.variable, err)
			}
		case folder != "":
			if *s.key, err = openKeyFile(filepath.Join(folder, s.file)); err != nil {
				return Keys{}, err
			}
		default:
			missing = append(missing, s.variable)
		}
	}
	if len(missing) > 0 {
		return Keys{}, fmt.Errorf("%s: not set; make each with: openssl rand -base64 32", strings.Join(missing, ", "))
	}
	for i, s := range secrets {
		for _, other := range secrets[:i] {
			if bytes.Equal(*s.key, *other.key) {
				return Keys{}, fmt.Errorf("%s and %s are the same key; each needs its own", other.variable, s.variable)
			}
		}
	}
	return k, nil
}

// openKeyFile reads a key, and makes it first where there is none.
func openKeyFile(path string) ([]byte, error) {
	text, err := readKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKeyFile(path); err != nil {
			return nil, fmt.Errorf("the key file %s cannot be made: %w", path, err)
		}
		text, err = readKeyFile(path)
	}
	if err != nil {
		return nil, err
	}
	key, err := decodeKey(text)
	if err != nil {
		return nil, fmt.Errorf("the key file %s %w", path, err)
	}
	return key, nil
}

func readKeyFile(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("the key file %s is no regular file", path)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("the key file %s can be read by others (mode %04o): chmod 600 it, and replace the key if somebody else may have seen it",
			path, info.Mode().Perm())
	}
	if info.Size() > 1024 {
		return "", fmt.Errorf("the key file %s holds no key: it has %d bytes", path, info.Size())
	}
	text, err := os.ReadFile(path)
	return string(text), err
}

// makeKeyFile puts a new key in place whole: a server that is killed here leaves no
// half key, and of two that start at once one makes it.
func makeKeyFile(path string) error {
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(folder, ".new-*") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(newSecret()) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// decodeKey reads base64, standard or for URLs, padded or not, and refuses what is no
// random key. The error goes on behind the name of the key.
func decodeKey(text string) ([]byte, error) {
	text = strings.TrimRight(strings.TrimSpace(text), "=")
	text = strings.NewReplacer("-", "+", "_", "/").Replace(text)
	key, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("is no base64; make one with: openssl rand -base64 32")
	}
	if len(key) != KeySize {
		return nil, fmt.Errorf("has %d bytes, not %d; make one with: openssl rand -base64 32", len(key), KeySize)
	}
	if weak(key) {
		return nil, errors.New("is not random; make one with: openssl rand -base64 32")
	}
	return key, nil
}

// weak tells what people type from what a generator makes. 32 random bytes are all
// printable, or have fewer than 16 values, less than once in 10¹³ tries.
func weak(key []byte) bool {
	var seen [256]bool
	values, printable := 0, 0
	for _, b := range key {
		if !seen[b] {
			seen[b] = true
			values++
		}
		if b >= ' ' && b <= '~' {
			printable++
		}
	}
	ascending := true
	for i := 1; i < len(key); i++ {
		ascending = ascending && key[i] == key[i-1]+1
	}
	return values < KeySize/2 || printable == len(key) || ascending
}
