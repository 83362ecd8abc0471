// Answers that give out a session: none reaches a client, whatever the path.

package answer

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/jsonscan"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

var errTokenAnswer = errors.New("the answer contains an access token of the server, or JSON that is not UTF-8")

// withoutToken refuses an answer that begins with an access token, and watches what
// follows while it passes. Nothing is kept: the beginning is what the first read
// yields.
func (x *Exchange) withoutToken(res *http.Response) (*http.Response, *veeam.Refusal) {
	if !x.Tokens || x.bodyless(res) {
		return res, nil
	}
	if coding, ok := codingOf(res.Header); !ok || coding != "" || partial(res) {
		if x.Filter {
			return res, nil // refused as one that cannot be searched for anything
		}
		return x.refuseToken(res, "it is compressed or partial, which was not requested, so it cannot be searched for a token")
	}
	likely := tokenLike(res.Header.Get("Content-Type"))
	watched := &tokenWatch{ReadCloser: res.Body, log: x.Log, method: x.Method, path: x.Path}
	res.Body = watched
	if likely {
		first := make([]byte, firstRead(res.ContentLength))
		n, err := watched.Read(first)
		if errors.Is(err, errTokenAnswer) {
			return x.refuseToken(res, "")
		}
		watched.first, watched.err = first[:n], err
	}
	return res, nil
}

// firstRead is how much is read of an answer before any of it is passed on. A short one of
// known length gets no more memory than it has.
func firstRead(length int64) int64 {
	const most = 4 << 10
	if length <= 0 {
		return most
	}
	return min(length, most)
}

// tokenLike reports whether an answer of this type is likely to be a token answer, and
// comes at once.
func tokenLike(contentType string) bool {
	kind, _, _ := strings.Cut(strings.ToLower(contentType), ";")
	kind = strings.TrimSpace(kind)
	return kind == "" || kind == "text/plain" || strings.HasSuffix(kind, "json")
}

func logToken(log *zap.Logger, method, path, why string) {
	log.Error("answer not forwarded: "+why, zap.String("method", method), zap.String("path", path))
}

func (x *Exchange) refuseToken(res *http.Response, why string) (*http.Response, *veeam.Refusal) {
	if why != "" {
		logToken(x.Log, x.Method, x.Path, why)
	}
	return x.refuse(res, veeam.Refusal{Reason: veeam.ReasonUnreadableAnswer, Message: "The server's answer contains a session and is not forwarded. See the log of veeam-auth."})
}

// tokenWatch fails where an object of JSON has an access token at its top level, or
// below "data", where older servers have it. It looks at names only, and passes on
// nothing of the read in which it finds one.
type tokenWatch struct {
	io.ReadCloser
	log          *zap.Logger
	method, path string // for the log

	first []byte // read already
	err   error  // that came with it

	scan tokenNames
}

func (w *tokenWatch) Read(p []byte) (n int, err error) {
	if len(w.first) > 0 {
		n = copy(p, w.first)
		w.first = w.first[n:]
		return n, nil
	}
	if w.err != nil {
		return 0, w.err
	}
	n, err = w.ReadCloser.Read(p)
	if w.scan.find(p[:n]) {
		logToken(w.log, w.method, w.path, errTokenAnswer.Error())
		w.err = errTokenAnswer
		return 0, w.err
	}
	if err != nil {
		w.err = err
	}
	return n, err
}

// tokenNames looks for names of tokens in JSON that comes in pieces. What does not begin
// as an object is not looked at. An object with zero bytes counts as one that has such a
// name: it is not in UTF-8.
type tokenNames struct {
	state namesState
	scan  jsonscan.Scanner
	key   bool   // a key is open
	data  bool   // the object at depth 2 is that of "data"
	name  []byte // the last letters of the key, in lower case: no longer than longestName
	over  bool   // there were more
	slash bool   // the text goes on with what is behind a backslash
}

type namesState uint8

// States of tokenNames.
const (
	namesBegin namesState = iota // nothing but blanks, zero bytes and a byte order mark so far
	namesJSON
	namesText // began as JSON and is none: some readers accept that
	namesNone // no object
)

