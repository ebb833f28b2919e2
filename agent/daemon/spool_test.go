package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestASpoolTellsWhatTheDiskDidNotTake(t *testing.T) {
	t.Parallel()
	s, err := newSpool(filepath.Join(t.TempDir(), "log"), SystemClock{}, 0, 0, func() {})
	require.NoError(t, err)
	defer s.close()
	_, err = s.Write([]byte("kept\n"))
	require.NoError(t, err)
	good := s.file
	s.file, err = os.OpenFile("/dev/full", os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = s.Write([]byte("lost\n"))
	require.Error(t, err)
	require.NoError(t, s.file.Close())
	s.file = good // there is room again
	require.NoError(t, s.finish())
	text, err := os.ReadFile(good.Name())
	require.NoError(t, err)
	assert.Equal(t, "kept\n[truncated 5 bytes]\n", string(text))
	assert.EqualValues(t, 5, s.summary().TruncatedBytes)
	assert.EqualValues(t, len(text), s.summary().Bytes)
}
