// Veeam Backup Enterprise Manager: its documents, as XML or as JSON in one of two spellings, with links that name a host.

package veeamtest

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// jsonNames is how names in JSON are spelled.
type jsonNames bool

const (
	pascalCase jsonNames = false // 12
	camelCase  jsonNames = true  // 13
)

const emNamespace = "http://www.veeam.com/ent/v1.0"

// emLink is a link. In JSON its name and type may be null.
type emLink struct {
	Rel  string  `xml:",attr"`
	Href string  `xml:",attr"`
	Name *string `xml:",attr"`
	Type *string `xml:",attr"`
}

type emManager struct {
	XMLName           xml.Name    `xml:"EnterpriseManager" json:"-"`
	Xmlns             string      `xml:"xmlns,attr" json:"-"`
	Links             []emLink    `xml:"Links>Link"`
	SupportedVersions []emVersion `xml:"SupportedVersions>SupportedVersion"`
	Href              string      `xml:",attr"`
	Type              string      `xml:",attr"`
}

type emVersion struct {
	Links []emLink `xml:"Links>Link"`
	Name  string   `xml:",attr"`
}

type emLogonSession struct {
	XMLName   xml.Name `xml:"LogonSession" json:"-"`
	Xmlns     string   `xml:"xmlns,attr,omitempty" json:"-"`
	Links     []emLink `xml:"Links>Link"`
	UserName  string
	SessionID string `xml:"SessionId" json:"SessionId"`
	Href      string `xml:",attr"`
	Type      string `xml:",attr"`
}

type emLogonSessions struct {
	XMLName       xml.Name         `xml:"LogonSessions" json:"-"`
	Xmlns         string           `xml:"xmlns,attr" json:"-"`
	LogonSessions []emLogonSession `xml:"LogonSession"`
}

type emReferences struct {
	XMLName xml.Name `xml:"EntityReferences" json:"-"`
	Xmlns   string   `xml:"xmlns,attr" json:"-"`
	Refs    []emRef  `xml:"Ref"`
}

type emRef struct {
	Links []emLink `xml:"Links>Link"`
	Name  string   `xml:",attr"`
	UID   string   `xml:",attr"`
	Href  string   `xml:",attr"`
	Type  string   `xml:",attr"`
}

type emQuery struct {
	XMLName    xml.Name `xml:"QueryResult" json:"-"`
	Xmlns      string   `xml:"xmlns,attr" json:"-"`
	Refs       []emRef  `xml:"Refs>Ref"`
	PagingInfo emPaging
}

type emPaging struct {
	Links      []emLink `xml:"Links>Link"`
	PageNum    int      `xml:",attr"`
	PageSize   int      `xml:",attr"`
	PagesCount int      `xml:",attr"`
}

type emTask struct {
	XMLName   xml.Name `xml:"Task" json:"-"`
	Xmlns     string   `xml:"xmlns,attr" json:"-"`
	Links     []emLink `xml:"Links>Link"`
	TaskID    string   `xml:"TaskId" json:"TaskId"`
	State     string
	Operation string
	Href      string `xml:",attr"`
	Type      string `xml:",attr"`
}

type emReports struct {
	XMLName xml.Name `xml:"SummaryReportFrame" json:"-"`
	Xmlns   string   `xml:"xmlns,attr" json:"-"`
	Links   []emLink `xml:"Links>Link"`
}

type emOverview struct {
	XMLName           xml.Name `xml:"OverviewReportFrame" json:"-"`
	Xmlns             string   `xml:"xmlns,attr" json:"-"`
	BackupServers     int
	ProxyServers      int
	RepositoryServers int
	RunningJobs       int
	ScheduledJobs     int
}

type emErrorDocument struct {
	XMLName    xml.Name `xml:"Error" json:"-"`
	Xmlns      string   `xml:"xmlns,attr" json:"-"`
	FirstFault *string  `xml:"FirstChanceExceptionMessage" json:"FirstChanceExceptionMessage"`
	Message    string   `xml:",attr"`
	StackTrace *string
	Status     *string `xml:",attr"`
	StatusCode int     `xml:",attr"`
}

// emError makes every 401 ask for Basic, that of a session that is over included.
func emError(x *exchange, p problem) (string, any) {
	if p.status == http.StatusUnauthorized {
		spell(x.w.Header(), "WWW-Authenticate", "Basic Realm=RestSvc")
	}
	return "", emErrorDocument{Xmlns: emNamespace, Message: p.message, StatusCode: p.status}
}

