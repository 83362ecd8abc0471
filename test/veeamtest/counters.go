// What the server counts and records, for tests to assert on.

package veeamtest

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Counters is a consistent snapshot of the requests that a server got and of their
// results.
type Counters struct {
	TokenRequests  int64 // POSTs to the token endpoint, faulty ones included
	PasswordGrants int64 // of these, with grant_type password; likewise below
	MFAGrants      int64
	RefreshGrants  int64
	OtherGrants    int64 // any other or no grant type

	Logins        int64 // sessions begun
	Refreshes     int64 // sessions renewed
	Challenges    int64 // mfa_tokens handed out
	Refused       int64 // token requests refused, for whatever reason; injected faults not included
	DuplicateTOTP int64 // of these, because the code's step had been spent before
	ScratchCodes  int64 // scratch codes spent
	Locked        int64 // of these, because the account was locked
	Throttled     int64 // of these, with 429
	Swapped       int64 // sessions begun for another user than the one asked for
	Logouts       int64
	DeadLogouts   int64 // logouts answered 401: the token was not valid any more

	Protected    int64 // protected requests accepted with a valid token, logouts not
	Unauthorized int64 // protected requests answered 401, …/always401 and …/status/401 included, logouts not
	Anonymous    int64 // requests on routes that need no token
	Uploaded     int64 // bytes of request bodies read on the test routes
	Downloaded   int64 // bytes written by …/download

	// LiveSessions is the number of sessions with a valid access or refresh token.
	LiveSessions int

	// Executed is the number of requests of each operation that were authorized and
	// read completely. The key is ID for POST …/execute?op=ID, and "start " and the
	// job's id for VBR's POST …/jobs/{id}/start.
	Executed map[string]int
}

// Counters returns a snapshot.
func (s *Server) Counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.count
	c.Executed = maps.Clone(s.count.Executed)
	now := s.now()
	for _, a := range s.accounts {
		for _, f := range a.families {
			if f.alive(now) {
				c.LiveSessions++
			}
		}
	}
	return c
}

// ResetCounters sets all counters to zero. Sessions, Issued and Seen are not changed.
func (s *Server) ResetCounters() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count = Counters{Executed: map[string]int{}}
}

// tally changes counters under the lock.
func (s *Server) tally(change func(c *Counters)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.count)
}

// Recorded is one request to the token endpoint.
type Recorded struct {
	Time   time.Time // by the server's clock
	Method string
	Path   string // as received, with query
	Proto  string
	Header http.Header
	Form   url.Values // field names and values as received, also blank ones
	Body   string
	Status int // status of the response; 0 before it and if a fault broke the connection
}

// maxSeen bounds the memory that a refresh storm takes.
const maxSeen = 10000

// Seen returns the latest token requests, at most 10,000, oldest first.
func (s *Server) Seen() []Recorded {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Recorded, len(s.seen))
	for i, r := range s.seen {
		all[i] = *r
	}
	return all
}

// record notes a token request and counts it. The caller sets Status through setStatus.
func (s *Server) record(x *exchange) *Recorded {
	rec := &Recorded{
		Time:   s.now(),
		Method: x.r.Method,
		Path:   x.r.RequestURI,
		Proto:  x.r.Proto,
		Header: x.r.Header.Clone(),
		Form:   x.form.values,
		Body:   string(x.body),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) >= maxSeen {
		s.seen = slices.Delete(s.seen, 0, maxSeen/2)
	}
	s.seen = append(s.seen, rec)
	s.count.TokenRequests++
	switch x.grant {
	case "password":
		s.count.PasswordGrants++
	case "mfa":
		s.count.MFAGrants++
	case "refresh_token":
		s.count.RefreshGrants++
	default:
		s.count.OtherGrants++
	}
	return rec
}

func (s *Server) setStatus(rec *Recorded, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec.Status = status
}

// Issued returns every secret that the server issued: access, refresh and MFA tokens,
// codes and API keys.
func (s *Server) Issued() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.issued)
}
