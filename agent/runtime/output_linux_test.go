package runtime

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAJobMayPrintWhatBubblewrapWould(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"b", "bwrap: ", "bwrap: execvp x: gone\n", "bwrap: execvp x: gone\nand on\n", "bread\n", "",
	} {
		o, job, err := newOutput()
		require.NoError(t, err)
		for i := range text { // in as many pieces as there can be
			_, err := io.WriteString(job, text[i:i+1])
			require.NoError(t, err)
		}
		read := make(chan string)
		go func() {
			all, err := io.ReadAll(o)
			assert.NoError(t, err)
			read <- string(all)
		}()
		require.NoError(t, job.Close())
		o.end()
		assert.Equal(t, text, <-read)
		require.NoError(t, o.close())
	}
}

func TestOutputIsShownAsSoonAsItIsCertainlyTheJobs(t *testing.T) {
	t.Parallel()
	o, job, err := newOutput()
	require.NoError(t, err)
	t.Cleanup(func() { _ = job.Close(); _ = o.close() })
	for _, text := range []string{"bwrap: is", " what I run in\n", "next"} {
		_, err = io.WriteString(job, text)
		require.NoError(t, err)
	}
	got := make([]byte, len("bwrap: is what I run in\nnext"))
	_, err = io.ReadFull(o, got) // it would wait for the end, which does not come
	require.NoError(t, err)
	assert.Equal(t, "bwrap: is what I run in\nnext", string(got))
}
