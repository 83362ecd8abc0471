// Streams: nothing of a body is kept, in either direction, and an upgraded
// connection is passed through.

package sidecar

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

// resident is how much memory a process has, in bytes.
func resident(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Skip("no /proc here: ", err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// peak is the most memory that a process has while work is done.
func peak(t *testing.T, pid int, work func()) (most int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int64)
	go func() {
		var most int64
		for ctx.Err() == nil {
			most = max(most, resident(t, pid))
			time.Sleep(5 * time.Millisecond)
		}
		done <- most
	}()
	work()
	cancel()
	return <-done
}

// zeros is a body of any length that takes no memory.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestMemoryStaysFlatHoweverLongTheStream(t *testing.T) {
	t.Parallel()
	const size, warm, allowed = 64 << 20, 4 << 20, 32 << 20
	w := newWorld(t)
	s := w.add(vbr)
	w.start()
	download := func(size int64) {
		got, err := s.client.count(http.MethodGet, fmt.Sprintf("%s/download?size=%d", s.Server.Base(), size), nil, 0)
		if err != nil || got != size {
			t.Errorf("downloaded %d bytes of %d: %v", got, size, err)
		}
	}
	upload := func(size int64, length int64) {
		before := s.Server.Counters().Uploaded
		_, err := s.client.count(http.MethodPost, s.Server.Base()+"/upload", io.LimitReader(zeros{}, size), length)
		if got := s.Server.Counters().Uploaded - before; err != nil || got != size {
			t.Errorf("uploaded %d bytes of %d: %v", got, size, err)
		}
	}
	for what, stream := range map[string]func(size int64){
		"a download":          download,
		"an upload":           func(size int64) { upload(size, size) },
		"an upload in chunks": func(size int64) { upload(size, -1) },
	} {
		stream(warm)
		before := resident(t, w.Caddy.Pid())
		most := peak(t, w.Caddy.Pid(), func() { stream(size) })
		t.Logf("%s: from %d MiB to %d MiB", what, before>>20, most>>20)
		if most-before > allowed {
			t.Errorf("%s of %d MiB took %d MiB of memory", what, size>>20, (most-before)>>20)
		}
	}
}

// count sends a request and counts the bytes of the answer, which must be 200.
// length is what the request announces.
func (c *client) count(method, path string, body io.Reader, length int64) (int64, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, c.url(path), body)
	if err != nil {
		return 0, err
	}
	req.ContentLength = length
	res, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %d", res.StatusCode)
	}
	return io.Copy(io.Discard, res.Body)
}

func TestWhatTheServerFlushesArrivesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range products {
		w.add(p)
	}
	w.start()
	for _, s := range w.sites {
		// The second chunk comes in an hour, so nothing can wait for it.
		ctx, leave := context.WithTimeout(t.Context(), harness.Patience)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet,
			s.client.url(fmt.Sprintf("%s/stream?chunks=2&ms=%d", s.Server.Base(), time.Hour.Milliseconds())), nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := s.client.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(res.Body)
		if !lines.Scan() || lines.Text() != "data: chunk 0" {
			t.Errorf("%s: %q, %v", s.Name, lines.Text(), lines.Err())
		}
		leave()
		res.Body.Close()
	}
}

func TestAWebsocketIsPassedThroughAlsoAfterARevocation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, p := range formed { // those of Enterprise Manager could not be searched for sessions
		w.add(p)
	}
	w.start()
	for _, s := range w.sites {
		for round := range int64(2) {
			url := strings.Replace(s.client.url(s.Server.Base()+"/websocket"), "http:", "ws:", 1)
			conn, err := websocket.Dial(url, "", s.client.url(""))
			if err != nil {
				t.Fatalf("%s: %v", s.Name, err)
			}
			_ = conn.SetDeadline(time.Now().Add(harness.Patience))
			for _, message := range []string{"hello", strings.Repeat("long ", 20_000)} {
				var back string
				if err := websocket.Message.Send(conn, message); err != nil {
					t.Fatal(err)
				}
				if err := websocket.Message.Receive(conn, &back); err != nil || back != message {
					t.Errorf("%s: %d bytes came back of %d: %v", s.Name, len(back), len(message), err)
				}
			}
			_ = conn.Close()
			if c := s.Server.Counters(); c.Logins != round+1 {
				t.Errorf("%s: %d logins", s.Name, c.Logins)
			}
			s.Server.RevokeAll()
		}
	}
}

func TestHTTP2IsSpokenOnBothSides(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Global = "servers {\n\t\tprotocols h1 h2c\n\t}"
	for _, p := range formed {
		s := w.add(p)
		s.Options = "transport http {\n\t\t\texpect_continue_timeout 2m\n\t\t}" // however busy the machine is
		var protocols http.Protocols
		protocols.SetUnencryptedHTTP2(true)
		s.client.http.Transport.(*http.Transport).Protocols = &protocols
	}
	w.start()
	for _, s := range w.sites {
		mine := s.client.login(t)
		body := content(700 << 10)
		for range 2 {
			a := s.client.do(t, http.MethodPost, s.Server.Base()+"/echo", bytes.NewReader(body), bearer(mine.Access))
			a.want(t, http.StatusOK)
			var e echoed
			a.into(t, &e)
			if a.proto != "HTTP/2.0" || e.Proto != "HTTP/2.0" || e.SHA256 != sum(body) {
				t.Errorf("%s: the client spoke %s, the server %s: %+v", s.Name, a.proto, e.Proto, e)
			}
			s.Server.RevokeAll()
		}
		large := content(8 << 20)
		a := s.client.do(t, http.MethodPost, s.Server.Base()+"/upload", bytes.NewReader(large))
		a.want(t, http.StatusOK)
		var got veeamtest.Upload
		if a.into(t, &got); got.SHA256 != sum(large) {
			t.Errorf("%s: %+v", s.Name, got)
		}
		if c := s.Server.Counters(); c.Logins != 3 {
			t.Errorf("%s: %+v", s.Name, c)
		}
	}
}
