package placeholders

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnErrorNamesTheVariablesOfItsLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Caddyfile")
	lines := []string{
		"veeam_auth {$X_UNSET} {",
		"account {$X_SET} {$X_UNSET}",
		"product {$X_DEFAULT:vbr}",
		"product {$X_SET:vbr}",
		"product {$X_EMPTY:vbr}",
		"client {$X_SET} {$X_OTHER} {$X_SET}",
		"tls_pin",
		"{env.X_UNSET} {$} {$X UNSET}",
		"\tveeam_auth {$X_SET} {",
		"\t\taccount {$X_OTHER} {",
		"\t\t}",
		"\t}",
	}
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"X_SET": "canary1", "X_OTHER": "canary2", "X_EMPTY": ""} {
		t.Setenv(name, value)
	}
	cause := errors.New("wrong")
	for number, want := range []string{
		0:  "; in the environment X_UNSET is not set",
		1:  "; in the environment X_UNSET is not set",
		2:  "",
		3:  "; the line has X_SET from the environment",
		4:  "; in the environment X_EMPTY is empty",
		5:  "; the line has X_SET and X_OTHER from the environment",
		6:  "",
		7:  "",
		8:  "; the line has X_SET from the environment",
		9:  "; the line has X_OTHER from the environment",
		10: "; the line has X_OTHER from the environment",
		11: "; the line has X_SET from the environment",
		12: "", // there is no such line
	} {
		for _, tail := range []string{"", " import chain ['Caddyfile:3 (import x)']"} {
			err := fmt.Errorf("%w, at %s:%d%s", cause, file, number+1, tail)
			got := WithVariables(err)
			if got.Error() != err.Error()+want || !errors.Is(got, cause) {
				t.Errorf("line %d: %v, want %s", number+1, got, want)
			}
		}
	}
	for _, err := range []error{nil, cause, errors.New("wrong, at nothing:1"), errors.New("wrong, at :0")} {
		if got := WithVariables(err); !errors.Is(got, err) || err != nil && got.Error() != err.Error() {
			t.Errorf("%v becomes %v", err, got)
		}
	}
}
