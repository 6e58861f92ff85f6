package deploy

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unpacked is the package as dpkg lays it out, and its control files in DEBIAN.
func unpacked(t *testing.T) string {
	t.Helper()
	deb := os.Getenv("FLIP_DEB")
	if deb == "" {
		t.Skip("no package to look at: `make lintian` builds one and runs this")
	}
	dir := t.TempDir()
	for _, args := range [][]string{{"-x", deb, dir}, {"-e", deb, filepath.Join(dir, "DEBIAN")}} {
		if out, err := exec.CommandContext(t.Context(), "dpkg-deb", args...).CombinedOutput(); err != nil {
			t.Fatalf("dpkg-deb %s: %v: %s", args[0], err, out)
		}
	}
	return dir
}

// run runs a command and answers with all that it writes.
func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v: %s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestPackageHasItsFiles(t *testing.T) {
	dir := unpacked(t)
	for name, mode := range map[string]fs.FileMode{
		"usr/bin/flip":                                 0o755,
		"lib/systemd/system/flip.service":              0o644,
		"etc/default/flip":                             0o644,
		"etc/flip":                                     0o755 | fs.ModeDir,
		"usr/share/man/man8/flip.8.gz":                 0o644,
		"usr/share/bash-completion/completions/flip":   0o644,
		"usr/share/zsh/vendor-completions/_flip":       0o644,
		"usr/share/doc/flip/copyright":                 0o644,
		"usr/share/doc/flip/changelog.gz":              0o644,
		"usr/share/doc/flip/quickstart.md":             0o644,
		"usr/share/doc/flip/guarantees.md":             0o644,
		"usr/share/doc/flip/alerts.yml":                0o644,
		"usr/share/doc/flip/no-hooks.conf":             0o644,
		"usr/share/doc/flip/examples/pair/flip.json":   0o644,
		"usr/share/doc/flip/examples/readme/flip.json": 0o644,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if info.Mode() != mode {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), mode)
		}
	}
	// dpkg asks before it replaces a conffile that somebody has edited. The
	// operator's own file and key are none: the package does not have them.
	if got := read(t, dir, "DEBIAN/conffiles"); strings.TrimSpace(got) != "/etc/default/flip" {
		t.Errorf("conffiles: %q", got)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "etc/flip")); err != nil || len(entries) > 0 {
		t.Errorf("etc/flip has %v, %v", entries, err)
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The binary of the package runs as it lies there, and takes every example that
// lies beside it.
func TestPackagedProgramRuns(t *testing.T) {
	dir := unpacked(t)
	flip := filepath.Join(dir, "usr/bin/flip")
	if out := run(t, nil, flip, "version"); !strings.Contains(out, "flip") {
		t.Errorf("version: %s", out)
	}
	if key := run(t, nil, flip, "keygen"); len(strings.TrimSpace(key)) < 32 {
		t.Errorf("keygen: %s", key)
	}
	examples := filepath.Join(dir, "usr/share/doc/flip/examples")
	for _, path := range exampleFiles(t, examples) {
		run(t, nil, flip, "check", "--id", idOf(t, path), path)
	}
	if tool, err := exec.LookPath("ldd"); err == nil {
		out, _ := exec.CommandContext(t.Context(), tool, flip).CombinedOutput()
		if !bytes.Contains(out, []byte("not a dynamic executable")) {
			t.Errorf("the binary needs libraries: %s", out)
		}
	}
}

// What the package says of the commands is what there is.
func TestPackagedManPageAndCompletion(t *testing.T) {
	dir := unpacked(t)
	flip := filepath.Join(dir, "usr/bin/flip")
	page := run(t, nil, "gzip", "-dc", filepath.Join(dir, "usr/share/man/man8/flip.8.gz"))
	_, commands, _ := strings.Cut(run(t, nil, flip, "help"), "COMMANDS:\n")
	commands, _, _ = strings.Cut(commands, "\n\n")
	n := 0
	for line := range strings.Lines(commands) {
		name := strings.TrimSuffix(strings.Fields(line)[0], ",")
		if name == "help" {
			continue
		}
		if n++; !strings.Contains(page, "\n.TP\n.B "+name+"\n") {
			t.Errorf("flip(8) does not explain `flip %s`", name)
		}
	}
	if n < 5 {
		t.Errorf("`flip help` lists %d commands", n)
	}
	completion := filepath.Join(dir, "usr/share/bash-completion/completions/flip")
	out := run(t, []string{"PATH=" + filepath.Dir(flip) + ":" + os.Getenv("PATH")}, "bash", "-c",
		"source "+completion+"; COMP_WORDS=(flip sta); COMP_CWORD=1; _flip_complete; echo ${COMPREPLY[@]}")
	if !slices.Contains(strings.Fields(out), "status") {
		t.Errorf("completion of sta: %q", out)
	}
}

// stubs makes a PATH on which what would reach systemd only writes down what it
// was asked.
func stubs(t *testing.T) (env []string, asked string) {
	dir := t.TempDir()
	asked = filepath.Join(dir, "asked")
	for _, name := range []string{"systemctl", "deb-systemd-invoke", "deb-systemd-helper"} {
		script := "#!/bin/sh\necho " + name + " \"$@\" >>" + asked + "\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"PATH=" + dir + ":" + os.Getenv("PATH")}, asked
}

// Neither enables nor starts; an upgrade restarts nothing and says how to roll.
func TestPackageScriptsLeaveTheServiceAlone(t *testing.T) {
	dir := unpacked(t)
	env, asked := stubs(t)
	script := func(name string) string { return filepath.Join(dir, "DEBIAN", name) }
	first := run(t, env, script("postinst"), "configure", "")
	run(t, env, script("prerm"), "upgrade", "2.0")
	run(t, env, script("postrm"), "upgrade", "2.0")
	upgrade := run(t, env, script("postinst"), "configure", "1.0")
	if data, err := os.ReadFile(asked); err == nil { // where systemd runs
		for line := range strings.Lines(string(data)) {
			if strings.TrimSpace(line) != "systemctl --system daemon-reload" {
				t.Errorf("a script asked for: %s", line)
			}
		}
	}
	if _, err := os.Stat("/etc/flip/flip.json"); err != nil && !strings.Contains(first, "neither enabled nor started") {
		t.Errorf("a first installation says %q", first)
	}
	for _, words := range []string{"nothing was restarted", "on one node at a time", "systemctl restart flip"} {
		if !strings.Contains(upgrade, words) {
			t.Errorf("an upgrade does not say %q: %s", words, upgrade)
		}
	}
}
