//go:build deploy

package deploy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-veeam/veeam-auth/test/harness"
	"github.com/caddy-veeam/veeam-auth/test/veeamtest"
)

const (
	unit   = "deploy/systemd/veeam-auth.service"
	socket = "deploy/systemd/veeam-auth.socket"
)

func TestTheUnitIsHardened(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(shared.root, unit))
	if err != nil {
		t.Fatal(err)
	}
	here := filepath.Join(t.TempDir(), "veeam-auth.service") // the program is not installed
	if err := os.WriteFile(here, []byte(strings.ReplaceAll(string(data), "/usr/bin/veeam-auth", "/bin/true")), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "cp", socket, filepath.Dir(here))
	if out := run(t, "systemd-analyze", "verify", here, filepath.Join(filepath.Dir(here), filepath.Base(socket))); out != "" {
		t.Error(out)
	}
	out := run(t, "systemd-analyze", "security", "--offline=true", filepath.Join(shared.root, unit))
	match := regexp.MustCompile(`Overall exposure level for veeam-auth.service: ([0-9.]+)`).FindStringSubmatch(out)
	if match == nil {
		t.Fatal(out)
	}
	score, err := strconv.ParseFloat(match[1], 64)
	if err != nil || score > 1.5 {
		t.Errorf("exposure %s, at most 1.5", match[1])
	}
	t.Logf("exposure %s", match[1])
}

// machine is a Debian that has booted in a container.
type machine string

func boot(t *testing.T) machine {
	t.Helper()
	const name = "localhost/debian-systemd:latest"
	if _, err := try(t, "podman", append(storage(), "image", "exists", name)...); err != nil {
		tree := filepath.Join(shared.dir, "debian.tar")
		run(t, "mmdebstrap", "--variant=minbase", "--include=systemd,systemd-sysv,dbus,rpm", "bookworm", tree)
		podman(t, "import", tree, name)
	}
	m := machine("machine-" + strings.ToLower(t.Name()))
	podman(t, "run", "-d", "--name", string(m), "--privileged", "--systemd=always", "--network", "host", name, "/sbin/init")
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := m.try(t, "journalctl --no-pager -n 80; systemctl status veeam-auth --no-pager")
			t.Log(out)
		}
		podman(t, "rm", "-f", "-t", "5", string(m))
	})
	eventually(t, "the boot", func() error {
		out, _ := m.try(t, "systemctl is-system-running")
		if state := strings.TrimSpace(out); state != "running" && state != "degraded" {
			return fmt.Errorf("the machine is %s", state)
		}
		return nil
	})
	return m
}

func (m machine) try(t *testing.T, script string) (string, error) {
	t.Helper()
	out, err := exec.Command("podman", append(storage(), "exec", string(m), "sh", "-c", script)...).CombinedOutput()
	return string(out), err
}

