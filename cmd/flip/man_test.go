package main

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// manDir has the pages written, as a package does it.
func manDir(t *testing.T, env map[string]string, args ...string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "man8")
	var out bytes.Buffer
	app := &App{Stdout: &out, Stderr: &out, Env: func(name string) string { return env[name] }}
	if code := app.Run(t.Context(), append([]string{"flip", "man", dir}, args...)); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &out)
	}
	return dir
}

func pageOf(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// lacking names the flags that a page does not explain.
func lacking(page string, flags []cli.Flag) (out []string) {
	for _, f := range flags {
		if v, ok := f.(cli.VisibleFlag); ok && !v.IsVisible() {
			continue
		}
		for _, name := range f.Names() {
			entry := regexp.MustCompile(`(?m)^\.TP\n(.*, )?\\fB` + regexp.QuoteMeta(strings.ReplaceAll(dashed(name), "-", `\-`)) + `\\fR`)
			if !entry.MatchString(page) {
				out = append(out, dashed(name))
			}
		}
	}
	return out
}

func TestEveryCommandHasAPage(t *testing.T) {
	dir := manDir(t, nil)
	app := (&App{}).cli()
	top := pageOf(t, dir, "flip.8")
	if l := lacking(top, app.Flags); l != nil {
		t.Errorf("flip(8) lacks %q", l)
	}
	want := []string{"flip.8"}
	for _, cmd := range app.Commands {
		name := "flip-" + cmd.Name + ".8"
		if cmd.Hidden {
			continue
		}
		want = append(want, name)
		page := pageOf(t, dir, name)
		if l := lacking(page, cmd.Flags); l != nil {
			t.Errorf("%s lacks %q", name, l)
		}
		for _, sub := range cmd.Subcommands {
			if l := lacking(page, sub.Flags); l != nil && !sub.Hidden {
				t.Errorf("%s lacks %q of %s", name, l, sub.Name)
			}
		}
		for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"} {
			if !strings.Contains(page, "\n.SH \""+section+"\"\n") {
				t.Errorf("%s has no %s", name, section)
			}
		}
		if strings.Contains("\n"+cmd.Description, "\nExamples:\n") != strings.Contains(page, `.SH "EXAMPLES"`) {
			t.Errorf("%s: examples", name)
		}
		if !strings.Contains(top, `\fBflip\-`+cmd.Name+`\fR(8)`) {
			t.Errorf("flip(8) does not name %s", name)
		}
	}
	entries, err := os.ReadDir(dir)
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
	if lacking(top, []cli.Flag{&cli.BoolFlag{Name: "soc"}, &cli.BoolFlag{Name: "of-tomorrow"}, &cli.BoolFlag{Name: "gone", Hidden: true}})[1] != "--of-tomorrow" {
		t.Error("a flag that no page has is not missed")
	}
}

// What the notes are about is there, and so is each page that one names.
func TestManNotesNameWhatThereIs(t *testing.T) {
	dir := manDir(t, nil)
	app := (&App{}).cli()
	for name, secs := range manNotes() {
		if name != "flip" && app.Command(name) == nil {
			t.Errorf("man.txt has a page for %q, which is no command", name)
		}
		for _, s := range secs {
			if strings.TrimSpace(s.text) == "" {
				t.Errorf("man.txt: %s %s is empty", name, s.name)
			}
		}
	}
	named := regexp.MustCompile(`\\fB(flip[a-z\\-]*)\\fR\(8\)`)
	entries, err := filepath.Glob(filepath.Join(dir, "*.8"))
	if err != nil || len(entries) < 10 {
		t.Fatalf("%d pages, %v", len(entries), err)
	}
	for _, e := range entries {
		for _, m := range named.FindAllStringSubmatch(pageOf(t, dir, filepath.Base(e)), -1) {
			if _, err := os.Stat(filepath.Join(dir, strings.ReplaceAll(m[1], `\-`, "-")+".8")); err != nil {
				t.Errorf("%s names %s", filepath.Base(e), m[1])
			}
		}
	}
}

func TestManPagesHaveNoDateOfToday(t *testing.T) {
	read := func(env map[string]string, args ...string) map[string]string {
		dir, out := manDir(t, env, args...), map[string]string{}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			out[e.Name()] = pageOf(t, dir, e.Name())
		}
		return out
	}
	epoch := map[string]string{"SOURCE_DATE_EPOCH": "1790000000"}
	if !maps.Equal(read(nil), read(nil)) {
		t.Error("two runs differ")
	}
	for want, pages := range map[string]map[string]string{
		"": read(nil), "2026-09-21": read(epoch), "2026-02-28": read(epoch, "--date", "2026-02-28"),
	} {
		head, _, _ := strings.Cut(pages["flip-status.8"], "\n")
		if head != `.TH "FLIP\-STATUS" "8" "`+strings.ReplaceAll(want, "-", `\-`)+`" "flip `+roffName(thisVersion().Version)+`" "System Administration"` {
			t.Errorf("date %q: %s", want, head)
		}
	}
}

