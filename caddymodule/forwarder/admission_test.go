package forwarder

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var errRevoked = errors.New("revoked")

// admitted is a caller whose rights end at a moment.
type admitted struct {
	began, until time.Time
	asked        int
}

func (a *admitted) Began() time.Time { return a.began }

func (a *admitted) Ended() error {
	a.asked++
	if time.Now().Before(a.until) {
		return nil
	}
	return errRevoked
}

func admittedFor(d time.Duration) *admitted {
	return &admitted{began: time.Now(), until: time.Now().Add(d)}
}

func TestAnAnswerEndsWithTheRightsOfItsCaller(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(*Recorder, string) error{
		"written": func(r *Recorder, part string) error {
			_, err := io.WriteString(r, part)
			return err
		},
		"read from": func(r *Recorder, part string) error {
			_, err := r.ReadFrom(strings.NewReader(part))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				caller, w, r := admittedFor(time.Minute), httptest.NewRecorder(), new(Recorder)
				r.Record(w, 0, false, caller)
				want := ""
				for range 600 {
					if err := write(r, "x"); err != nil {
						t.Fatalf("%v after %d parts", err, len(want))
					}
					want += "x"
					time.Sleep(time.Second / 10)
				}
				if caller.asked < 58 || caller.asked > 61 {
					t.Errorf("asked %d times in a minute", caller.asked)
				}
				time.Sleep(askEvery)
				for range 2 {
					if err := write(r, "y"); !errors.Is(err, errRevoked) {
						t.Errorf("%v", err)
					}
				}
				if got := w.Body.String(); got != want {
					t.Errorf("%q", got)
				}
			})
		})
	}
}

func TestAShortAnswerAsksForNothing(t *testing.T) {
	t.Parallel()
	caller, w, r := admittedFor(0), httptest.NewRecorder(), new(Recorder)
	r.Record(w, 0, false, caller)
	if _, err := io.WriteString(r, "all"); err != nil || caller.asked > 0 || w.Body.String() != "all" {
		t.Error(err, caller.asked, w.Body)
	}
	w, r = httptest.NewRecorder(), new(Recorder)
	r.Record(w, 0, false, nil)
	for range 3 {
		if _, err := io.WriteString(r, "x"); err != nil {
			t.Error(err)
		}
	}
}

// hijackable is a response whose connection is a pipe.
type hijackable struct {
	http.ResponseWriter
	conn net.Conn
}

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.conn, nil, nil }

func TestAConnectionEndsWithTheRightsOfItsCaller(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(here, there net.Conn) error{
		"sent": func(here, _ net.Conn) error {
			_, err := here.Write([]byte("x"))
			return err
		},
		"received": func(here, there net.Conn) error {
			go func() { _, _ = there.Write([]byte("x")) }()
			n, err := here.Read(make([]byte, 10))
			if err != nil && n > 0 {
				return errors.New("something came")
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				inner, there := net.Pipe()
				defer there.Close()
				r := new(Recorder)
				r.Record(hijackable{httptest.NewRecorder(), inner}, 0, false, admittedFor(time.Minute))
				here, _, err := http.NewResponseController(r).Hijack()
				if err != nil {
					t.Fatal(err)
				}
				defer here.Close()
				if name == "sent" {
					go func() { _, _ = io.Copy(io.Discard, there) }()
				}
				for range 59 {
					if err := use(here, there); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Second)
				}
				time.Sleep(2 * askEvery)
				if err := use(here, there); !errors.Is(err, errRevoked) {
					t.Error(err)
				}
			})
		})
	}
}

func TestWhatIsNotHijackableIsNot(t *testing.T) {
	t.Parallel()
	r := new(Recorder)
	r.Record(httptest.NewRecorder(), 0, false, nil)
	if _, _, err := http.NewResponseController(r).Hijack(); !errors.Is(err, http.ErrNotSupported) {
		t.Error(err)
	}
}

func TestOneDirectionOfAConnectionIsClosed(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	there, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	here, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	c := &admittedConn{here, new(lasting)}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(there); err != nil || len(text) > 0 {
		t.Error(err, text)
	}
	if _, err := there.Write([]byte("still")); err != nil {
		t.Error(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, []byte("still")) {
		t.Error(err, got)
	}
	whole, other := net.Pipe() // without directions
	defer other.Close()
	if err := (&admittedConn{whole, new(lasting)}).CloseWrite(); err != nil {
		t.Error(err)
	}
	if _, err := whole.Write(nil); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

func TestWhatIsSentEndsWithTheRightsOfItsCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := new(Recorder)
		r.Record(httptest.NewRecorder(), 0, false, admittedFor(time.Minute))
		body := r.Admitted(io.NopCloser(strings.NewReader(strings.Repeat("x", 100))))
		for range 59 {
			if n, err := body.Read(make([]byte, 1)); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(2 * askEvery)
		if n, err := body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, errRevoked) {
			t.Error(n, err)
		}
	})
}

func TestTheFirstPartOfALateAnswerIsAskedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for wait, want := range map[time.Duration]error{askEvery / 2: nil, 2 * time.Minute: errRevoked} {
			w, r := httptest.NewRecorder(), new(Recorder)
			r.Record(w, 0, false, admittedFor(time.Minute))
			r.WriteHeader(http.StatusOK)
			time.Sleep(wait)
			if _, err := io.WriteString(r, "late"); !errors.Is(err, want) || want != nil && w.Body.Len() > 0 {
				t.Errorf("after %v: %v, %q", wait, err, w.Body)
			}
		}
	})
}
