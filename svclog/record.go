// This file holds a line taken apart.

package svclog

import "strings"

// eachParameter calls fn for each "Name: value; " of a list.
func eachParameter(list string, fn func(name, value string) error) error {
	for len(list) > 0 {
		size, ok := entryAt(list)
		if !ok {
			return nil
		}
		name, rest := list[:size], list[size+2:]
		end := nextEntry(rest)
		if err := fn(name, rest[:end]); err != nil {
			return err
		}
		list = strings.TrimPrefix(rest[end:], "; ")
	}
	return nil
}

// nextEntry returns where in list the value at its beginning ends.
func nextEntry(list string) int {
	for at := 0; ; at++ {
		next := strings.Index(list[at:], "; ")
		if next < 0 {
			return len(list)
		}
		at += next
		if at+2 == len(list) {
			return at
		}
		if _, ok := entryAt(list[at+2:]); ok {
			return at
		}
	}
}
