package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/caddy-veeam/veeam-auth/internal/adminapi"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/upstream"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

func someStates() []sessionRow {
	return []sessionRow{
		{
			Account: "svc-monitor", Product: "vbr", Origin: "https tcp vbr01.lab.local:9419", State: "valid", Reason: veeam.ReasonUnreachable,
			ExpiresIn: 754, LastSuccess: time.Now(), LastFailure: time.Now(), Budget: &adminapi.BudgetState{Left: 1, Of: 2, Until: time.Now()},
			LastError: "dial tcp 192.0.2.7:9419: connect: connection refused", Shared: true, Holder: "host/1234",
		},
		{Account: "svc-new", Product: "aws", State: "none", Reason: veeam.ReasonNotLoggedIn},
		{Account: "svc-held", Product: "azure", State: "held", Reason: veeam.ReasonCredentialRefused, HeldFor: 61, Purpose: "parent"},
	}
}

// What a table shows, the blocks of a narrow terminal show, too.
func TestANarrowTerminalLosesNothing(t *testing.T) {
	t.Setenv("COLUMNS", "48")
	var narrow bytes.Buffer
	if err := printSessions(&narrow, someStates(), false); err != nil {
		t.Fatal(err)
	}
	if got := widest(narrow.String()); got > 48 {
		t.Errorf("%d characters:\n%s", got, narrow.String())
	}
	plain := strings.Join(strings.Fields(narrow.String()), " ")
	for _, want := range []string{
		"svc-monitor at https tcp vbr01.lab.local:9419 (vbr)", "valid, unreachable", "12m34s", "1 of 2 until ", "shared", "host/1234",
		"dial tcp 192.0.2.7:9419: connect: connection refused", "svc-new at - (aws)", "none, not_logged_in", "svc-held (parent)", "held 1m1s",
	} {
		if !strings.Contains(plain, want) {
			t.Errorf("%q is missing in\n%s", want, narrow.String())
		}
	}
	t.Setenv("COLUMNS", "400")
	var wide bytes.Buffer
	if err := printSessions(&wide, someStates(), false); err != nil || strings.Count(wide.String(), "\n") != 4 {
		t.Errorf("%v\n%s", err, wide.String())
	}
}

// Each endpoint that acts has a command of the same name.
func TestEachActHasItsCommand(t *testing.T) {
	holders := issuer.NewHolders()
	routes := adminapi.Sessions{State: upstream.NewState()}.Routes()
	maps.Copy(routes, adminapi.Tokens{Holders: holders}.Routes())
	maps.Copy(routes, adminapi.Keys{Holders: holders}.Routes())
	paths := map[string]bool{}
	for _, group := range commands() {
		for _, cmd := range group.Commands() {
			paths["/veeam_auth/"+group.Name()+"/"+cmd.Name()] = true
		}
	}
	for path := range routes {
		if strings.Count(path, "/") > 2 && !paths[path] {
			t.Errorf("there is no command for %s", path)
		}
	}
}

// Names and errors come from elsewhere: none of them moves the cursor, or hides anything.
func TestATableHasNoControlCharacters(t *testing.T) {
	hostile := "a\x1b[2Jb\u202ec\rd\u200be\x00"
	states := []sessionRow{{Account: hostile, Product: "vbr", Origin: hostile, State: "valid", LastError: hostile, Holder: hostile, Purpose: hostile}}
	for _, columns := range []string{"400", "20"} {
		t.Setenv("COLUMNS", columns)
		var out bytes.Buffer
		if err := printSessions(&out, states, false); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsFunc(strings.ReplaceAll(out.String(), "\n", ""), func(r rune) bool { return !unicode.IsPrint(r) }) || !strings.Contains(out.String(), `\x1b[2Jb\u202ec`) {
			t.Errorf("%q", out.String())
		}
	}
}

func TestWrappedTextHasTheSameWordsInShorterLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-zä]{1,12}( [a-zä]{1,12}){0,20}`).Draw(t, "text")
		indent, width := rapid.IntRange(0, 12).Draw(t, "indent"), rapid.IntRange(26, 80).Draw(t, "width")
		got := wrap(text, 0, width)
		if strings.Join(strings.Fields(got), " ") != text || widest(got) > width {
			t.Fatalf("%d: %q", width, got)
		}
		lead := strings.Repeat("x", indent)
		got = wrap(lead+text, indent, width)
		if strings.Join(strings.Fields(strings.TrimPrefix(got, lead)), " ") != text || widest(got) > width || !utf8.ValidString(got) {
			t.Fatalf("%d, %d: %q", indent, width, got)
		}
	})
}

func TestWatchingGoesOnUntilItIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		var out, errOut bytes.Buffer
		shown := 0
		err := watchSessions(ctx, &out, &errOut, func() error {
			shown++
			switch shown {
			case 2:
				return failed(errors.New("no Caddy answers"))
			case 4:
				interrupt()
			}
			fmt.Fprintln(&out, "row", shown)
			return nil
		})
		if err != nil || out.String() != "row 1\n\n\nrow 3\n\nrow 4\n\n" || errOut.String() != "Error: no Caddy answers\n" {
			t.Errorf("%v, %q, %q", err, out.String(), errOut.String())
		}
		if err := watchSessions(t.Context(), &out, &errOut, func() error { return errors.New("no such file") }); err == nil {
			t.Error("goes on although the command line is wrong")
		}
	})
}