func (m machine) run(t *testing.T, script string) string {
	t.Helper()
	out, err := m.try(t, script)
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

// write puts a text into a file of the machine.
func (m machine) write(t *testing.T, file, text string) {
	t.Helper()
	here := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(here, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	podman(t, "cp", here, string(m)+":"+file)
}

// TestThePackageIsInstalledRunAndRemoved makes the deb, installs it in a booted Debian, and
// starts, reloads and stops the unit there. LoadCredential= gives an empty folder in a
// container, so the test puts the password there by a drop-in.
func TestThePackageIsInstalledRunAndRemoved(t *testing.T) {
	server := harness.StartServer(t, veeamtest.VBR13)
	deb := filepath.Join(t.TempDir(), "veeam-auth.deb")
	packaged(t, "deb", "0.0.1", deb)
	m := boot(t)
	podman(t, "cp", deb, string(m)+":/veeam-auth.deb")
	m.run(t, "dpkg -i /veeam-auth.deb")
	if out, _ := m.try(t, "systemctl is-active veeam-auth"); strings.TrimSpace(out) == "active" {
		t.Error("a new installation runs without a server and a password")
	}

	m.write(t, "/etc/veeam-auth/secrets/vbr_password", veeamtest.DefaultPassword+"\n")
	caddyfile := strings.NewReplacer("https://vbr01.lab.local:9419", server.URL(), "# tls_pin 86:F1:76:9B:44:7A:46:41:38:95:5D:B9:23:6A:41:1C:54:87:28:1F", "tls_pin "+harness.Pin(server),
		"http://:9419", "http://:"+port(t)).Replace(m.run(t, "cat /etc/veeam-auth/Caddyfile"))
	address := regexp.MustCompile(`http://:(\d+) \{`).FindStringSubmatch(caddyfile)[1]
	m.write(t, "/etc/veeam-auth/Caddyfile", caddyfile)
	m.run(t, "chmod 0644 /etc/veeam-auth/Caddyfile; mkdir -p /etc/systemd/system/veeam-auth.service.d")
	m.write(t, "/etc/systemd/system/veeam-auth.service.d/container.conf", `[Service]
LoadCredential=
Environment=CREDENTIALS_DIRECTORY=/run/test-credentials
`)
	m.run(t, "install -d -m 0755 /run/test-credentials; install -m 0444 /etc/veeam-auth/secrets/vbr_password /run/test-credentials/; systemctl daemon-reload; systemctl enable --now veeam-auth")
	eventually(t, "the first answer", func() error { return get("http://127.0.0.1:"+address+"/api/v1/serverInfo", 200) })
	m.run(t, "systemctl reload veeam-auth")
	// Caddy closes its old sockets with the connections that the kernel has queued for them.
	eventually(t, "an answer after the reload", func() error { return get("http://127.0.0.1:"+address+"/api/v1/serverInfo", 200) })
	// Both are written in the background.
	for command, want := range map[string]string{
		"cat /var/log/private/veeam-auth/Svc.ResAPI.log":         "/api/v1/serverInfo",
		"journalctl --sync; journalctl -u veeam-auth --no-pager": "serving initial configuration",
	} {
		eventually(t, command, func() error {
			out, err := m.try(t, command)
			if err == nil && !strings.Contains(out, want) {
				err = fmt.Errorf("no %q in %s", want, out)
			}
			if strings.Contains(out, veeamtest.DefaultPassword) {
				t.Errorf("%s: the password: %s", command, out)
			}
			return err
		})
	}
	if out := m.run(t, "cd / && veeam-auth sessions"); !strings.Contains(out, " valid ") {
		t.Errorf("beside the unit: %s", out)
	}
	// As docs/container.md has it, but for LoadCredential=, which needs more than a container.
	m.run(t, "systemd-run --wait --pipe --collect -p DynamicUser=yes -p User=veeam-auth -p StateDirectory=veeam-auth -E CREDENTIALS_DIRECTORY=/run/test-credentials "+
		"-E HOME=/var/lib/veeam-auth -E XDG_DATA_HOME=/var/lib/veeam-auth /usr/bin/veeam-auth check svc-monitor --login")
	if out := m.run(t, "stat -c %u $(find /var/lib/private/veeam-auth) | sort -u"); strings.Count(out, "\n") != 1 || out == "0\n" {
		t.Errorf("the storage has files of the users %q", out)
	}
	m.run(t, "systemctl stop veeam-auth")
	if out := m.run(t, "systemctl show -p ExecMainStatus -p Result veeam-auth"); !strings.Contains(out, "ExecMainStatus=0") || !strings.Contains(out, "Result=success") {
		t.Error(out)
	}
	if counters := server.Counters(); counters.Logins != 2 || counters.LiveSessions != 0 {
		t.Errorf("%d logins, %d sessions left", counters.Logins, counters.LiveSessions)
	}
	activateBySocket(t, m, caddyfile, address)
	m.run(t, "systemctl start veeam-auth; dpkg -r veeam-auth")
	if out, _ := m.try(t, "systemctl is-active veeam-auth.socket"); strings.TrimSpace(out) == "active" {
		t.Error("the removed package still listens")
	}
	if out, _ := m.try(t, "systemctl is-active veeam-auth; ls /usr/bin/veeam-auth /etc/veeam-auth/Caddyfile"); strings.Contains(out, "\nactive") || !strings.Contains(out, "cannot access '/usr/bin/veeam-auth'") || strings.Contains(out, "cannot access '/etc") {
		t.Errorf("after the removal: %s", out)
	}
	m.run(t, "dpkg -P veeam-auth; ! test -e /etc/veeam-auth; ! test -e /var/lib/private/veeam-auth")
	installRPM(t, m, caddyfile, address)
}

// installRPM installs, upgrades and removes the rpm with the rpm of Debian, whose database
// has none of Debian's packages: another rpm stands for the two things that it requires.
func installRPM(t *testing.T, m machine, caddyfile, port string) {
	t.Helper()
	for _, version := range []string{"0.0.1", "0.0.2"} {
		file := filepath.Join(t.TempDir(), "veeam-auth.rpm")
		packaged(t, "rpm", version, file)
		podman(t, "cp", file, string(m)+":/veeam-auth-"+version+".rpm")
	}
	podman(t, "cp", standIn(t), string(m)+":/base.rpm")
	address := "http://127.0.0.1:" + port + "/api/v1/serverInfo"
	if out, err := m.try(t, "rpm -i /veeam-auth-0.0.1.rpm"); err == nil || !strings.Contains(out, "systemd is needed by veeam-auth") || !strings.Contains(out, "/bin/sh is needed by veeam-auth") {
		t.Errorf("without what it requires: %v, %s", err, out)
	}
	m.run(t, "rpm -i /base.rpm && rpm -i /veeam-auth-0.0.1.rpm && rpm -V veeam-auth && veeam-auth version && test $(stat -c %a:%U /etc/veeam-auth/secrets) = 700:root")
	if out, _ := m.try(t, "systemctl is-active veeam-auth"); strings.TrimSpace(out) != "inactive" {
		t.Errorf("after a new installation the service is %s", out)
	}
	m.write(t, "/etc/veeam-auth/Caddyfile", caddyfile)
	m.run(t, "chmod 0644 /etc/veeam-auth/Caddyfile; systemctl enable --now veeam-auth")
	if err := get(address, 200); err != nil {
		t.Errorf("installed by rpm: %v", err)
	}
	if out, err := m.try(t, "rpm -e base"); err == nil {
		t.Errorf("what it requires can be removed: %s", out)
	}
	before := m.run(t, "systemctl show -p MainPID veeam-auth")
	m.run(t, "rpm -U /veeam-auth-0.0.2.rpm; rpm -q veeam-auth | grep -q 0.0.2")
	if err := get(address, 200); err != nil {
		t.Errorf("upgraded by rpm: %v", err)
	}
	if after := m.run(t, "systemctl show -p MainPID veeam-auth"); after == before {
		t.Error("the old program still runs after an upgrade")
	}
	if out := m.run(t, "cat /etc/veeam-auth/Caddyfile"); out != caddyfile {
		t.Error("an upgrade has changed the Caddyfile")
	}
	m.run(t, "rpm -e veeam-auth; ! systemctl is-active veeam-auth; ! test -e /usr/bin/veeam-auth; ! test -e /usr/lib/systemd/system/veeam-auth.socket; test -e /etc/veeam-auth/Caddyfile.rpmsave")
}

// standIn makes a package that provides what the rpm requires.
func standIn(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	config, file := filepath.Join(dir, "nfpm.yaml"), filepath.Join(dir, "base.rpm")
	text := "name: base\narch: all\nversion: 1.0.0\nmaintainer: test <test@localhost>\ndescription: stands for a distribution\nlicense: Apache-2.0\nprovides: [systemd, /bin/sh]\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "nfpm", "package", "-f", config, "-p", "rpm", "-t", file)
	return file
}

// TestTheRPMIsInstalledIntoAnEmptyRoot shows files, modes, requirements and scripts of the
// rpm without a system, and what rpmlint says.
func TestTheRPMIsInstalledIntoAnEmptyRoot(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "veeam-auth-0.0.1-1.x86_64.rpm")
	packaged(t, "rpm", "0.0.1", file)
	var requires []string
	for _, line := range strings.Split(run(t, "rpm", "-qp", "--requires", file), "\n") {
		if line != "" && !strings.HasPrefix(line, "rpmlib(") {
			requires = append(requires, line)
		}
	}
	if got := strings.Join(requires, " "); got != "systemd /bin/sh" {
		t.Errorf("it requires %q", got)
	}
	run(t, "rpm", "-K", "--nosignature", file)
	root := t.TempDir()
	run(t, "rpm", "--root", root, "-i", "--noscripts", standIn(t), file)
	run(t, "rpm", "--root", root, "-V", "veeam-auth")
	for name, mode := range map[string]os.FileMode{
		"usr/bin/veeam-auth": 0o755, "etc/veeam-auth/Caddyfile": 0o644, "etc/veeam-auth/secrets": 0o700 | os.ModeDir, "usr/lib/systemd/system/veeam-auth.service": 0o644,
	} {
		if info, err := os.Stat(filepath.Join(root, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v, want %v", name, info, err, mode)
		}
	}
	if line := run(t, filepath.Join(root, "usr/bin/veeam-auth"), "version"); !strings.HasPrefix(line, "veeam-auth "+builtVersion) {
		t.Errorf("the version is %q", line)
	}
	// Shells of distributions differ: dash reads what each runs.
	for _, script := range []string{"postinstall", "preremove", "postremove"} {
		run(t, "dash", "-n", "deploy/packages/"+script+".sh")
	}
	// Which of the filters are needed depends on the version.
	out, _ := try(t, "rpmlint", "--rpmlintrc", "test/deploy/testdata/rpmlintrc", file)
	if !strings.Contains(out, "1 packages and 0 specfiles checked") {
		t.Errorf("rpmlint says %s", out)
	}
	for _, line := range strings.Split(out, "\n") {
		if regexp.MustCompile(`: [EW]: `).MatchString(line) && !strings.Contains(line, "unused-rpmlintrc-filter") {
			t.Error(line)
		}
	}
}

// activateBySocket has systemd listen for the service: the first connection starts it, and
// a restart refuses none.
func activateBySocket(t *testing.T, m machine, caddyfile, port string) {
	t.Helper()
	address := "http://127.0.0.1:" + port + "/api/v1/serverInfo"
	m.write(t, "/etc/veeam-auth/Caddyfile", strings.Replace(caddyfile, "http://:"+port+" {\n", "http://:"+port+" {\n\tbind fd/3 fd/4\n", 1))
	m.run(t, "chmod 0644 /etc/veeam-auth/Caddyfile; mkdir -p /etc/systemd/system/veeam-auth.socket.d")
	m.write(t, "/etc/systemd/system/veeam-auth.socket.d/port.conf", "[Socket]\nListenStream=\nListenStream=127.0.0.1:"+port+"\nListenStream=[::1]:"+port+"\n")
	m.run(t, "systemctl disable veeam-auth; systemctl daemon-reload; systemctl enable --now veeam-auth.socket")
	if out, _ := m.try(t, "systemctl is-active veeam-auth"); strings.TrimSpace(out) != "inactive" {
		t.Errorf("before the first connection the service is %s", out)
	}
	if err := get(address, 200); err != nil {
		t.Errorf("the first connection: %v", err)
	}
	m.run(t, "systemctl reload veeam-auth")
	// Caddy closes its old sockets with the connections that the kernel has queued for them.
	eventually(t, "an answer after the reload", func() error { return get(address, 200) })
	restarted := make(chan error, 1)
	go func() {
		_, err := m.try(t, "systemctl restart veeam-auth")
		restarted <- err
	}()
	ended := 0
	for requests := 0; ; requests++ {
		err := get(address, 200)
		// The HTTP server of Go ends connections whose first request it has not read when its
		// shutdown begins. Clients send it again; a connection that is refused is the fault
		// that the socket prevents.
		for tries := 1; tries < 3 && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)); tries++ {
			ended++
			err = get(address, 200)
		}
		if err != nil {
			t.Errorf("during the restart, after %d requests: %v", requests, err)
		}
		select {
		case err := <-restarted:
			if err != nil {
				t.Error(err)
			}
			t.Logf("%d requests during the restart, of which %d were sent again", requests+1, ended)
			return
		default:
		}
	}
}