// The names of interest as letter spells them.
const (
	accessToken  = "accesstoken"
	refreshToken = "refreshtoken"
	longestName  = len(refreshToken)
)

// find reports whether the piece has a name of a token.
func (t *tokenNames) find(piece []byte) bool {
	i := 0
	for ; t.state == namesBegin && i < len(piece); i++ {
		switch piece[i] {
		case ' ', '\t', '\r', '\n', 0xef, 0xbb, 0xbf, 0xff, 0xfe, 0:
			continue
		case '{':
			t.state = namesJSON
			i-- // the scanner reads it
		default:
			t.state = namesNone
		}
	}
	switch {
	case t.state == namesNone || i == len(piece):
		return false
	case bytes.IndexByte(piece[i:], 0) >= 0:
		return true
	}
	if t.state == namesJSON {
		found, next := t.inJSON(piece, i)
		if found {
			return true
		}
		i = next
	}
	for ; i < len(piece); i++ {
		if t.inText(piece[i]) {
			return true
		}
	}
	return false
}

// inJSON goes to the end of the piece, or to where it is no JSON.
func (t *tokenNames) inJSON(piece []byte, i int) (found bool, next int) {
	for i < len(piece) {
		if t.key && !t.scan.InEscape() && !jsonscan.Stops[piece[i]] {
			t.letter(piece[i])
			i++
			continue
		}
		var event jsonscan.Event
		var end int
		if t.key {
			event, end = t.scan.Inside(piece, i)
		} else {
			event, end = t.scan.Next(piece, i)
		}
		depth := t.scan.Depth()
		switch event {
		case jsonscan.Key:
			t.name, t.over = t.name[:0], false
			if t.key = !t.scan.Whole; t.key {
				break
			}
			if name := piece[t.scan.Start+1 : end-1]; depth == 1 || len(name) >= len(accessToken) {
				for _, c := range name {
					t.letter(c)
				}
				if t.named() && (depth == 1 || depth == 2 && t.data) {
					return true, end
				}
			}
		case jsonscan.Escape:
			if raw, r := t.scan.Escape(); raw[1] == 'u' && r < 0x80 {
				t.letter(byte(r))
			}
		case jsonscan.End:
			if t.key && t.named() && (depth == 1 || depth == 2 && t.data) {
				return true, end
			}
			t.key = false
		case jsonscan.Object, jsonscan.Array:
			if depth == 2 {
				t.data = event == jsonscan.Object && !t.over && string(t.name) == "data"
			}
		case jsonscan.Broken:
			if t.scan.Complete() { // another document follows
				t.scan.Reset()
				continue
			}
			// What the scanner took for the key or the value before may have been a name.
			found = t.named() || piece[end] == ':' || t.scan.InEscape()
			t.state, t.name = namesText, t.name[:0]
			return found, end
		}
		i = end
	}
	return false, i
}

// inText reads a byte where it is not known what is a key: every word counts, and what
// is escaped by its number is taken for a name.
func (t *tokenNames) inText(c byte) (found bool) {
	switch {
	case t.slash:
		t.slash = false
		return c == 'u'
	case c == '\\':
		t.slash = true
	case c == '_' || c == '-' || 'a' <= c|0x20 && c|0x20 <= 'z':
		t.letter(c)
	default:
		found = bytes.HasSuffix(t.name, []byte(accessToken)) || bytes.HasSuffix(t.name, []byte(refreshToken))
		t.name = t.name[:0]
	}
	return found
}

// letter adds a character to the name. Case, underscores and hyphens make no difference.
func (t *tokenNames) letter(c byte) {
	if c == '_' || c == '-' {
		return
	}
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	if len(t.name) == longestName {
		copy(t.name, t.name[1:])
		t.name, t.over = t.name[:longestName-1], true
	}
	t.name = append(t.name, c)
}

// named reports whether the whole name is that of a token.
func (t *tokenNames) named() bool {
	return !t.over && (string(t.name) == accessToken || string(t.name) == refreshToken)
}
