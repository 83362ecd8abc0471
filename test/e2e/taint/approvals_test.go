// Requests that operators approve, with secrets wherever a request has them.

package taint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
	"github.com/caddy-veeam/veeam-auth/internal/approval"
	"github.com/caddy-veeam/veeam-auth/internal/events"
	"github.com/caddy-veeam/veeam-auth/test/harness"
)

// approve has the requests of a site approved.
const approve = "\t\tallow operation read\n\t\tapprove operation run change destroy secret unknown\n\t\tapprovals {\n\t\t\tmax_waiting_per_client 50\n\t\t}\n"

// driveApprovals has a client ask for requests with secrets, and an operator look at them,
// approve and deny some. Others wait until the end: their bodies are stored.
func (s *scene) driveApprovals() {
	s.sites["approvals"] = s.approvals
	defer delete(s.sites, "approvals")
	tokenPath["approvals"] = tokenPath["vbr"]
	var answer struct {
		Access string `json:"access_token"`
	}
	text := s.form("approvals", url.Values{"grant_type": {"password"}, "username": {"grafana"}, "password": {s.client.text}})
	if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.Access == "" {
		s.t.Fatalf("approvals: no token: %s", text)
	}
	s.sent = append(s.sent, canary{"our access token", answer.Access})
	bearer := http.Header{"Authorization": {"Bearer " + answer.Access}}

	id := regexp.MustCompile(`apr_[a-z0-9]+`)
	ask := func(at, query string, header http.Header, body []byte) (approvalID string) {
		h := bearer.Clone()
		maps.Copy(h, header)
		text := s.do(http.MethodPost, s.approvals+base("vbr")+at+query, h, bytes.NewReader(body), true)
		if approvalID = id.FindString(text); approvalID == "" {
			s.t.Fatalf("approvals: %s", text)
		}
		return approvalID
	}
	jsonType := http.Header{"Content-Type": {"application/json"}}
	body := func(name string) []byte {
		text, _ := json.Marshal(map[string]any{"id": 1, "name": "job", "list": []any{map[string]any{name: s.canary(name + " of an approval")}}})
		return text
	}
	form := url.Values{"user": {"x"}, "password": {s.canary("password in a form")}}.Encode()
	var parts bytes.Buffer
	w := multipart.NewWriter(&parts)
	_ = w.WriteField("password", s.canary("password in a part"))
	_ = w.Close()
	long := append(body("password"), bytes.Repeat([]byte(" "), 20<<10)...)
	cut := append(bytes.Repeat([]byte(" "), 16<<10-60), body("password")...)
	waiting := []string{
		ask("/upload", "", jsonType, body("newPassword")),
		ask("/upload", "", http.Header{"Content-Type": {"text/plain"}}, body("privateKey")),
		ask("/upload", "", nil, body("token")),
		ask("/upload", "", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, []byte(form)),
		ask("/upload", "", http.Header{"Content-Type": {w.FormDataContentType()}}, parts.Bytes()),
		ask("/upload", "", jsonType, long),
		ask("/upload", "", jsonType, cut),
		ask("/upload", "?password="+url.QueryEscape(s.canary("password in a query"))+"&x=1", jsonType, nil),
		ask("/upload", "?access_token="+s.token("access token in a query"), jsonType, nil),
		ask("/credentials", "", http.Header{"Content-Type": {"application/json; token=" + s.token("token in a type")}}, body("password")),
	}
	kept := body("password")
	approved, denied := ask("/upload", "", jsonType, kept), ask("/upload", "?x=2", jsonType, body("password"))

	look := func() {
		s.operate(http.MethodGet, adminapi.ApprovalsPath, "")
		s.operate(http.MethodGet, "/veeam_auth/state", "")
		s.approvalsCommand("list")
		s.approvalsCommand("list", "--json", "--all")
		s.approvalsCommand("list", "--all")
	}
	look()
	listed := s.admin.String()
	for _, one := range append(waiting, approved, denied) {
		if n := strings.Count(listed, one); n < 4 {
			s.t.Errorf("%s is shown %d times", one, n)
		}
	}
	s.approvalsCommand("approve", approved)
	s.operate(http.MethodPost, adminapi.DenyPath, `{"id":"`+denied+`"}`)
	h := bearer.Clone()
	h.Set("Content-Type", "application/json")
	if text := s.do(http.MethodPost, s.approvals+base("vbr")+"/upload", h, bytes.NewReader(kept), true); !strings.Contains(text, `"length":`+fmt.Sprint(len(kept))) {
		s.t.Errorf("what was approved was not sent: %s", text)
	}
	if again := ask("/upload", "", jsonType, kept); again == approved {
		s.t.Error("an approval was used twice")
	}
	look()
	if harness.Binary == "" {
		harness.Eventually(s.t, string(events.ApprovalNeeded)+" has run a command for each", func() bool {
			raised, err := os.ReadFile(filepath.Join(s.Dir, "events"))
			return err == nil && strings.Count(string(raised), string(events.ApprovalNeeded)) >= len(waiting)+3
		})
	}
	stored := 0
	err := filepath.WalkDir(filepath.Join(s.Dir, "data", "caddy"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, approval.ListPath) {
			return err
		}
		text, err := os.ReadFile(path)
		stored = strings.Count(string(text), `"body":"`)
		return err
	})
	if err != nil || stored < len(waiting)-3 {
		s.t.Errorf("%d bodies are stored, %v", stored, err)
	}
}

// approvalsCommand runs a command of an operator, and takes down what it prints.
func (s *scene) approvalsCommand(args ...string) {
	cmd, err := harness.Command(s.Dir, nil, append([]string{"veeam-auth", "approvals", "--address", s.Caddy.Admin}, args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Errorf("approvals %v: %v: %s", args, err, out)
	}
	s.admin.Write(out)
}
