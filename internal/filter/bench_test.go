// What the filter costs: allocations and memory.

package filter

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

// record is one row of a list as the servers answer it, with two secrets.
func record(i int) string {
	return fmt.Sprintf(`{"id":"6745a759-2205-4cd2-b172-%012d","name":"Backup Job %d","type":"VSphereBackup","isDisabled":false,`+
		`"description":"Created by SRV01\\Administrator at 10/3/2022 11:48 AM.","schedule":{"runAutomatically":true,"daily":{"localTime":"22:00","dailyKind":"Everyday"}},`+
		`"storage":{"backupRepositoryId":"88788f9e-d8f5-4eb4-bc4f-9b3f5403bcec","retentionPolicy":{"type":"RestorePoints","quantity":7},"encryption":{"isEnabled":true,"encryptionPasswordId":"0b5eb5ba-c4dc-4a5b-9bb6-4d4d3d2b6a11","password":"p%d"}},`+
		`"sizes":[%d,1.5,2e3],"token":"t%d"}`, i, i, i, i*4096, i)
}

func list(rows int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"data":[`)
	for i := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(record(i))
	}
	b.WriteString(`],"pagination":{"total":1}}`)
	return b.Bytes()
}

// endless yields a list of the given size.
type endless struct {
	rest int64
	row  []byte
	part []byte
	done bool
}

func (e *endless) Read(p []byte) (int, error) {
	for len(e.part) == 0 {
		switch {
		case e.done:
			return 0, io.EOF
		case e.rest <= 0:
			e.part, e.done = []byte(`0]`), true
		default:
			e.part = e.row
			e.rest -= int64(len(e.row))
		}
	}
	n := copy(p, e.part)
	e.part = e.part[n:]
	return n, nil
}

func newEndless(size int64, row string) io.Reader {
	return io.MultiReader(strings.NewReader("["), &endless{rest: size, row: []byte(row)})
}

func TestNothingIsAllocatedOnceTheStreamRuns(t *testing.T) {
	f := JSON(newEndless(1<<40, record(1)+","))
	buf := make([]byte, 32<<10)
	read := func() {
		if _, err := f.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		read()
	}
	if n := testing.AllocsPerRun(500, read); n > 0 {
		t.Errorf("%v allocations for each read", n)
	}
}

var gib = flag.Bool("gib", false, "pass a whole GiB through the filter, which takes minutes under the race detector")

// TestALongAnswerNeedsNoMemory runs long answers, of a GiB each with -gib, through
// the filter: a list, a single string, and a single secret.
func TestALongAnswerNeedsNoMemory(t *testing.T) {
	size, bar := int64(16<<20), uint64(2<<20)
	if *gib {
		size = 1 << 30
	}
	for name, source := range map[string]func() io.Reader{
		"list": func() io.Reader { return newEndless(size, record(1)+",") },
		"string": func() io.Reader {
			return io.MultiReader(strings.NewReader(`["`), io.LimitReader(&endless{rest: 1 << 40, row: []byte("eyJhbGciOiJSUzI1NiJ9 words and words ")}, size/4), strings.NewReader(`"]`))
		},
		"secret": func() io.Reader {
			return io.MultiReader(strings.NewReader(`{"password":[["`), io.LimitReader(&endless{rest: 1 << 40, row: []byte("secret ")}, size/4), strings.NewReader(`"]]}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			runtime.GC()
			before, most := heap(), uint64(0)
			buf := make([]byte, 32<<10)
			f := JSON(source())
			total := int64(0)
			for reads := 0; ; reads++ {
				n, err := f.Read(buf)
				total += int64(n)
				if err == io.EOF {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				if reads%1000 == 0 {
					most = max(most, heap())
				}
			}
			if most > before+bar {
				t.Errorf("the heap grew by %d KiB", (most-before)>>10)
			}
			t.Logf("%d bytes passed, the heap grew by %d KiB", total, (max(most, before)-before)>>10)
		})
	}
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
