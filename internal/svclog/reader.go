// This file holds the reading of a log, line by line.

package svclog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"time"
)

// lineLimit is the maximum length of a line, in bytes. The rest of a longer one is dropped.
// Lines that this module writes are much shorter.
const lineLimit = 1 << 20

// Read parses the lines of r and calls emit with each Record that filter selects. It
// returns at the end of r, when ctx ends, or with an error of r or emit.
//
// Files of all versions are accepted: without milliseconds, with lines without a frame,
// with CR LF, with a byte order mark.
func Read(ctx context.Context, r io.Reader, filter Filter, emit func(Record) error) error {
	if filter.Zone == nil {
		filter.Zone = time.Local
	}
	in := bufio.NewReaderSize(r, 64<<10)
	var last Record
	answers := make(pending)
	for first := true; ; first = false {
		line, err := readLine(in)
		if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if first {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		record := Parse(strings.TrimRight(string(line), "\r\n"), filter.Zone)
		switch record.Kind {
		case KindUnframed:
			if record.Message == "" {
				continue
			}
			record.Time, record.Thread, record.Level = last.Time, last.Thread, last.Level
		case KindRequest:
			answers.asked(&record)
		case KindResponse:
			answers.answered(&record)
		}
		last = record
		if filter.matches(&record) {
			if err := emit(record); err != nil {
				return err
			}
		}
	}
}

// readLine reads up to and with the next line end; of a long line only the
// beginning. At the end of the input it returns what is left and io.EOF.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if room := lineLimit - len(line); room > 0 {
			line = append(line, part[:min(room, len(part))]...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// pending remembers who asked for what, because a response line has no user. It
// maps a method and path to the requests that wait for an answer.
type pending map[string][]asker

type asker struct {
	thread uint32
	user   string
}

// pendingLimit bounds how many paths are remembered. Requests that are never
// answered would fill the memory otherwise.
const pendingLimit = 4096

func (p pending) asked(r *Record) {
	if len(p) >= pendingLimit {
		clear(p)
	}
	key := r.Method + " " + r.Path
	waiting := p[key]
	if len(waiting) >= pendingLimit {
		waiting = waiting[1:]
	}
	p[key] = append(waiting, asker{r.Thread, r.User})
}

// answered sets the user of a response: that of the oldest request to the same
// path with the same thread number or, because Veeam's threads need not agree,
// of the only one that waits.
func (p pending) answered(r *Record) {
	key := r.Method + " " + r.Path
	waiting := p[key]
	at := 0
	for at < len(waiting) && waiting[at].thread != r.Thread {
		at++
	}
	if at == len(waiting) {
		if len(waiting) != 1 {
			return
		}
		at = 0
	}
	r.User = waiting[at].user
	if len(waiting) == 1 {
		delete(p, key)
		return
	}
	p[key] = append(waiting[:at:at], waiting[at+1:]...)
}