// packaged makes a package of the slim build.
func packaged(t *testing.T, format, version, file string) {
	t.Helper()
	cmd := exec.Command("go", "tool", "-modfile=tools/deploy/go.mod", "nfpm", "package", "-f", "deploy/packages/nfpm.yaml", "-p", format, "-t", file)
	cmd.Dir = shared.root
	cmd.Env = append(os.Environ(), "ARCH=amd64", "VERSION="+version, "BIN="+filepath.Join(shared.bin, "veeam-auth"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestTheRPMHoldsWhatTheDebHolds(t *testing.T) {
	dir := t.TempDir()
	packaged(t, "deb", "0.0.1", filepath.Join(dir, "x.deb"))
	packaged(t, "rpm", "0.0.1", filepath.Join(dir, "x.rpm"))
	list := func(lines string) (names []string) {
		for _, line := range strings.Split(lines, "\n") {
			if name := strings.TrimPrefix(strings.TrimSpace(line), "."); name != "" && !strings.HasSuffix(name, "/") {
				names = append(names, name)
			}
		}
		return names
	}
	var debs []string
	for _, line := range strings.Split(run(t, "dpkg-deb", "-c", filepath.Join(dir, "x.deb")), "\n") {
		if fields := strings.Fields(line); len(fields) > 5 && strings.HasPrefix(line, "-") {
			debs = append(debs, strings.TrimPrefix(fields[5], "."))
		}
	}
	rpms := strings.Join(list(run(t, "rpm", "-qlp", filepath.Join(dir, "x.rpm"))), "\n") + "\n"
	if len(debs) < 7 {
		t.Error(debs)
	}
	for _, name := range debs {
		if !strings.Contains(rpms, name+"\n") {
			t.Errorf("the rpm has no %s", name)
		}
	}
}
