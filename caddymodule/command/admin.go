// How commands talk to the admin endpoint of the Caddy that runs.

package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caddy-veeam/veeam-auth/internal/bounded"
)

// adminFlags say where the admin endpoint is.
type adminFlags struct {
	address, config, adapter string

	found string // the configuration with the address, if neither of them was asked for
}

func (f *adminFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.address, "address", "", "Address of the admin endpoint. Default: the address in the configuration, or Caddy's default")
	flags.StringVarP(&f.config, "config", "c", "", "Configuration file with the address of the admin endpoint. "+defaultText+", if it exists")
	flags.StringVarP(&f.adapter, "adapter", "a", "", "Adapter of the configuration file")
}

// find returns the address: as given, as the configuration says, or Caddy's
// default. With acts, the listener of the page does if there is no admin endpoint. A
// Caddyfile that happens to lie here and cannot be read is no error.
func (f *adminFlags) find(stdin io.Reader, stderr io.Writer, acts bool) (string, error) {
	if f.address != "" {
		return f.address, nil
	}
	files := configFlags{config: f.config, adapter: f.adapter}
	if f.config == "" {
		files.config = defaultConfig()
		if _, err := os.Stat(files.config); err != nil {
			return caddy.DefaultAdminListen, nil //nolint:nilerr // without a configuration Caddy listens at its default
		}
	}
	text, err := files.adapt(stdin, io.Discard)
	var config struct {
		Admin caddy.AdminConfig `json:"admin"`
		Apps  struct {
			VeeamAuth struct {
				Page struct {
					Listen string `json:"listen"`
				} `json:"page"`
			} `json:"veeam_auth"`
		} `json:"apps"`
	}
	if err == nil {
		err = json.Unmarshal(text, &config)
	}
	switch {
	case err != nil && f.config != "":
		return "", err
	case err != nil:
		fmt.Fprintf(stderr, "Warning: ignoring %s: %v\n", files.config, err)
	case config.Admin.Disabled && acts && config.Apps.VeeamAuth.Page.Listen != "":
		return config.Apps.VeeamAuth.Page.Listen, nil
	case config.Admin.Disabled && acts:
		return "", fmt.Errorf("the admin endpoint is disabled in %s, and there is no page: "+
			"write veeam_auth { page localhost:2021 } into the global options, or remove admin off, and restart Caddy", files.config)
	case config.Admin.Disabled:
		return "", fmt.Errorf("the admin endpoint is disabled in %s, and this command requires it: remove admin off, and restart Caddy", files.config)
	case config.Admin.Listen != "":
		if f.config == "" {
			f.found = files.config
		}
		return config.Admin.Listen, nil
	}
	return caddy.DefaultAdminListen, nil
}

// call asks the Caddy that runs and reads its answer into answer, unless that is
// nil. Its errors are for people.
func (f *adminFlags) call(cmd *cobra.Command, method, path string, body, answer any) error {
	address, err := f.find(cmd.InOrStdin(), cmd.ErrOrStderr(), true)
	if err != nil {
		return err
	}
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	text, err := askAdmin(cmd.Context(), address, method, path, content)
	if cmd.Context().Err() != nil {
		return failed(errors.New("interrupted; Caddy may still do what it was asked for"))
	}
	if err != nil {
		wrong, plain := f.plainError(address, err)
		if wrong {
			return plain
		}
		return failed(plain)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return failed(fmt.Errorf("cannot read the answer of Caddy at %s: %w", address, err))
	}
	return nil
}

const (
	// readFor is how long an answer is waited for to a request that changes nothing. A login
	// may take longer, and ends in time by itself.
	readFor = 30 * time.Second

	// maxAdminAnswer is the maximum length of an answer, in bytes.
	maxAdminAnswer = 64 << 20
)

// askAdmin asks the admin endpoint, or what is there instead of it, and returns the answer.
// The end of ctx ends it, which Caddy's client does not know.
func askAdmin(ctx context.Context, address, method, path string, body io.Reader) ([]byte, error) {
	if method == http.MethodGet {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, readFor)
		defer cancel()
	}
	return bounded.Call(ctx, func(context.Context) ([]byte, error) {
		res, err := caddycmd.AdminAPIRequest(address, method, path, http.Header{"Content-Type": {"application/json"}}, body)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		content, err := io.ReadAll(io.LimitReader(res.Body, maxAdminAnswer+1))
		if err == nil && len(content) > maxAdminAnswer {
			err = fmt.Errorf("its answer is longer than %d MiB", maxAdminAnswer>>20)
		}
		return content, err
	})
}

var adminAnswer = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?s)HTTP (\d+): (.*)$`) })

// plainError says what an error of an admin request means, and whether the command was
// used wrongly: with a value that is not allowed, or with the name of nothing.
func (f *adminFlags) plainError(address string, err error) (wrong bool, plain error) {
	answer := adminAnswer().FindStringSubmatch(err.Error())
	if answer == nil {
		text := err.Error()
		cause := text[strings.LastIndex(text, ": ")+1:] // such as: connection refused
		cause = strings.TrimSpace(cause)
		if f.found != "" {
			cause += "; the address is that of " + f.found
		}
		return false, fmt.Errorf("no Caddy answers at %s (%s): start Caddy, or set the admin endpoint with --address or --config", address, cause)
	}
	var body struct {
		Error string `json:"error"`
	}
	_ = json.Unmarshal([]byte(answer[2]), &body)
	switch {
	case body.Error != "":
		return answer[1] == "400" || answer[1] == "404", errors.New(body.Error)
	case answer[1] == "404":
		return false, fmt.Errorf("the server at %s is not Caddy with this version of veeam_auth", address)
	}
	return false, fmt.Errorf("Caddy at %s refused the request with status %s", address, answer[1]) //nolint:staticcheck // a name
}
