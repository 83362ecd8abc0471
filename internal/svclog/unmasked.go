// This file is the switch for control runs: a program built with this tag
// prints every secret.

//go:build svclog_unmasked

package svclog

func init() { masking = false }
