package process

import (
	"os"
	"strings"
	"testing"
)

func TestTheEnvironmentIsOneLineForEachVariable(t *testing.T) {
	const unset = "(unset)"
	for name, tt := range map[string]struct{ value, want string }{
		Prefix + "X_PLAIN":   {"https://vbr01:9419", "https://vbr01:9419"},
		Prefix + "X_INNER":   {`LAB\svc monitor`, `LAB\svc monitor`},
		Prefix + "X_NEWLINE": {"vbr\n", "vbr"},
		Prefix + "X_WINDOWS": {"vbr\r\n", "vbr"},
		Prefix + "X_BLANKS":  {" \t vbr ", "vbr"},
		Prefix + "X_EMPTY":   {"", unset},
		Prefix + "X_BLANK":   {" \n", unset},
		"Y_OTHER":            {" other\n", " other\n"},
	} {
		t.Setenv(name, tt.value)
		if err := tidyEnvironment(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got, found := os.LookupEnv(name)
		if !found {
			got = unset
		}
		if got != tt.want {
			t.Errorf("%s is %q, want %q", name, got, tt.want)
		}
	}
	for _, value := range []string{"canary\n\tallow path /*", "canary\x1b[0m", "canary\rx"} {
		t.Setenv(Prefix+"X_LINES", value)
		if err := tidyEnvironment(); err == nil || !strings.Contains(err.Error(), Prefix+"X_LINES") || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestVariablesHaveTheirForm(t *testing.T) {
	for name, values := range map[string]struct{ good, bad []string }{
		"LISTEN": {
			[]string{"http://:9419", "https://:9419", "https://veeam-auth:9419", "https://veeam-auth.lab.local:443", "http://127.0.0.1:9419", "http://[::1]:9419", "https://*.lab.local:9419"},
			[]string{"9419", ":9419", "localhost", "localhost:9419", "http://", "http://:", "http://:0", "http://:999999", "http://:9419/veeam", "http://a b:9419", "{", "tcp://10.0.0.1:9419", "http://:9419, http://:9420"},
		},
		"BIND":         {[]string{"0.0.0.0", "127.0.0.1", "::", "[::1]", "fe80::1", "veeam-auth", "10.0.0.1"}, []string{"0.0.0.0:9419", "127.0.0.1 ::1", "{", "http://0.0.0.0", "[::1]:9419"}},
		"METRICS_PORT": {[]string{"9180", "1", "65535"}, []string{"abc", "0", "-1", ":9180", "tcp://10.0.0.1:9180", "999999", "9180 9181"}},
		"ADMIN":        {[]string{"off", "localhost:2019", "127.0.0.1:2019", "[::1]:2019", "unix//run/admin.sock"}, []string{"2019", ":2019", "localhost", "on", "localhost:2019 {"}},
		"USERNAME":     {[]string{"svc-monitor", `LAB\svc monitor`, "svc@lab.local", "müller"}, []string{`"svc"`, `a"b`, "{http.request.header.X}", "a`b"}},
		"SERVER":       {[]string{"https://vbr01.lab.local:9419", "https://[::1]:9419", "vbr01"}, []string{"https://user:canary@vbr01:9419", "https://vbr 01:9419", `"https://vbr01:9419"`}},
		"PRODUCT":      {[]string{"vbr", "whatever it is"}, nil}, // the directive says what is wrong
	} {
		for _, value := range values.good {
			t.Setenv(Prefix+name, value)
			if err := tidyEnvironment(); err != nil {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
		for _, value := range values.bad {
			t.Setenv(Prefix+name, value)
			if err := tidyEnvironment(); err == nil || !strings.Contains(err.Error(), Prefix+name+" must have the form") || strings.Contains(err.Error(), "canary") {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
		t.Setenv(Prefix+name, "")
	}
}
