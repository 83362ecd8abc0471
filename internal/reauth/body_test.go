package reauth

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"pgregory.net/rapid"
)

// Another attempt gets the whole body if no more than the limit was read before it, and an
// error, never a part of the body, if more was.
func TestAnotherAttemptGetsTheWholeBodyOrAnError(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "body")
		limit := rapid.IntRange(0, 200).Draw(t, "limit")
		read := rapid.IntRange(0, len(text)).Draw(t, "read before")
		body := newReplayBody(bytes.NewReader(text), int64(limit))
		first := body.attempt()
		if _, err := io.ReadFull(first, make([]byte, read)); err != nil {
			t.Fatal(err)
		}
		if body.replayable() != (read <= limit) {
			t.Fatalf("replayable: %t after %d bytes, limit %d", body.replayable(), read, limit)
		}
		again := body.attempt()
		if _, err := first.Read(make([]byte, 1)); !errors.Is(err, errSuperseded) {
			t.Fatalf("the first attempt reads on: %v", err)
		}
		got, err := io.ReadAll(again)
		switch {
		case read <= limit && (err != nil || !bytes.Equal(got, text)):
			t.Fatalf("%q, %v, want %q", got, err, text)
		case read > limit && (!errors.Is(err, errNotKept) || len(got) > 0):
			t.Fatalf("%q, %v of a body that is not kept", got, err)
		}
	})
}
