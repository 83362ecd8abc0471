// Command load measures the behavior of the sidecar under load, with a real Caddy in a
// process of its own and the emulated servers in this one, over the loopback address
// only.
//
//	go run ./test/load                every figure, about an hour and a half
//	go run ./test/load churn reloads  some of them
//
// Each figure is printed in lines of the form
//
//	ok|FAIL name  figure = value (bar)
//
// and the exit status is 0 only if none fails. docs/figures.md explains the figures.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-veeam/veeam-auth/test/harness"
)

type figure struct {
	name    string
	measure func(context.Context, *report) error
	within  time.Duration // Default: atMost
}

// figures are measured in this order.
var figures = []figure{
	{name: "cold", measure: measureCold},
	{name: "revoked", measure: measureRevoked, within: 6 * time.Minute},
	{name: "tools", measure: measureTools, within: 10 * time.Minute},
	{name: "churn", measure: measureChurn},
	{name: "reloads", measure: measureReloads},
	{name: "leaks", measure: measureLeaks, within: 20 * time.Minute},
	{name: "endings", measure: measureEndings, within: 10 * time.Minute},
	{name: "tenants", measure: measureTenants, within: 10 * time.Minute},
	{name: "guessing", measure: measureGuessing},
	{name: "growth", measure: measureGrowth, within: 20 * time.Minute},
	{name: "connections", measure: measureConnections, within: 10 * time.Minute},
	{name: "defaults", measure: measureDefaults, within: 5 * time.Minute},
	{name: "users", measure: measureUsers, within: 10 * time.Minute},
	{name: "compare", measure: measureCompare, within: time.Hour},
	{name: "image", measure: measureImage, within: 20 * time.Minute},
}

// atMost is how long one figure may take.
const atMost = 2 * time.Minute

var growthAccounts = flag.Int("accounts", 100_000, "how many accounts growth has")

func main() {
	harness.Main()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	flag.Parse()
	failed, err := run(ctx, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
	}
	if err != nil || failed {
		os.Exit(1)
	}
}

// run measures the named figures, or all.
func run(ctx context.Context, names []string) (failed bool, err error) {
	for _, name := range names {
		if !slices.ContainsFunc(figures, func(f figure) bool { return f.name == name }) {
			err = errors.Join(err, fmt.Errorf("there is no figure %q; flags stand before the names", name))
		}
	}
	if err != nil {
		return true, err
	}
	for _, f := range figures {
		if len(names) > 0 && !slices.Contains(names, f.name) {
			continue
		}
		r := &report{name: f.name}
		bounded, cancel := context.WithTimeout(ctx, cmp.Or(f.within, atMost))
		err = errors.Join(err, f.measure(bounded, r))
		cancel()
		failed = failed || r.failed
	}
	return failed, err
}

// report prints the lines of one figure.
type report struct {
	name   string
	failed bool
}

// exactly has a bar that is met by one value.
func (r *report) exactly(figure string, value, want int64) {
	r.print(value == want, figure, fmt.Sprint(value), fmt.Sprintf("exactly %d", want))
}

// check has a bar in words.
func (r *report) check(ok bool, figure, value, bar string) { r.print(ok, figure, value, bar) }

// note has no bar.
func (r *report) note(figure, value string) { r.print(true, figure, value, "") }

func (r *report) print(ok bool, figure, value, bar string) {
	word := "ok  "
	if !ok {
		word, r.failed = "FAIL", true
	}
	if bar != "" {
		bar = " (" + bar + ")"
	}
	fmt.Println(strings.TrimRight(fmt.Sprintf("%s %-8s  %s = %s%s", word, r.name, figure, value, bar), " "))
}
