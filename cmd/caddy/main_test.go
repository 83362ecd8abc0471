package main

import (
	"os"
	"runtime/debug"
	"testing"

	"github.com/caddy-veeam/veeam-auth/internal/process"
)

func TestMainHasACalmGarbageCollector(t *testing.T) {
	t.Setenv("GOGC", "")
	before, args := debug.SetGCPercent(100), os.Args
	defer func() {
		debug.SetGCPercent(before)
		os.Args = args
	}()
	os.Args = []string{"caddy", "version"}
	main()
	if got := debug.SetGCPercent(100); got != process.CalmPercent {
		t.Errorf("GOGC is %d, want %d", got, process.CalmPercent)
	}
}
