package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// commands are those that `flip help` lists.
func commands(t *testing.T, flip string) (names []string) {
	t.Helper()
	_, list, _ := strings.Cut(run(t, nil, flip, "help"), "COMMANDS:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	for line := range strings.Lines(list) {
		if name := strings.TrimSuffix(strings.Fields(line)[0], ","); name != "help" {
			names = append(names, name)
		}
	}
	return names
}

// What `make deb` takes into the package is there to be taken: the program writes a
// page for each of its commands, and nfpm.yaml takes them all.
func TestManPagesAreBuilt(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program: not with -short")
	}
	dir := t.TempDir()
	flip, pages := filepath.Join(dir, "flip"), filepath.Join(dir, "man")
	run(t, nil, "go", "build", "-o", flip, "../cmd/flip")
	run(t, []string{"SOURCE_DATE_EPOCH=1790000000"}, flip, "man", pages)
	names := commands(t, flip)
	if len(names) < 9 || !slices.Contains(names, "status") {
		t.Errorf("commands %q", names)
	}
	for _, name := range append(names, "") {
		file := strings.TrimSuffix("flip-"+name, "-") + ".8"
		if page := read(t, pages, file); !strings.Contains(page, `"2026\-09\-21"`) {
			t.Errorf("%s has not the date of the source: %.100s", file, page)
		}
		if tool, err := exec.LookPath("man"); err == nil { // as lintian asks groff
			cmd := exec.CommandContext(t.Context(), tool, "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", filepath.Join(pages, file))
			cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANROFFSEQ=", "MANWIDTH=80")
			var complaints strings.Builder
			cmd.Stderr = &complaints
			if err := cmd.Run(); err != nil || complaints.Len() > 0 {
				t.Errorf("%s: %v: %s", file, err, &complaints)
			}
		}
	}
	config := read(t, ".", "nfpm.yaml")
	for _, want := range []string{"- src: dist/deb/man/*.8.gz\n    dst: /usr/share/man/man8/\n", "dst: /usr/share/fish/vendor_completions.d/flip.fish\n"} {
		if !strings.Contains(config, want) {
			t.Errorf("nfpm.yaml has no %s", want)
		}
	}
}
