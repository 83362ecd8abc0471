// Veeam Backup Enterprise Manager: its resources. Some operations are chosen by the query.

package veeamtest

import (
	"mime"
	"net/http"
)

const (
	emJobID    = "065c3eed-175d-4fd8-89c8-2da82b0dcd4f"
	emServerID = "ce15a8c7-aa49-495e-b05b-ee3398c91018"
)

func emRoutes(*Server) []route {
	routes := []route{
		{"GET", "/api", anonymous, func(x *exchange) { x.document(http.StatusOK, x.manager()) }},
		{"POST", "/api/sessionMngr", grants, serveLogon},
		{"GET", "/api/logonSessions", protected, serveLogonSessions},
		{"GET", "/api/logonSessions/{id}", protected, serveLogonSession},
		{"DELETE", "/api/logonSessions/{id}", ending, serveLogoff},
		{"GET", "/api/backupServers", protected, func(x *exchange) {
			x.references(emRef{
				Type: "BackupServerReference", Href: x.link("/backupServers/" + emServerID), Name: "vbr01.lab.local",
				UID: "urn:veeam:BackupServer:" + emServerID,
			})
		}},
		{"GET", "/api/jobs", protected, func(x *exchange) { x.references(x.jobRef()) }},
		{"GET", "/api/jobs/{id}", protected, func(x *exchange) {
			if x.params["id"] != emJobID {
				x.refuse(notFound)
				return
			}
			x.references(x.jobRef())
		}},
		{"GET", "/api/query?type=LogonSession", protected, func(x *exchange) { x.references(x.sessionRefs()...) }},
		{"GET", "/api/query?type=Credentials", protected, func(x *exchange) { x.references() }},
		{"GET", "/api/query", protected, func(x *exchange) {
			x.document(http.StatusOK, emQuery{Xmlns: emNamespace, Refs: []emRef{x.jobRef()}, PagingInfo: x.paging(2)})
		}},
		{"GET", "/api/reports/summary", protected, func(x *exchange) {
			name, kind := "OverviewReport", "OverviewReportFrame"
			x.document(http.StatusOK, emReports{Xmlns: emNamespace, Links: []emLink{
				{Rel: "Related", Href: x.link("/reports/summary/overview"), Name: &name, Type: &kind},
			}})
		}},
		{"GET", "/api/backupFiles", protected, func(x *exchange) { x.references() }},
		{"GET", "/api/reports/summary/overview", protected, func(x *exchange) {
			x.document(http.StatusOK, emOverview{Xmlns: emNamespace, BackupServers: 1, ProxyServers: 2, RepositoryServers: 1, ScheduledJobs: 4})
		}},
		// Stands for what nobody has described: it shows the sessions of all users.
		{"GET", "/api/undocumented", protected, func(x *exchange) { x.references(x.sessionRefs()...) }},
		{"GET", "/api/tasks/{id}", protected, func(x *exchange) {
			x.document(http.StatusOK, x.task(x.params["id"], "StartJob", "Finished"))
		}},
	}
	for _, action := range []string{"start", "stop", "retry", "toggleScheduleEnabled"} {
		routes = append(routes, route{"POST", "/api/jobs/{id}?action=" + action, protected, func(x *exchange) { x.act(action) }})
	}
	return append(routes, route{"PUT", "/api/jobs/{id}?action=edit", protected, func(x *exchange) { x.act("edit") }})
}

func (x *exchange) references(refs ...emRef) {
	x.document(http.StatusOK, emReferences{Xmlns: emNamespace, Refs: refs})
}

// sessionRefs name the sessions of all users.
func (x *exchange) sessionRefs() (refs []emRef) {
	for _, f := range x.s.liveFamilies() {
		refs = append(refs, emRef{
			Type: "LogonSessionReference", Href: x.link("/logonSessions/" + f.id + "?format=Entity"), Name: f.account.Username + " " + f.id,
			UID: "urn:veeam:LogonSession:" + f.id,
		})
	}
	return refs
}

// act does what an action of a job asks for, and answers with the task that it has become.
func (x *exchange) act(action string) {
	length, _, ok := x.digest()
	if !ok {
		return
	}
	if length > 0 && !isXML(x.r) && !isJSON(x.r) {
		x.refuse(unsupportedMedia)
		return
	}
	x.execute(action + " " + x.params["id"])
	id := "task-" + x.params["id"]
	x.w.Header().Set("Location", x.link("/tasks/"+id))
	x.document(http.StatusAccepted, x.task(id, action, "Running"))
}

func isJSON(r *http.Request) bool {
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return mediaType == "application/json"
}
