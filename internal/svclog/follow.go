// This file holds the reading of a log that is still being written.

package svclog

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

// followInterval is how often a file is looked at for more.
const followInterval = 250 * time.Millisecond

// Follower reads a file while it grows, like tail -F. When log rotation replaces or
// truncates the file, it continues with the new one.
type Follower struct {
	ctx     context.Context
	name    string
	file    *os.File
	offset  int64
	midline bool
}

// Follow opens a file. Reads from the Follower return io.EOF only when ctx has ended.
func Follow(ctx context.Context, name string) (*Follower, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return &Follower{ctx: ctx, name: name, file: file}, nil
}

// Close closes the file.
func (f *Follower) Close() error { return f.file.Close() }

// Read reads what the file has, and waits if there is nothing new.
func (f *Follower) Read(p []byte) (int, error) {
	for {
		n, err := f.file.Read(p)
		if n > 0 {
			f.offset += int64(n)
			f.midline = p[n-1] != '\n'
			return n, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		replaced, err := f.reopen()
		if err != nil {
			return 0, err
		}
		if replaced {
			if f.midline && len(p) > 0 {
				f.midline = false // the new file does not go on with the old one's last line
				p[0] = '\n'
				return 1, nil
			}
			continue
		}
		select {
		case <-f.ctx.Done():
			return 0, io.EOF
		case <-time.After(followInterval):
		}
	}
}

// reopen starts over if the name stands for another file by now or for one that
// is shorter than what was read of it. A name that stands for none is waited
// for.
func (f *Follower) reopen() (replaced bool, err error) {
	now, err := os.Stat(f.name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	before, err := f.file.Stat()
	if err != nil {
		return false, err
	}
	if os.SameFile(before, now) {
		if now.Size() >= f.offset {
			return false, nil
		}
		f.offset = 0
		_, err = f.file.Seek(0, io.SeekStart)
		return err == nil, err
	}
	if before.Size() > f.offset {
		return false, nil // written between our last look and the replacement
	}
	file, err := os.Open(f.name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_ = f.file.Close() // was only read from
	f.file, f.offset = file, 0
	return true, nil
}
