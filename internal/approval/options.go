// Package approval has operators approve requests of clients: one approval is for one
// request, which passes once, whichever of the processes with one storage it comes to.
package approval

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddy-veeam/veeam-auth/internal/canonical"
	"github.com/caddy-veeam/veeam-auth/policy"
)

// Options are the options of approvals at a site.
type Options struct {
	// How long a request waits for an operator: 1s to 24h. Default: `15m`.
	Wait string `json:"wait,omitempty"`

	// How long after the approval the request may be repeated: 1s to 24h. Default: `5m`.
	UseWithin string `json:"use_within,omitempty"`

	// The largest body of a request that can be approved, in bytes, at most 16 MiB. It is
	// kept in memory while the request is sent. Default: 1 MiB.
	MaxBody int64 `json:"max_body,omitempty"`

	// The maximum number of requests that wait in the storage, of all clients: at most
	// 1000. Default: 100.
	MaxWaiting int `json:"max_waiting,omitempty"`

	// The maximum number of requests that wait of one client. Default: 10.
	MaxWaitingPerClient int `json:"max_waiting_per_client,omitempty"`
}

// Defaults and bounds of the options.
const (
	DefaultWait      = 15 * time.Minute
	DefaultUseWithin = 5 * time.Minute
	DefaultMaxBody   = 1 << 20

	DefaultMaxWaiting          = 100
	DefaultMaxWaitingPerClient = 10

	shortest    = time.Second
	longest     = 24 * time.Hour
	mostBody    = 16 << 20
	mostWaiting = 1000
)

// Names are the options in the Caddyfile, sorted.
var Names = []string{"max_body", "max_waiting", "max_waiting_per_client", "use_within", "wait"}

// Set sets one of the Names. Limits validates them.
func (o *Options) Set(option string, args []string) (err error) {
	if len(args) != 1 {
		return fmt.Errorf("%s requires one value", option)
	}
	switch option {
	case "wait":
		o.Wait = args[0]
	case "use_within":
		o.UseWithin = args[0]
	case "max_body":
		size, err := humanize.ParseBytes(args[0])
		if err != nil || size == 0 || size > mostBody {
			return fmt.Errorf("max_body: %q is not a size between 1 byte and 16 MiB, for example 64KiB or 1MiB", args[0])
		}
		o.MaxBody = int64(size)
	case "max_waiting":
		o.MaxWaiting, err = number(option, args[0])
	case "max_waiting_per_client":
		o.MaxWaitingPerClient, err = number(option, args[0])
	}
	if err == nil {
		_, err = o.Limits()
	}
	return err
}

func number(option, text string) (int, error) {
	value, err := strconv.Atoi(text)
	if err != nil || value <= 0 {
		return 0, fmt.Errorf("%s: %q is not a number above zero", option, text)
	}
	return value, nil
}

// Limits are the Options as they apply.
type Limits struct {
	Wait, UseWithin time.Duration
	MaxBody         int

	MaxWaiting, MaxWaitingPerClient int
}

// Limits returns what applies, or the first error. o may be nil.
func (o *Options) Limits() (l Limits, err error) {
	l = Limits{DefaultWait, DefaultUseWithin, DefaultMaxBody, DefaultMaxWaiting, DefaultMaxWaitingPerClient}
	if o == nil {
		return l, nil
	}
	for _, d := range []struct {
		option, text string
		target       *time.Duration
	}{{"wait", o.Wait, &l.Wait}, {"use_within", o.UseWithin, &l.UseWithin}} {
		if d.text == "" {
			continue
		}
		if *d.target, err = policy.ParseDuration(d.text); err != nil || *d.target < shortest || *d.target > longest {
			return l, fmt.Errorf("%s: %q is not a duration from 1s to 24h, for example 90s, 5m or 1h", d.option, d.text)
		}
	}
	for _, n := range []struct {
		option string
		value  int64
		most   int64
		target *int
	}{
		{"max_body", o.MaxBody, mostBody, &l.MaxBody},
		{"max_waiting", int64(o.MaxWaiting), mostWaiting, &l.MaxWaiting},
		{"max_waiting_per_client", int64(o.MaxWaitingPerClient), mostWaiting, &l.MaxWaitingPerClient},
	} {
		switch {
		case n.value < 0 || n.value > n.most:
			return l, fmt.Errorf("%s is %d (allowed: 1 to %d)", n.option, n.value, n.most)
		case n.value != 0:
			*n.target = int(n.value)
		}
	}
	return l, nil
}

// belonging returns the names of the headers that belong to a request that is approved,
// sorted: those that say how its body is read, the one that selects the version of the API,
// and those that a rule names.
func belonging(names []string, version string, words canonical.Words) []string {
	kept := slices.DeleteFunc(names, func(name string) bool {
		return name != "Content-Type" && name != "Content-Encoding" && !strings.EqualFold(name, version) && !words.Has(name)
	})
	slices.Sort(kept)
	return kept
}
