package deploy

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
		"usr/bin/flip":                                  0o755,
		"lib/systemd/system/flip.service":               0o644,
		"etc/default/flip":                              0o644,
		"etc/flip":                                      0o755 | fs.ModeDir,
		"usr/share/man/man8/flip.8.gz":                  0o644,
		"usr/share/man/man8/flip-status.8.gz":           0o644,
		"usr/share/bash-completion/completions/flip":    0o644,
		"usr/share/zsh/vendor-completions/_flip":        0o644,
		"usr/share/fish/vendor_completions.d/flip.fish": 0o644,
		"usr/share/doc/flip/copyright":                  0o644,
		"usr/share/doc/flip/api.md":                     0o644,
		"usr/share/doc/flip/changelog.gz":               0o644,
		"usr/share/doc/flip/quickstart.md":              0o644,
		"usr/share/doc/flip/guarantees.md":              0o644,
		"usr/share/doc/flip/alerts.yml":                 0o644,
		"usr/share/doc/flip/no-hooks.conf":              0o644,
		"usr/share/doc/flip/examples/pair/flip.json":    0o644,
		"usr/share/doc/flip/examples/readme/flip.json":  0o644,
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

// What the package says of the commands is what there is: a page for each, with the
// date of the source.
func TestPackagedManPages(t *testing.T) {
	dir := unpacked(t)
	man := filepath.Join(dir, "usr/share/man/man8")
	want := []string{"flip.8.gz"}
	for _, name := range commands(t, filepath.Join(dir, "usr/bin/flip")) {
		want = append(want, "flip-"+name+".8.gz")
	}
	if len(want) < 10 {
		t.Errorf("`flip help` lists only %q", want)
	}
	entries, err := os.ReadDir(man)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("pages %q, want %q", have, want)
	}
	for _, name := range have {
		page := run(t, nil, "gzip", "-dc", filepath.Join(man, name))
		if head, _, _ := strings.Cut(page, "\n"); !regexp.MustCompile(`^\.TH "FLIP\S*" "8" "20\d\d\\-\d\d\\-\d\d" "flip \S`).MatchString(head) {
			t.Errorf("%s begins with %s", name, head)
		}
	}
}

func TestPackagedCompletion(t *testing.T) {
	dir := unpacked(t)
	env := []string{"PATH=" + filepath.Join(dir, "usr/bin") + ":" + os.Getenv("PATH")}
	for shell, script := range map[string]string{
		"bash": `source "$0/usr/share/bash-completion/completions/flip"; COMP_LINE="flip sta" COMP_POINT=8 COMP_WORDS=(flip sta); _flip_complete; echo "${COMPREPLY[@]}"`,
		// As compsys runs what it finds in $fpath: by the name of the file.
		"zsh":  `fpath=("$0/usr/share/zsh/vendor-completions"); _describe() { print -rl -- "${(@P)2%%:*}" }; autoload -Uz _flip; words=(flip sta) CURRENT=2 PREFIX=sta; _flip`,
		"fish": `source "$argv[1]/usr/share/fish/vendor_completions.d/flip.fish"; complete -C "flip sta" | string split -f1 \t`,
	} {
		if _, err := exec.LookPath(shell); err != nil {
			t.Logf("no %s here: its completion is not tested", shell)
			continue
		}
		if out := run(t, env, shell, "-c", script, dir); !slices.Contains(strings.Fields(out), "status") {
			t.Errorf("%s: completion of sta: %q", shell, out)
		}
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
