// Answers that give out a session: none reaches a client, whatever the path.

package answer

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"go.uber.org/zap"

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
		first := make([]byte, 4<<10)
		n, err := watched.Read(first)
		if errors.Is(err, errTokenAnswer) {
			return x.refuseToken(res, "")
		}
		watched.first, watched.err = first[:n], err
	}
	return res, nil
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

	scan jsonNames
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

// jsonNames looks for names of tokens in JSON that comes in pieces. What is no JSON
// is not looked at. JSON that is not in UTF-8 counts as one that has such a name: it
// has zero bytes.
type jsonNames struct {
	state   uint8
	depth   int
	data    bool   // the object at depth 2 is that of "data"
	name    []byte // the string so far, as a name: letters in lower case, no others
	escaped uint8  // how much of an escape is to come; 6 stands for its first character
	value   rune   // of an escape \u
	last    bool   // the last string was "data"
}

// States of jsonNames.
const (
	namesBegin  = iota // nothing but blanks, zero bytes and a byte order mark so far
	namesOther         // outside of strings
	namesString        // in a string
	namesNone          // no object
)

// longestName is the longest string that may be a name of interest.
const longestName = 32

// find reports whether the piece has a name of a token.
func (j *jsonNames) find(piece []byte) bool {
	for _, c := range piece {
		switch {
		case j.state == namesNone:
			return false
		case j.state == namesBegin:
			switch c {
			case ' ', '\t', '\r', '\n', 0xef, 0xbb, 0xbf, 0xff, 0xfe, 0:
			case '{':
				j.state, j.depth = namesOther, 1
			default:
				j.state = namesNone
			}
		case c == 0:
			return true
		case j.state == namesString:
			j.inside(c)
		case j.outside(c):
			return true
		}
	}
	return false
}

func (j *jsonNames) outside(c byte) (found bool) {
	switch c {
	case '"':
		j.state, j.name, j.last = namesString, j.name[:0], false
	case ':':
		switch string(j.name) {
		case "accesstoken", "refreshtoken":
			return j.depth == 1 || j.depth == 2 && j.data
		case "data":
			j.last = j.depth == 1
		}
	case '{', '[':
		if j.depth++; j.depth == 2 {
			j.data = c == '{' && j.last
		}
	case '}', ']':
		j.depth--
	}
	return false
}

func (j *jsonNames) inside(c byte) {
	switch {
	case j.escaped == 6:
		if j.escaped = 0; c == 'u' {
			j.escaped, j.value = 4, 0
		}
	case j.escaped > 0:
		j.value = j.value<<4 | hexValue(c)
		if j.escaped--; j.escaped == 0 && j.value < 0x80 {
			j.letter(byte(j.value))
		}
	case c == '\\':
		j.escaped = 6
	case c == '"':
		j.state = namesOther
	default:
		j.letter(c)
	}
}

func (j *jsonNames) letter(c byte) {
	if c == '_' || c == '-' {
		return
	}
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	if len(j.name) < longestName {
		j.name = append(j.name, c)
	}
}

func hexValue(c byte) rune {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return rune(c|0x20-'a') + 10
	}
	return 0x80 // no letter of ASCII comes of it
}
