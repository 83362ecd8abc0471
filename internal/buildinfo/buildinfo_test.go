package buildinfo

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestFrom(t *testing.T) {
	caddy := &debug.Module{Path: caddyModule, Version: "v2.11.9"}
	for name, tt := range map[string]struct {
		build debug.BuildInfo
		told  string
		want  string
	}{
		"made in the repository": {
			debug.BuildInfo{
				GoVersion: "go1.26.8", Main: debug.Module{Path: Module, Version: "v1.2.3"}, Deps: []*debug.Module{caddy},
				Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123abc"}, {Key: "vcs.modified", Value: "true"}},
			},
			"v9.9.9",
			"veeam-auth v1.2.3 (0123abc, modified), caddy v2.11.9, go1.26.8",
		},
		"made by xcaddy from a release": {
			debug.BuildInfo{
				GoVersion: "go1.26.8", Main: debug.Module{Path: "caddy", Version: "(devel)"},
				Deps:     []*debug.Module{caddy, {Path: Module, Version: "v1.2.3"}},
				Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "of something else"}},
			},
			"",
			"veeam-auth v1.2.3, caddy v2.11.9, go1.26.8",
		},
		"made by xcaddy from a folder": {
			debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Path: "caddy"}, Deps: []*debug.Module{
				caddy, {Path: Module, Version: "v0.0.0", Replace: &debug.Module{Path: "."}},
			}},
			"",
			"veeam-auth (devel), caddy v2.11.9, go1.26.8",
		},
		"made without a repository": {
			debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Path: Module, Version: "(devel)"}, Deps: []*debug.Module{caddy}},
			"v1.2.3",
			"veeam-auth v1.2.3, caddy v2.11.9, go1.26.8",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := from(&tt.build, tt.told).String(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestReadKnowsTheVersionOfGo(t *testing.T) {
	if got := Read(); !strings.HasPrefix(got.Go, "go") && !strings.HasPrefix(got.Go, "devel") {
		t.Errorf("%+v", got)
	}
}