// groff has nothing to complain of, and shows each page.
func TestManPagesAreClean(t *testing.T) {
	tool, err := exec.LookPath("man")
	if err != nil {
		t.Skip("no man here: groff is not asked about the pages")
	}
	dir := manDir(t, nil)
	shown := func(path string) (text, complaints string) {
		cmd := exec.CommandContext(t.Context(), tool, "--warnings", "-E", "UTF-8", "-l", "-Tutf8", path)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANROFFSEQ=", "MANWIDTH=80", "MANPAGER=cat", "MAN_KEEP_FORMATTING=", "GROFF_NO_SGR=1")
		var out, wrong bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &wrong
		if err := cmd.Run(); err != nil {
			t.Fatalf("man %s: %v: %s", path, err, &wrong)
		}
		return regexp.MustCompile(`.\x08`).ReplaceAllString(out.String(), ""), wrong.String()
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, complaints := shown(filepath.Join(dir, e.Name()))
		if complaints != "" {
			t.Errorf("%s: %s", e.Name(), complaints)
		}
		if !strings.Contains(text, "SEE ALSO") || strings.Contains(text, `\`) && e.Name() != "flip-demo.8" {
			t.Errorf("%s shows\n%s", e.Name(), text)
		}
	}
	bad := filepath.Join(t.TempDir(), "bad.8")
	if err := os.WriteFile(bad, []byte(".TH BAD 8\n.SH NAME\nbad \\- x\n.NOSUCH\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, complaints := shown(bad); !strings.Contains(complaints, "NOSUCH") {
		t.Errorf("a macro that there is not is no reason to complain: %q", complaints)
	}
	status, _ := shown(filepath.Join(dir, "flip-status.8"))
	for _, want := range []string{"flip-status - how this node", "--socket PATH", "FLIP_SOCKET", "flip status --json | jq        for a program"} {
		if !strings.Contains(status, want) {
			t.Errorf("flip-status(8) does not show %q:\n%s", want, status)
		}
	}
}

func TestRoff(t *testing.T) {
	for in, want := range map[string]string{
		"run `a-b --c` as --dir says": `run \fBa\-b \-\-c\fR as \fB\-\-dir\fR says`,
		`at-most-one \ …`:             `at-most-one \e \[u2026]`,
		"see flip-run(8).":            `see \fBflip\-run\fR(8).`,
		"`it's ^ ~`":                  `\fBit\(aqs \(ha \(ti\fR`,
		"(--yes)":                     `(\fB\-\-yes\fR)`,
	} {
		if got := roffProse(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	var r roff
	r.prose(".TH is no macro here")
	r.blocks("a\nb\n  .kept\n    as 'it is\nc\n\n- x: y\n- z-a: more\n  of it", false)
	want := "\\&.TH is no macro here\na b\n.PP\n.RS 4\n.EX\n\\&.kept\n\\&  as \\(aqit is\n.EE\n.RE\n.PP\nc\n.TP\n\\fBx\\fR\nY.\n.TP\n\\fBz\\-a\\fR\nMore of it.\n"
	if r.String() != want {
		t.Errorf("%q\nwant\n%q", r.String(), want)
	}
	if got := roffArgs("[on|off [SYSTEM]] HOST:PORT"); got != `[\fBon\fR|\fBoff\fR [\fISYSTEM\fR]] \fIHOST:PORT\fR` {
		t.Error(got)
	}
}

func TestManSubcommandsArePartOfThePage(t *testing.T) {
	app := &cli.App{Name: "flip", Commands: []*cli.Command{{Name: "member", Usage: "members", Subcommands: []*cli.Command{
		{Name: "add", Usage: "take one in", ArgsUsage: "ID", Description: "It waits.\n\nExamples:\n  flip member add n4", Flags: []cli.Flag{
			&cli.IntFlag{Name: "priority", Usage: "lower is `BETTER`", Value: 3}, &cli.StringFlag{Name: "address", Usage: "also $FLIP_ADDRESS"}, &cli.BoolFlag{Name: "no", Hidden: true},
		}},
		{Name: "secret", Hidden: true},
	}}, {Name: "hidden", Hidden: true}}}
	pages := manPages(app, nil, "", "1.2-3")
	if len(pages) != 2 {
		t.Errorf("%d pages", len(pages))
	}
	for _, want := range []string{".SS \"flip member add\"\n", "Take one in.\n.PP\nIt waits.\n", `\fB\-\-priority\fR\ \fIBETTER\fR` + "\nLower is BETTER (default: 3).\n", ".EX\n\\&flip member add n4\n.EE\n", "\\fBFLIP_ADDRESS\\fR\nAs \\fB\\-\\-address\\fR.\n"} {
		if !strings.Contains(pages["flip-member.8"], want) {
			t.Errorf("no %q in\n%s", want, pages["flip-member.8"])
		}
	}
	if strings.Contains(pages["flip-member.8"], "secret") || strings.Contains(pages["flip-member.8"], `\-\-no`) {
		t.Error("hidden ones are shown")
	}
}
