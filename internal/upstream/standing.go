// How each configured account stands at the servers of its transports: for probes.

package upstream

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// Standing is how an account of a transport is doing at the servers of that transport.
type Standing struct {
	Product, Account string

	// Required is the option of the account, AtStart whether it logs in when its
	// configuration starts.
	Required, AtStart bool

	// Servers are the rows of the account, those of one server together, the servers in
	// the order of their origins. There is at least one. A row without anything known has
	// no session.
	Servers [][]Row
}

// Standings are those of all accounts of the configuration in force that have a session
// of their own: a template has none, and neither have the users that come with requests.
// begun reports whether a configuration is in force; it is true where none has a transport.
func (s *State) Standings(ctx context.Context) (standings []Standing, begun bool) {
	servers, begun := s.servers.inForce()
	rows := make(map[configuredAccount][]Row)
	for _, r := range s.Rows(ctx) {
		if !r.user {
			key := configuredAccount{r.Product, r.Account}
			rows[key] = append(rows[key], r)
		}
	}
	seen := make(map[string]bool)
	for _, server := range servers {
		for _, a := range server.Accounts {
			if a.Template() {
				continue
			}
			key := configuredAccount{server.Product.Name, a.Name}
			origins := server.origins(a.Name)
			standing := Standing{
				Product: key.product, Account: key.name, Required: a.IsRequired(), AtStart: server.atStart,
				Servers: byServer(key, rows[key], origins),
			}
			id := strings.Join(append(origins, key.product, key.name), "\n") // both configurations of a reload have it
			if !seen[id] {
				seen[id] = true
				standings = append(standings, standing)
			}
		}
	}
	slices.SortStableFunc(standings, func(a, b Standing) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Product, b.Product), cmp.Compare(a.Servers[0][0].Origin, b.Servers[0][0].Origin))
	})
	return standings, begun
}

// byServer groups rows by their servers. Without origins all servers count.
func byServer(a configuredAccount, rows []Row, origins []string) (servers [][]Row) {
	grouped := make(map[string][]Row)
	for _, origin := range origins {
		grouped[origin] = nil
	}
	for _, r := range rows {
		if _, ours := grouped[r.Origin]; ours || len(origins) == 0 {
			grouped[r.Origin] = append(grouped[r.Origin], r)
		}
	}
	if len(grouped) == 0 {
		grouped[""] = nil
	}
	for origin, found := range grouped {
		if len(found) == 0 {
			r := idle(a, origin)
			r.judge(nil, nil, time.Time{})
			found = []Row{r}
		}
		servers = append(servers, found)
	}
	slices.SortFunc(servers, func(a, b []Row) int { return cmp.Compare(a[0].Origin, b[0].Origin) })
	return servers
}

// origins are those of the servers at which an account of the transport logs in, as far
// as they are known.
func (s *Server) origins(account string) (origins []string) {
	for _, at := range s.fixed {
		origins = append(origins, at.Origin)
	}
	for source := range s.sessions.sources.of(account) {
		origins = append(origins, source.place.Origin)
	}
	slices.Sort(origins)
	return slices.Compact(origins)
}

// serverTable has the servers of the configuration in force, and those of one that is
// being prepared. During a reload there are those of two configurations.
type serverTable struct {
	mu      sync.Mutex
	servers map[*Server]bool // whether it is in force
}

func (t *serverTable) add(s *Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.servers == nil {
		t.servers = make(map[*Server]bool)
	}
	t.servers[s] = false
}

// begin puts a server in force, and reports whether it was not removed before.
func (t *serverTable) begin(s *Server, fixed []Fixed, atStart bool) (there bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, there = t.servers[s]; there {
		s.fixed, s.atStart = fixed, atStart
		t.servers[s] = true
	}
	return there
}

// at returns a server in force that has a fixed address with this origin, nil if there is
// none.
func (t *serverTable) at(product, origin string) (*Server, Fixed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s, inForce := range t.servers {
		if !inForce || s.Product.Name != product {
			continue
		}
		for _, at := range s.fixed {
			if at.Origin == origin {
				return s, at
			}
		}
	}
	return nil, Fixed{}
}

func (t *serverTable) remove(s *Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.servers, s)
}

// inForce are the servers in force. begun is false if there are only others.
func (t *serverTable) inForce() (servers []*Server, begun bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s, inForce := range t.servers {
		if inForce {
			servers = append(servers, s)
		}
	}
	return servers, len(servers) > 0 || len(t.servers) == 0
}
