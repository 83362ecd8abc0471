// The files of a log: the one that is written, and those that were rotated.

package logchain

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// maxLine is the length above which a line is not kept, in bytes.
const maxLine = 16 << 20

// rotated returns the names of the rotated files of a log, the oldest first. They are
// named as Caddy does, <name>-<time>-<reason><extension>, and may be compressed.
func rotated(name string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	base := filepath.Base(name)
	extension := filepath.Ext(base)
	prefix := strings.TrimSuffix(base, extension) + "-"
	var found []string
	for _, entry := range entries {
		rest, ok := strings.CutPrefix(entry.Name(), prefix)
		if !ok || rest == "" || rest[0] < '0' || rest[0] > '9' || entry.IsDir() {
			continue
		}
		if plain := uncompressed(entry.Name()); strings.HasSuffix(plain, extension) {
			found = append(found, filepath.Join(filepath.Dir(name), entry.Name()))
		}
	}
	slices.SortFunc(found, func(a, b string) int { return strings.Compare(uncompressed(a), uncompressed(b)) })
	// While a file is compressed there are both: the other one is not complete.
	return slices.CompactFunc(found, func(a, b string) bool { return uncompressed(a) == uncompressed(b) }), nil
}

// uncompressed is the name of a file before it was compressed.
func uncompressed(name string) string {
	return strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst")
}

// open opens a file, and decompresses it if its name says so.
func open(name string) (io.ReadCloser, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	switch filepath.Ext(name) {
	case ".gz":
		unpacked, err := gzip.NewReader(file)
		if err != nil {
			_ = file.Close() // was only read from
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return readCloser{unpacked, file.Close}, nil
	case ".zst":
		unpacked, err := zstd.NewReader(file, zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			_ = file.Close() // was only read from
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return readCloser{unpacked, func() error { unpacked.Close(); return file.Close() }}, nil
	}
	return file, nil
}

type readCloser struct {
	io.Reader
	close func() error
}

func (r readCloser) Close() error { return r.close() }

// openLog opens all files of a log, the oldest first. A rotation meanwhile has them opened
// again: no file is read twice or missed.
func openLog(name string) (names []string, files []io.ReadCloser, err error) {
	for range openTries {
		names, err = logFiles(name)
		if err != nil {
			return nil, nil, err
		}
		files = files[:0]
		for _, name := range names {
			file, openErr := open(name)
			if openErr != nil {
				err = openErr
				break
			}
			files = append(files, file)
		}
		now, listErr := logFiles(name)
		if err == nil && listErr == nil && slices.Equal(names, now) {
			return names, files, nil
		}
		for _, file := range files {
			_ = file.Close() // was only read from
		}
		if err != nil && slices.Equal(names, now) {
			return nil, nil, err
		}
	}
	return nil, nil, cmpErr(err, fmt.Errorf("%s: its files change during the read", name))
}

// openTries is how often the files of a log are opened that are rotated meanwhile.
const openTries = 10

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func logFiles(name string) ([]string, error) {
	names, err := rotated(name)
	if err != nil {
		return nil, err
	}
	_, err = os.Stat(name)
	if errors.Is(err, os.ErrNotExist) && len(names) > 0 {
		return names, nil // right after a rotation, or moved away
	}
	return append(names, name), err
}

// lines ranges over the lines of a file without their ends. complete is false for a last
// line that has none. Of a line longer than maxLine the rest is left out, and complete is
// false.
func lines(r io.Reader, yield func(line []byte, complete bool)) error {
	in := bufio.NewReaderSize(r, 64<<10)
	var long []byte
	for {
		part, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, part[:min(len(part), max(0, maxLine-len(long)))]...)
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		line := part
		if len(long) > 0 {
			line = append(long, part...)
			long = long[:0]
		}
		ended := err != nil
		if ended && len(line) == 0 {
			return nil
		}
		line, complete := bytes.CutSuffix(line, []byte("\n"))
		yield(line, complete && len(line) < maxLine)
		if ended {
			return nil //nolint:nilerr // the end of the file
		}
	}
}

// tailSize is how much of the end of a file is read first, in bytes.
const tailSize = 64 << 10

// lastOf returns the last line of a log: of the file, or of the newest one that was
// rotated. What cannot be read counts as none.
func lastOf(name string) (found last) {
	file, err := os.Open(name)
	if err == nil {
		defer file.Close()
		found = lastOfFile(file)
	}
	if found.known {
		return found
	}
	names, err := rotated(name)
	if err != nil || len(names) == 0 {
		return found
	}
	older, err := open(names[len(names)-1])
	if err != nil {
		return found
	}
	defer older.Close()
	before := last{}
	_ = lines(older, func(line []byte, complete bool) {
		if complete || len(line) < maxLine {
			before.take(line)
		}
	})
	before.torn = found.torn
	return before
}

// lastOfFile reads a file from its end, as much as is needed.
func lastOfFile(file *os.File) last {
	info, err := file.Stat()
	if err != nil {
		return last{}
	}
	for size := int64(tailSize); ; size *= 8 {
		from := max(0, info.Size()-size)
		tail := make([]byte, info.Size()-from)
		n, err := file.ReadAt(tail, from)
		if err != nil && !errors.Is(err, io.EOF) {
			return last{}
		}
		found, done := lastOfTail(tail[:n], from == 0)
		if done || from == 0 || size > maxLine {
			return found
		}
	}
}

// lastOfTail finds the last line in the end of a file. done is false if it may stand
// before that.
func lastOfTail(tail []byte, whole bool) (found last, done bool) {
	end := bytes.LastIndexByte(tail, '\n')
	torn := bytes.Clone(tail[end+1:])
	for end >= 0 && !found.known {
		start := bytes.LastIndexByte(tail[:end], '\n') + 1
		if start > 0 || whole {
			found.take(tail[start:end])
		}
		end = start - 1
	}
	done = found.known || whole
	if (bytes.ContainsRune(tail, '\n') || whole) && found.take(torn) {
		found.open = true // only its end is missing
		return found, true
	}
	found.leave(torn)
	return found, done
}

// headOf returns the place of the first line of a file; number 0 if it has none.
func headOf(name string) position {
	file, err := os.Open(name)
	if err != nil {
		return position{}
	}
	defer file.Close()
	line, _ := bufio.NewReader(io.LimitReader(file, maxLine)).ReadBytes('\n')
	line, complete := bytes.CutSuffix(line, []byte("\n"))
	if _, place, ok := splitField(line); ok && complete {
		return position{place.segment, place.number}
	}
	return position{}
}
