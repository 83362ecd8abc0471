// Connections that the PROXY protocol is spoken on: their address is what a proxy
// says.

package access

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
)

// said are headers of the PROXY protocol, each of which names this machine or
// nobody.
func said(t *testing.T) map[string]string {
	t.Helper()
	loopback := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	headers := map[string]*proxyproto.Header{
		"version 1, IPv4": proxyproto.HeaderProxyFromAddrs(1, loopback, loopback),
		"version 1, IPv6": proxyproto.HeaderProxyFromAddrs(1, &net.TCPAddr{IP: net.IPv6loopback, Port: 1}, &net.TCPAddr{IP: net.IPv6loopback, Port: 2}),
		"version 2, IPv4": proxyproto.HeaderProxyFromAddrs(2, loopback, loopback),
		"version 2, unix": {
			Version: 2, Command: proxyproto.PROXY, TransportProtocol: proxyproto.UnixStream,
			SourceAddr: &net.UnixAddr{Net: "unix", Name: "/a"}, DestinationAddr: &net.UnixAddr{Net: "unix", Name: "/b"},
		},
		"version 2, LOCAL": {Version: 2, Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC},
	}
	texts := map[string]string{"version 1, UNKNOWN": "PROXY UNKNOWN\r\n", "nothing": ""}
	for name, h := range headers {
		text, err := h.Format()
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	return texts
}

func TestAnAddressOfThePROXYProtocolIsNotTheCallers(t *testing.T) {
	w := newWorld(t.TempDir())
	socket := filepath.Join(w.Dir, "p")
	w.Sites = []*site{{Name: "tcp"}, {Name: "unix", Address: "http://unix.localhost", Bind: "unix/" + socket}}
	w.Global = "# options of servers"
	if err := w.serve(); err != nil {
		t.Fatal(err)
	}
	defer w.stop()
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	ask := func(network, address, host, head string) (status int) {
		conn, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, head+"GET /api/v1/serverInfo HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	tcp := strings.TrimPrefix(w.client(t, "tcp").base, "http://")
	if status := ask("tcp", tcp, "localhost", ""); status != http.StatusOK {
		t.Fatalf("a local program: %d", status)
	}
	for _, policy := range []string{"allow 127.0.0.0/8", "fallback_policy ignore", "fallback_policy use"} {
		w.Global = fmt.Sprintf("servers {\n\t\tlistener_wrappers {\n\t\t\tproxy_protocol {\n\t\t\t\t%s\n\t\t\t}\n\t\t}\n\t}", policy)
		w.reload(t)
		before := w.servers["vbr"].Counters().Protected
		for name, head := range said(t) {
			if status := ask("tcp", tcp, "localhost", head); status != http.StatusUnauthorized {
				t.Errorf("%s, TCP, %s: %d", policy, name, status)
			}
			if status := ask("unix", socket, "unix.localhost", head); status != http.StatusUnauthorized {
				t.Errorf("%s, unix socket, %s: %d", policy, name, status)
			}
		}
		if after := w.servers["vbr"].Counters().Protected; after != before {
			t.Errorf("%s: %d requests were executed", policy, after-before)
		}
	}
	// Connections that are never asked for a header are those of local programs.
	w.Global = "servers {\n\t\tlistener_wrappers {\n\t\t\tproxy_protocol {\n\t\t\t\tallow 192.0.2.0/24\n\t\t\t\tfallback_policy skip\n\t\t\t}\n\t\t}\n\t}"
	w.reload(t)
	if status := ask("tcp", tcp, "localhost", ""); status != http.StatusOK {
		t.Errorf("a local program beside the proxy: %d", status)
	}
}

// A template of Caddy asks its own server with a loopback address, whoever asked for it.
func TestARequestOfATemplateIsNotThatOfALocalProgram(t *testing.T) {
	w := newWorld(t.TempDir(), &site{Name: "page", Before: "templates\n\trespond /page `{{httpInclude \"/api/v1/serverInfo\"}}`"})
	if err := w.serve(); err != nil {
		t.Fatal(err)
	}
	defer w.stop()
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/api/v1/serverInfo": http.StatusOK, "/page": http.StatusInternalServerError} {
		before := w.servers["vbr"].Counters().Protected
		res, err := http.Get(w.client(t, "page").base + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if executed := w.servers["vbr"].Counters().Protected - before; res.StatusCode != want || executed != 0 && want != http.StatusOK {
			t.Errorf("%s: status %d, executed %d times", path, res.StatusCode, executed)
		}
	}
}