var emProblems = map[reason]problem{
	badRequest:       {status: 400, message: "The request is not valid."},
	badCredentials:   {status: 401, message: "Unauthorized"},
	noBearer:         {status: 401, message: "Unauthorized"},
	badBearer:        {status: 401, message: "Unauthorized"},
	expiredBearer:    {status: 401, message: "Unauthorized"},
	forbidden:        {status: 403, message: "Access is denied."},
	readOnlyToken:    {status: 403, message: "Access is denied."},
	notFound:         {status: 404, message: "The resource was not found."},
	methodNotAllowed: {status: 405, message: "The method is not allowed."},
	unsupportedMedia: {status: 415, message: "The media type is not supported."},
	throttled:        {status: 503, message: "The server is overloaded."},
	serverFault:      {status: 500, message: "An internal error occurred."},
	wrongProtocol:    {status: 505, message: "HTTP/1.1 is required."},
}

var jsonName = regexp.MustCompile(`"([A-Z]\w*)":`)

// emEncode writes XML, unless the request's first choice is JSON.
func emEncode(names jsonNames) func(x *exchange, v any) (string, []byte) {
	return func(x *exchange, v any) (string, []byte) {
		if !wantsJSON(x.r) {
			body, err := xml.Marshal(v)
			if err != nil {
				panic(err)
			}
			return "application/xml; charset=utf-8", append([]byte(xml.Header), body...)
		}
		body := encode(v)
		if names == camelCase {
			body = jsonName.ReplaceAllFunc(body, lowerName)
		}
		if x.s.cfg.bom {
			body = append([]byte("\ufeff"), body...)
		}
		return jsonType, body
	}
}

// wantsJSON reports whether Accept names JSON before XML.
func wantsJSON(r *http.Request) bool {
	accept := strings.ToLower(strings.Join(r.Header.Values("Accept"), ","))
	at := strings.Index(accept, "application/json")
	other := strings.Index(accept, "xml")
	return at >= 0 && (other < 0 || at < other)
}

// lowerName writes "UID": as "uid": and "SessionId": as "sessionId":.
func lowerName(name []byte) []byte {
	runes := bytes.Runes(name)
	for i := 1; i < len(runes) && unicode.IsUpper(runes[i]); i++ {
		if i > 1 && unicode.IsLower(runes[i+1]) {
			break
		}
		runes[i] = unicode.ToLower(runes[i])
	}
	return []byte(string(runes))
}

// link is an address below /api by the name that the server has for itself.
func (x *exchange) link(path string) string { return x.s.cfg.publicURL + "/api" + path }

// to makes a link.
func (x *exchange) to(rel, path, typ string) emLink {
	l := emLink{Rel: rel, Href: x.link(path)}
	if typ != "" {
		l.Type = &typ
	}
	return l
}

func (x *exchange) manager() emManager {
	m := emManager{
		Xmlns: emNamespace, Type: "EnterpriseManager", Href: x.link("/"),
		Links: []emLink{
			x.to("Create", "/sessionMngr/?v=latest", "LogonSession"),
			x.to("Down", "/logonSessions", "LogonSessionList"),
		},
	}
	for _, v := range emVersions {
		m.SupportedVersions = append(m.SupportedVersions, emVersion{
			Name: v, Links: []emLink{x.to("Create", "/sessionMngr/?v="+v, "LogonSession")},
		})
	}
	return m
}

func (x *exchange) logonSession(id, user string) emLogonSession {
	return emLogonSession{
		Xmlns: emNamespace, Type: "LogonSession", Href: x.link("/logonSessions/" + id), UserName: user, SessionID: id,
		Links: []emLink{
			x.to("Down", "/jobs", "JobReferenceList"),
			x.to("Down", "/backupServers", "BackupServerReferenceList"),
			x.to("Down", "/reports/summary/overview", "OverviewReportFrame"),
			x.to("Delete", "/logonSessions/"+id, ""),
		},
	}
}

func (x *exchange) task(id, operation, state string) emTask {
	return emTask{
		Xmlns: emNamespace, Type: "Task", Href: x.link("/tasks/" + id), TaskID: id, Operation: operation, State: state,
		Links: []emLink{x.to("Delete", "/tasks/"+id, "")},
	}
}

func (x *exchange) jobRef() emRef {
	return emRef{
		Type: "JobReference", Href: x.link("/jobs/" + emJobID), Name: "Nightly", UID: "urn:veeam:Job:" + emJobID,
		Links: []emLink{
			x.to("Up", "/backupServers/"+emServerID, "BackupServerReference"),
			x.to("Alternate", "/jobs/"+emJobID+"?format=Entity", "Job"),
			x.to("Down", "/jobs/"+emJobID+"/backupSessions", "BackupJobSessionReferenceList"),
		},
	}
}

// paging is where a query that selects by date goes on: the link has the query in percent escapes.
func (x *exchange) paging(pages int) emPaging {
	page, _ := strconv.Atoi(x.query("page"))
	return emPaging{
		PageNum: max(page, 1), PageSize: 100, PagesCount: pages,
		Links: []emLink{x.to("Next", "/query?type=Job&filter=CreationTime%3e%3d%222026-03-01%22&pageSize=100&page="+strconv.Itoa(max(page, 1)+1), "")},
	}
}
