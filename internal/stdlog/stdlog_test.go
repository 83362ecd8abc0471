package stdlog

import (
	"bytes"
	"errors"
	"io"
	"log"
	"testing"
)

func TestGuard_BytesOfServersAreNotShown(t *testing.T) {
	var out bytes.Buffer
	former, flags := log.Writer(), log.Flags()
	t.Cleanup(func() {
		log.SetOutput(former)
		log.SetFlags(flags)
	})
	log.SetFlags(0)
	for range 2 { // a reload gives the logger another output
		log.SetOutput(&out)
		Guard()
		Guard()
		for _, body := range []string{`{"password":"s3cret"}`, `s3cret; err=s3cret`, "s3cret\r\n"} {
			log.Printf("Unsolicited response received on idle HTTP channel starting with %q; err=%v", body, io.EOF)
		}
		log.Print("another line; err=none")
	}
	const (
		unseen = "Unsolicited response received on idle HTTP channel starting with bytes that are not shown; err=EOF\n"
		round  = unseen + unseen + unseen + "another line; err=none\n"
	)
	if got := out.String(); got != round+round {
		t.Errorf("%s", got)
	}
}

func TestGuard_ALineThatIsCutIsNotShown(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		string(unsolicited) + `"s3cret`:     string(unsolicited) + "bytes that are not shown\n",
		string(unsolicited):                 string(unsolicited) + "bytes that are not shown\n",
		"prefix " + string(unsolicited[5:]): "prefix " + string(unsolicited[5:]),
	} {
		var out bytes.Buffer
		if n, err := (&guard{&out}).Write([]byte(line)); n != len(line) || err != nil || out.String() != want {
			t.Errorf("%q: %d, %v, %q", line, n, err, out.String())
		}
	}
}

func TestGuard_AFailureIsReported(t *testing.T) {
	t.Parallel()
	failed := errors.New("full")
	for _, line := range []string{"a line", string(unsolicited) + `"x"; err=EOF`} {
		if _, err := (&guard{failing{failed}}).Write([]byte(line)); !errors.Is(err, failed) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestVerbose_IsASettingOfHTTP2(t *testing.T) {
	for set, want := range map[string]bool{"": false, "tlsrsakex=1": false, "http2debug=0": false, "http2debug=1": true, "tlsrsakex=1,http2debug=2": true} {
		t.Setenv("GODEBUG", set)
		if Verbose() != want {
			t.Errorf("%q: %t", set, !want)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
