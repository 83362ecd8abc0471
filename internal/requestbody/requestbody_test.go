package requestbody

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
)

func TestBuffersGrowWithWhatArrives(t *testing.T) {
	const limit = 1 << 20
	for _, size := range []int{0, 1, firstRead - 1, firstRead, firstRead + 1, 3 * firstRead, limit - 1, limit, limit + 1, 2 * limit} {
		text := bytes.Repeat([]byte("x"), size)
		for name, source := range map[string]io.Reader{
			"at once": bytes.NewReader(text), "by halves": iotest.HalfReader(bytes.NewReader(text)), "with its end": iotest.DataErrReader(bytes.NewReader(text)),
		} {
			for _, announced := range []int64{-1, 0, int64(size), 1 << 40} {
				got, err := readSome(source, limit, announced)
				if len(got) != min(size, limit) || size < limit && !errors.Is(err, io.EOF) || size > limit && err != nil {
					t.Errorf("%d %s, announced %d: %d %v", size, name, announced, len(got), err)
				}
				if most := max(firstRead, 2*size+2); cap(got) > most {
					t.Errorf("%d %s, announced %d: %d bytes of memory", size, name, announced, cap(got))
				}
				if s, ok := source.(*bytes.Reader); ok {
					s.Reset(text)
				} else {
					break // it can be read once
				}
			}
		}
	}
	broken := errors.New("broken")
	r := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(broken)))
	r.Header.Set("Content-Type", "application/json")
	body, cut := Peek(r, 100)
	rest, err := io.ReadAll(r.Body)
	if string(body) != "ab" || cut || string(rest) != "ab" || !errors.Is(err, broken) {
		t.Errorf("%q %v %q %v", body, cut, rest, err)
	}
}

// A client that waits for permission to send is let send what the log shows of it.
func TestABodyThatWaitsForPermissionIsReadIfItIsShort(t *testing.T) {
	for name, c := range map[string]struct {
		length int64
		want   string
	}{"short": {6, "{\"a\":1"}, "as long as the limit": {10, "{\"a\":1"}, "long": {11, ""}, "of unknown length": {-1, ""}} {
		r := httptest.NewRequest(http.MethodPost, "/x", strings.NewReader("{\"a\":1"))
		r.ContentLength = c.length
		r.Header.Set("Expect", "100-continue")
		r.Header.Set("Content-Type", "application/json")
		if body, cut := Peek(r, 10); string(body) != c.want || cut {
			t.Errorf("%s: %q, %t", name, body, cut)
		}
		if all, err := io.ReadAll(r.Body); err != nil || string(all) != "{\"a\":1" {
			t.Errorf("%s: %q, %v", name, all, err)
		}
	}
}

func TestABodyOverHTTP3ThatIsShorterThanAnnouncedDoesNotPassForTheWhole(t *testing.T) {
	for _, c := range []struct {
		major     int
		announced int64
		want      error
	}{{3, 2, nil}, {3, 3, io.ErrUnexpectedEOF}, {3, -1, nil}, {2, 3, nil}} { // net/http checks its own
		for name, source := range map[string]io.Reader{"with its end": iotest.DataErrReader(strings.NewReader("{}")), "by bytes": iotest.OneByteReader(strings.NewReader("{}"))} {
			r := httptest.NewRequest(http.MethodPost, "/", source)
			r.ProtoMajor, r.ContentLength = c.major, c.announced
			Exact(r)
			if got, err := io.ReadAll(r.Body); string(got) != "{}" || !errors.Is(err, c.want) {
				t.Errorf("%s, HTTP/%d, %d announced: %q, %v", name, c.major, c.announced, got, err)
			}
		}
	}
}
