package main

import (
	"slices"
	"testing"
)

func TestCommandsNeedNoGroup(t *testing.T) {
	for _, tt := range []struct{ args, want []string }{
		{[]string{"veeam-auth"}, []string{"veeam-auth"}},
		{[]string{"veeam-auth", "run", "--config", "check"}, []string{"veeam-auth", "run", "--config", "check"}},
		{[]string{"veeam-auth", "validate"}, []string{"veeam-auth", "validate"}},
		{[]string{"veeam-auth", "check", "-h"}, []string{"veeam-auth", "veeam-auth", "check", "-h"}},
		{[]string{"veeam-auth", "veeam-auth", "check"}, []string{"veeam-auth", "veeam-auth", "check"}},
		{[]string{"veeam-auth", "version"}, []string{"veeam-auth", "veeam-auth", "version"}},
	} {
		if got := withName(tt.args); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.args, got, tt.want)
		}
	}
}
