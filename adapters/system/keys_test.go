package system

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func given(t *testing.T) GivenKeys {
	t.Helper()
	text := func() string { return base64.StdEncoding.EncodeToString(newSecret()) }
	return GivenKeys{Token: text(), Manifest: text(), Vault: text(), Blob: text()}
}

func TestKeyFilesAreMadeOnceForThisUserAlone(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data", "keys")
	k, err := OpenKeys(folder, GivenKeys{})
	require.NoError(t, err)
	for _, key := range [][]byte{k.TokenSeed, k.ManifestSeed, k.VaultKey, k.BlobKey} {
		assert.Len(t, key, KeySize)
	}
	again, err := OpenKeys(folder, GivenKeys{})
	require.NoError(t, err)
	assert.Equal(t, k, again)

	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	assert.Len(t, entries, 4, "nothing else is left there")
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), e.Name())
	}
	info, err := os.Stat(folder)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

func TestServersThatStartAtOnceHaveTheSameKeys(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	var (
		wg   sync.WaitGroup
		keys [8]Keys
		errs [8]error
	)
	for i := range keys {
		wg.Go(func() { keys[i], errs[i] = OpenKeys(folder, GivenKeys{}) })
	}
	wg.Wait()
	for i := range keys {
		require.NoError(t, errs[i])
		assert.Equal(t, keys[0], keys[i])
	}
}

func TestGivenKeysWinOverFiles(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	g := given(t)
	k, err := OpenKeys(folder, g)
	require.NoError(t, err)
	assert.Equal(t, g.Vault, base64.StdEncoding.EncodeToString(k.VaultKey))
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestWithoutAFolderEveryMissingKeyIsNamed(t *testing.T) {
	t.Parallel()
	_, err := OpenKeys("", GivenKeys{Token: given(t).Token})
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "PEERGPU_TOKEN_KEY")
	for _, name := range []string{"PEERGPU_MANIFEST_KEY", "PEERGPU_VAULT_KEY", "PEERGPU_BLOB_KEY"} {
		assert.Contains(t, err.Error(), name)
	}
}

func TestAKeyThatIsShortTextOrNotRandomIsRefusedWithoutShowingIt(t *testing.T) {
	t.Parallel()
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	ascending := make([]byte, KeySize)
	for i := range ascending {
		ascending[i] = byte(i + 200)
	}
	for name, text := range map[string]string{
		"not base64": "change me please!", "16 bytes": b64("0123456789abcdef"), "33 bytes": b64(string(newSecret()) + "x"),
		"typed": b64("please-change-me-please-change-m"), "zeros": b64(string(make([]byte, 32))), "counted": b64(string(ascending)),
	} {
		g := given(t)
		g.Manifest = text
		_, err := OpenKeys("", g)
		require.Error(t, err, name)
		assert.Contains(t, err.Error(), "PEERGPU_MANIFEST_KEY")
		assert.NotContains(t, err.Error(), strings.TrimRight(text, "="))
	}
}

func TestOneKeyForTwoPurposesIsRefused(t *testing.T) {
	t.Parallel()
	g := given(t)
	g.Manifest = g.Token
	_, err := OpenKeys("", g)
	require.ErrorContains(t, err, "PEERGPU_TOKEN_KEY and PEERGPU_MANIFEST_KEY are the same key")
}

func TestEveryFormOfBase64IsRead(t *testing.T) {
	t.Parallel()
	key := newSecret()
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		got, err := decodeKey(" " + e.EncodeToString(key) + "\n")
		require.NoError(t, err)
		assert.Equal(t, key, got)
	}
}

func TestAKeyFileThatOthersCanReadOrThatHoldsNoKeyIsRefused(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	_, err := OpenKeys(folder, GivenKeys{})
	require.NoError(t, err)
	path := filepath.Join(folder, "vault.key")

	require.NoError(t, os.Chmod(path, 0o640))
	_, err = OpenKeys(folder, GivenKeys{})
	require.ErrorContains(t, err, "vault.key can be read by others (mode 0640)")

	require.NoError(t, os.Chmod(path, 0o600))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = OpenKeys(folder, GivenKeys{})
	require.ErrorContains(t, err, "vault.key has 0 bytes", "an empty file is not replaced: what it sealed would be lost")

	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Symlink(filepath.Join(folder, "token.key"), path))
	_, err = OpenKeys(folder, GivenKeys{})
	require.ErrorContains(t, err, "no regular file")
}
