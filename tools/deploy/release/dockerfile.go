package main

// The Dockerfile is the one source of what the image is. This reads the last stage and
// the folder that the build stage fills for it, and fails at whatever it does not know:
// an image of a release cannot lack an instruction that someone adds.

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/caddy-veeam/veeam-auth/tools/deploy/linked"
)

// builtFolder is where the build stage puts the files of the image, builtProgram and
// builtLicences where it has the program and the licences of others.
const (
	builtFolder   = "/root-fs"
	builtProgram  = "bin/veeam-auth"
	builtLicences = "bin/" + linked.FileName
)

// imageSpec is what the Dockerfile says.
type imageSpec struct {
	config v1.Config
	files  []imageFile
	owner  int
}

// imageFile is a folder, or a file with its source in the checkout.
type imageFile struct {
	name, source string
	mode         int64
}

func parseDockerfile(text string) (*imageSpec, error) {
	spec := &imageSpec{owner: -1}
	stage := ""
	for _, line := range instructions(text) {
		word, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		var err error
		switch {
		case word == "FROM":
			if stage = stageName(rest); stage == "image" && !strings.HasPrefix(rest, "scratch ") {
				err = errors.New("the stage image is not FROM scratch")
			}
		case stage == "build" && word == "RUN":
			err = spec.install(rest)
		case stage == "image":
			err = spec.instruction(word, rest)
		}
		if err != nil {
			return nil, fmt.Errorf("Dockerfile: %s: %w", line, err)
		}
	}
	if stage != "image" || spec.owner < 0 || len(spec.files) == 0 {
		return nil, errors.New("Dockerfile: the last stage is not \"image\" with the files of the stage build")
	}
	return spec, nil
}

// instructions joins continued lines and leaves out comments.
func instructions(text string) []string {
	var out []string
	open := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		line, more := strings.CutSuffix(line, "\\")
		line = strings.TrimSpace(line)
		if open {
			out[len(out)-1] += " " + line
		} else {
			out = append(out, line)
		}
		open = more
	}
	return out
}

func stageName(from string) string {
	_, name, _ := strings.Cut(from, " AS ")
	return name
}

// install reads the `install` commands that fill the folder of the image.
func (s *imageSpec) install(script string) error {
	for _, command := range strings.Split(script, "&&") {
		words := strings.Fields(command)
		switch {
		case !strings.Contains(command, builtFolder):
		case len(words) > 2 && words[0] == "install" && words[1] == "-d" && !strings.HasPrefix(words[2], "-"):
			for _, name := range words[2:] {
				s.folder(strings.TrimPrefix(name, builtFolder))
			}
		case len(words) == 5 && words[0] == "install" && words[1] == "-m":
			mode, err := strconv.ParseInt(words[2], 8, 64)
			if err != nil {
				return err
			}
			s.files = append(s.files, imageFile{strings.TrimPrefix(words[4], builtFolder), words[3], mode})
		default:
			return fmt.Errorf("the command %q is not known", strings.TrimSpace(command))
		}
	}
	return nil
}

// folder adds a folder and those above it, once.
func (s *imageSpec) folder(name string) {
	if name == "/" || name == "" {
		return
	}
	s.folder(path.Dir(name))
	for _, f := range s.files {
		if f.name == name+"/" {
			return
		}
	}
	s.files = append(s.files, imageFile{name: name + "/", mode: 0o755})
}

func (s *imageSpec) instruction(word, rest string) error {
	switch word {
	case "COPY":
		words := strings.Fields(rest)
		if len(words) != 4 || words[0] != "--from=build" || words[2] != builtFolder+"/" || words[3] != "/" {
			return errors.New("not known")
		}
		owner, ok := strings.CutPrefix(words[1], "--chown=")
		user, group, _ := strings.Cut(owner, ":")
		if !ok || user != group {
			return errors.New("--chown must name a user and the group of the same number")
		}
		var err error
		s.owner, err = strconv.Atoi(user)
		return err
	case "ENV":
		values, err := assignments(rest)
		for _, v := range values {
			s.config.Env = append(s.config.Env, v[0]+"="+v[1])
		}
		return err
	case "LABEL":
		values, err := assignments(rest)
		s.config.Labels = map[string]string{}
		for _, v := range values {
			s.config.Labels[v[0]] = v[1]
		}
		return err
	case "USER":
		s.config.User = rest
	case "WORKDIR":
		s.config.WorkingDir = rest
	case "STOPSIGNAL":
		s.config.StopSignal = rest
	case "EXPOSE":
		s.config.ExposedPorts = map[string]struct{}{}
		for _, port := range strings.Fields(rest) {
			s.config.ExposedPorts[port+"/tcp"] = struct{}{}
		}
	case "ENTRYPOINT":
		return json.Unmarshal([]byte(rest), &s.config.Entrypoint)
	case "CMD":
		return json.Unmarshal([]byte(rest), &s.config.Cmd)
	case "HEALTHCHECK":
		return s.healthcheck(rest)
	default:
		return errors.New("not known")
	}
	return nil
}

func (s *imageSpec) healthcheck(text string) error {
	options, command, ok := strings.Cut(text, "CMD ")
	if !ok {
		return errors.New("CMD is missing")
	}
	health := &v1.HealthConfig{}
	for _, option := range strings.Fields(options) {
		name, value, _ := strings.Cut(option, "=")
		duration, err := time.ParseDuration(value)
		if err != nil {
			return err
		}
		switch name {
		case "--interval":
			health.Interval = duration
		case "--timeout":
			health.Timeout = duration
		case "--start-period":
			health.StartPeriod = duration
		default:
			return fmt.Errorf("%s is not known", name)
		}
	}
	var args []string
	if err := json.Unmarshal([]byte(command), &args); err != nil {
		return err
	}
	health.Test = append([]string{"CMD"}, args...)
	s.config.Healthcheck = health
	return nil
}

// assignments reads NAME=value and NAME="value with spaces".
func assignments(text string) ([][2]string, error) {
	var out [][2]string
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		name, rest, ok := strings.Cut(text, "=")
		if !ok || strings.ContainsAny(name, " \"") {
			return nil, fmt.Errorf("%q is not NAME=value", text)
		}
		if !strings.HasPrefix(rest, `"`) {
			value, after, _ := strings.Cut(rest, " ")
			out, text = append(out, [2]string{name, value}), after
			continue
		}
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return nil, err
		}
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, err
		}
		out, text = append(out, [2]string{name, value}), rest[len(quoted):]
	}
	return out, nil
}
