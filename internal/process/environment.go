// The variables that configure a process.

package process

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"unicode"
)

// Prefix begins the names of the environment variables of veeam-auth.
const Prefix = "VEEAM_AUTH_"

// TidyEnvironment prepares the environment variables of veeam-auth for a configuration that
// takes texts from them, in the program that calls it: white space around a value, such as
// the end of a line, is removed, and a variable without a value counts as not set. A value of
// several lines, with another control character, or of another form than it must have, would
// be read as something else or as more of the configuration: it ends the program with an
// error.
func TidyEnvironment() {
	if err := tidyEnvironment(); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

// forms are those of the variables that a Caddyfile takes for more than a text, so that
// another value would be read as something else, such as a name for a port.
var forms = map[string]struct{ form, example string }{
	Prefix + "LISTEN":       {`^https?://([\w.*-]*|\[[0-9a-fA-F:]+\]):[1-9]\d{0,4}$`, "http://:9419 or https://veeam-auth.lab.local:9419"},
	Prefix + "BIND":         {`^([\w.-]+|\[?[0-9a-fA-F:]*:[0-9a-fA-F:]*\]?)$`, "0.0.0.0, without a port"},
	Prefix + "METRICS_PORT": {`^[1-9]\d{0,4}$`, "9180"},
	Prefix + "ADMIN":        {`^(off|unix/\S+|([\w.-]+|\[[0-9a-fA-F:]+\]):[1-9]\d{0,4})$`, "localhost:2019"},
	Prefix + "USERNAME":     {`^[^"{}` + "`" + `]+$`, `LAB\svc-monitor, without quotation marks and braces`},
	Prefix + "SERVER":       {`^[^\s"@` + "`" + `]+$`, "https://vbr01.lab.local:9419, without a user and a password"},
}

// tidyEnvironment is TidyEnvironment. The error contains no value.
func tidyEnvironment() error {
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, Prefix) {
			continue
		}
		trimmed := strings.TrimSpace(value)
		if strings.ContainsFunc(trimmed, unicode.IsControl) {
			return fmt.Errorf("the environment variable %s has several lines, or a control character; it must be one line of text", name)
		}
		if f := forms[name]; trimmed != "" && f.form != "" && !regexp.MustCompile(f.form).MatchString(trimmed) {
			return fmt.Errorf("the environment variable %s must have the form %s", name, f.example)
		}
		var err error
		switch {
		case trimmed == "":
			err = os.Unsetenv(name)
		case trimmed != value:
			err = os.Setenv(name, trimmed)
		}
		if err != nil {
			return fmt.Errorf("the environment variable %s: %w", name, err)
		}
	}
	return nil
}
