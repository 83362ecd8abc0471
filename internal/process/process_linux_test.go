package process

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

func TestAProcessHasEndedOnlyIfThatIsKnown(t *testing.T) {
	// A process that waits for its input, and one that has ended.
	waits := exec.CommandContext(t.Context(), "cat")
	in, err := waits.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := waits.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = waits.Wait()
	})
	gone := exec.CommandContext(t.Context(), "true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	pid := func(c *exec.Cmd) string { return strconv.Itoa(c.Process.Pid) }
	start, err := started(pid(waits))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		field int
		value string
		ended bool
	}{
		{"this process", 3, strings.Split(ID(), " ")[3], false},
		{"gone", 3, pid(gone), true},
		{"gone, on another machine", 0, "other", false},
		{"gone, in another boot", 1, "other", false},
		{"gone, in another namespace", 2, "pid:[1]", false},
		{"its number is another's", 4, "1", true},
		{"no number", 3, "x", false},
		{"a group of processes", 3, "-1", false},
	} {
		id := strings.Split(ID(), " ")
		if len(id) != 5 {
			t.Fatalf("id %q", id)
		}
		if strings.HasPrefix(test.name, "gone") {
			id[3] = pid(gone)
		}
		id[test.field] = test.value
		if got := Ended(strings.Join(id, " ")); got != test.ended {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	id := strings.Split(ID(), " ")
	id[3], id[4] = pid(waits), start
	if Ended(strings.Join(id, " ")) {
		t.Error("a process that waits counts as ended")
	}
	for _, id := range []string{"", "a b c d e"} {
		if Ended(id) {
			t.Errorf("%q counts as ended", id)
		}
	}
}
