// Which processes have ended is not asked elsewhere yet.

//go:build !linux

package caddymodule

func processID() string { return "" }

func processEnded(string) bool { return false }
