// Sessions of clients of Enterprise Manager: an id that is valid here only, in the
// server's documents and by the site's own address.

package logon

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/caddy-veeam/veeam-auth/internal/answer"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// Idle is the time after which an unused session ends, as at the server.
const Idle = 15 * time.Minute

// header carries a session, and is the name of the cookie that does.
const header = "X-RestSvcSessionId"

// camelNote is what is noted about a session at a server that spells names of JSON as
// Enterprise Manager 13 does.
const camelNote = "camel"

// sessions is the endpoint of a product whose clients log in by Basic.
type sessions struct {
	product *veeam.Product
	issuer  *issuer.Issuer
}

func (s sessions) Issue(ctx context.Context, sub issuer.Subject, audience string, _ time.Duration, shape *veeam.Shape) (issuer.Pair, error) {
	note := ""
	if shape.Camel() {
		note = camelNote
	}
	return s.issuer.IssueSession(ctx, sub, audience, note, Idle)
}

func (s sessions) Answer(r *http.Request, pair issuer.Pair, login Login) *http.Response {
	d := document{format: veeam.FormatOf(r.Header, login.Shape.Camel()), site: login.Site, user: login.User, session: idOf(pair.Access)}
	res := answer.New(r, http.StatusCreated, d.format.ContentType(), d.one(true))
	res.Header[header] = []string{pair.Access}
	res.Header["Set-Cookie"] = []string{header + "=" + pair.Access + "; Path=/api; HttpOnly; SameSite=Strict"}
	res.Header["Location"] = []string{d.href()}
	return res
}

// Here knows the session that is presented, and no other.
func (s sessions) Here(r *http.Request, q Question) *http.Response {
	session := idOf(q.Presented)
	d := document{
		format: veeam.FormatOf(r.Header, s.issuer.SessionNote(q.Presented) == camelNote),
		site:   q.Site, user: q.Caller.Name, session: session,
	}
	at := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	own := len(at) == 3 && session != "" && strings.EqualFold(at[2], session)
	switch {
	case q.Method == http.MethodDelete && own:
		s.issuer.EndSession(r.Context(), q.Presented)
		return answer.New(r, http.StatusNoContent, "", nil)
	case q.Method == http.MethodDelete, len(at) == 3 && !own:
		return answer.Refuse(s.product, r, veeam.Refusal{
			Status: http.StatusNotFound, Reason: veeam.ReasonBadRequest, Message: "There is no such session.", Format: d.format,
		}, nil)
	case own:
		return answer.New(r, http.StatusOK, d.format.ContentType(), d.one(true))
	}
	return answer.New(r, http.StatusOK, d.format.ContentType(), d.list())
}

// idOf is the id of a session, empty if there is none.
func idOf(presented string) string {
	id, err := base64.StdEncoding.DecodeString(presented)
	if err != nil || uuid.Validate(string(id)) != nil {
		return ""
	}
	return string(id)
}

// collections are what clients that navigate by links find from a session: the
// documented collections of the top level, with the type of their documents where that
// is known.
var collections = [...][2]string{
	{"agents", ""},
	{"backupFiles", ""},
	{"backupServers", "BackupServerReferenceList"},
	{"backupSessions", ""},
	{"backupTaskSessions", ""},
	{"backups", ""},
	{"failoverPlans", ""},
	{"hierarchyRoots", ""},
	{"jobs", "JobReferenceList"},
	{"lookupSvc", ""},
	{"managedServers", ""},
	{"querySvc", ""},
	{"replicaSessions", ""},
	{"replicas", ""},
	{"reports/summary/overview", "OverviewReportFrame"},
	{"repositories", ""},
	{"restorePoints", ""},
	{"restoreSessions", ""},
	{"tasks", ""},
	{"vAppRestorePoints", ""},
	{"vmRestorePoints", ""},
	{"wanAccelerators", ""},
}

// document is about one session.
type document struct {
	format              veeam.Format
	site, user, session string
}

func (d document) href() string { return d.site + "/api/logonSessions/" + d.session }

// one is the document of the session, alone or in a list.
func (d document) one(alone bool) []byte {
	if d.format == veeam.FormatXML {
		return d.oneXML(alone)
	}
	j := object{format: d.format}
	links := make([]string, 0, len(collections)+1)
	for _, c := range collections {
		links = append(links, d.link("Down", d.site+"/api/"+c[0], c[1]))
	}
	links = append(links, d.link("Delete", d.href(), ""))
	j.raw("Links", "["+strings.Join(links, ",")+"]")
	j.text("UserName", d.user)
	j.text("SessionId", d.session)
	j.text("Href", d.href())
	j.text("Type", "LogonSession")
	return []byte(j.String())
}

func (d document) link(rel, href, kind string) string {
	j := object{format: d.format}
	j.text("Rel", rel)
	j.text("Href", href)
	j.raw("Name", "null")
	if kind == "" {
		j.raw("Type", "null")
	} else {
		j.text("Type", kind)
	}
	return j.String()
}

func (d document) oneXML(alone bool) []byte {
	var b strings.Builder
	if alone {
		b.WriteString(xml.Header)
	}
	b.WriteString(`<LogonSession`)
	if alone {
		b.WriteString(` xmlns="` + veeam.Namespace + `"`)
	}
	b.WriteString(` Type="LogonSession" Href="` + veeam.XMLText(d.href()) + `"><Links>`)
	for _, c := range collections {
		b.WriteString(`<Link Rel="Down" Href="` + veeam.XMLText(d.site+"/api/"+c[0]) + `"`)
		if c[1] != "" {
			b.WriteString(` Type="` + c[1] + `"`)
		}
		b.WriteString(`/>`)
	}
	b.WriteString(`<Link Rel="Delete" Href="` + veeam.XMLText(d.href()) + `"/></Links><UserName>` + veeam.XMLText(d.user) +
		`</UserName><SessionId>` + d.session + `</SessionId></LogonSession>`)
	return []byte(b.String())
}

// list is the document of the caller's sessions: the one that it presents, or none.
func (d document) list() []byte {
	sessions := ""
	if d.session != "" {
		sessions = string(d.one(false))
	}
	if d.format == veeam.FormatXML {
		return []byte(xml.Header + `<LogonSessions xmlns="` + veeam.Namespace + `">` + sessions + `</LogonSessions>`)
	}
	j := object{format: d.format}
	j.raw("LogonSessions", "["+sessions+"]")
	return []byte(j.String())
}
