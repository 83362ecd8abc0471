// The requests of one handler, counted by result and by client.

package metrics

import "github.com/prometheus/client_golang/prometheus"

// requestResults are the values of the label result of Requests and Clients.
var requestResults = []string{ResultInjected, ResultAnonymous, ResultToken, ResultLogout, ResultRefused}

// RequestCounts counts the requests of one handler. Its series are those of the
// configuration: no request adds one.
type RequestCounts struct {
	// ByForwarder and ByReverseProxy count the requests that were sent on.
	ByForwarder, ByReverseProxy prometheus.Counter

	all     map[string]prometheus.Counter            // by result
	clients map[string]map[string]prometheus.Counter // by client and result
}

// RequestCounts returns the counters of a handler and its clients.
func (s *Set) RequestCounts(product string, clients []string) *RequestCounts {
	c := &RequestCounts{
		ByForwarder: s.Forwarded.WithLabelValues(product, ByForwarder), ByReverseProxy: s.Forwarded.WithLabelValues(product, ByReverseProxy),
		all: make(map[string]prometheus.Counter), clients: make(map[string]map[string]prometheus.Counter),
	}
	for _, client := range clients {
		c.clients[client] = make(map[string]prometheus.Counter)
	}
	for _, result := range requestResults {
		c.all[result] = s.Requests.WithLabelValues(product, result)
		for client, counters := range c.clients {
			counters[result] = s.Clients.WithLabelValues(product, client, result)
		}
	}
	return c
}

// Add counts a request. client is the name of the client that sent it, empty for other
// callers; a client that is not configured is not counted by name.
func (c *RequestCounts) Add(result, client string) {
	c.all[result].Inc()
	if client == "" {
		return
	}
	if counter := c.clients[client][result]; counter != nil {
		counter.Inc()
	}
}
