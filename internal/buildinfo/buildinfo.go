// Package buildinfo returns the module version from which a binary was built.
package buildinfo

import (
	"runtime/debug"
	"sync"
)

// Module is the path of the module.
const Module = "github.com/caddy-veeam/veeam-auth"

const caddyModule = "github.com/caddyserver/caddy/v2"

// Development is the version of a build that is none of a release.
const Development = "(devel)"

// version is set by the linker where Go sees no repository, such as in the build of an
// image: -X github.com/caddy-veeam/veeam-auth/internal/buildinfo.version=v1.2.3
var version string

// Info is what a binary knows about itself.
type Info struct {
	Version  string // of the module, such as v1.2.3; Development outside a release
	Revision string // the commit, empty where the build did not see a repository
	Modified bool   // the work tree had changes that are not in the commit
	Caddy    string // the version of Caddy
	Go       string // the version of Go
}

// Read returns the build info of this process.
var Read = sync.OnceValue(func() Info {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return Info{Version: Development}
	}
	return from(build, version)
})

// from finds the module: the main one of a binary made in this repository, a
// dependency of one that xcaddy has made. What Go knows counts more than what the linker
// was told.
func from(build *debug.BuildInfo, told string) Info {
	info := Info{Version: Development, Go: build.GoVersion}
	if build.Main.Path == Module {
		if build.Main.Version != "" {
			info.Version = build.Main.Version
		}
		for _, setting := range build.Settings {
			switch setting.Key {
			case "vcs.revision":
				info.Revision = setting.Value
			case "vcs.modified":
				info.Modified = setting.Value == "true"
			}
		}
	}
	for _, dep := range build.Deps {
		switch {
		case dep.Path == caddyModule:
			info.Caddy = dep.Version
		case dep.Path == Module && dep.Replace == nil:
			info.Version = dep.Version
		}
	}
	if info.Version == Development && told != "" {
		info.Version = told
	}
	return info
}

// String is one line for people.
func (i Info) String() string {
	text := "veeam-auth " + i.Version
	if i.Revision != "" {
		text += " (" + i.Revision
		if i.Modified {
			text += ", modified"
		}
		text += ")"
	}
	if i.Caddy != "" {
		text += ", caddy " + i.Caddy
	}
	return text + ", " + i.Go
}
