package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// answering is a daemon with two systems, one with items that shells take apart. It returns the directory of its socket.
func answering(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "n1.sock"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var v any = api.Status{Systems: []api.System{{Name: "ip"}, {Name: "shard"}}, Members: []api.Member{{Name: "n1"}, {Name: "n2"}}}
		if r.URL.Path == api.PathAssign {
			rows := []api.Row{}
			if r.URL.Query().Get("system") == "ip" {
				for _, item := range []string{"10.0.0.1", "fd00::1", "fd00::2", "with blank"} {
					rows = append(rows, api.Row{Item: fsm.ItemID(item)})
				}
			}
			v = api.Assign{Rows: rows}
		}
		_ = json.NewEncoder(w).Encode(v)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return dir
}

// suggested asks as a script does, for what may end the line; the last word is the
// one under the cursor.
func suggested(t *testing.T, app *App, line ...string) []string {
	t.Helper()
	var out bytes.Buffer
	app.Stdout, app.Stderr = &out, &out
	if code := app.Run(t.Context(), append([]string{"flip", completeWord}, line...)); code != exitOK {
		t.Fatalf("%q: exit code %d: %s", line, code, &out)
	}
	var words []string
	for l := range strings.Lines(out.String()) {
		word, _, _ := strings.Cut(strings.TrimSuffix(l, "\n"), "\t")
		words = append(words, word)
	}
	return words
}

func TestSuggestions(t *testing.T) {
	dir := answering(t)
	for _, tt := range []struct {
		line string // words, the one under the cursor last; _ is an empty one
		want string // "": nothing; "+x": with x; "-x": without
	}{
		{"_", "+status +run +help -man -guard -__complete"},
		{"sta", "+status"},
		{"help _", "+status"},
		{"-", "+--dir +--socket +--help"},
		{"--dir DIR -", "+--socket -+--dir"},
		{"nonsense _", ""},
		{"status _", ""},
		{"status -", "+--json +--check +--help"},
		{"status --json --", "+--check -+--json"},
		{"status --check --", "-+--check"},
		{"--dir DIR assign _", "ip shard"},
		{"assign --dir DIR _", "ip shard"},
		{"assign --dir=DIR _", "ip shard"},
		{"assign --dir _", ""}, // files
		{"assign --dir DIR --socket", "+--socket"},
		{"assign ip --dir DIR --js", "+--json"},
		{"assign --dir DIR -- _", "ip shard"},
		{"assign --dir DIR -- -", "ip shard"}, // no flags behind --
		{"--dir DIR assign ip _", "10.0.0.1 fd00::1 fd00::2 with_blank"},
		{"--dir DIR assign ip x _", ""},
		{"--dir DIR item _", "release"},
		{"--dir DIR item release _", "ip shard"},
		{"--dir DIR item release ip _", "10.0.0.1 fd00::1 fd00::2 with_blank"},
		{"--dir DIR item release shard _", ""},
		{"--dir DIR cleanup _", "ip shard"},
		{"--dir DIR route _", "ip shard"},
		{"--dir DIR route ip 10", "10.0.0.1 fd00::1 fd00::2 with_blank"},
		{"--dir DIR why ip _", "10.0.0.1 fd00::1 fd00::2 with_blank"},
		{"--dir DIR plan --fail _", "n1 n2"},
		{"--dir DIR plan --fail n1 --drain=", "--drain=n1 --drain=n2"},
		{"plan --st", "+--state"},
		{"--dir DIR maintenance _", "on off"},
		{"--dir DIR maintenance on _", "ip shard"},
		{"--dir DIR maintenance on ip _", ""},
		{"--dir DIR status --id _", "n1"},
		{"--dir DIR status --id=", "--id=n1"},
		{"--dir DIR --id n", "n1"},
		{"--dir /nowhere assign _", ""},
		{"demo --timing _", "sample lan"},
		{"completion _", "bash zsh fish"},
		{"check _", ""}, // files
	} {
		line := strings.Fields(strings.ReplaceAll(tt.line, "DIR", dir))
		if last := len(line) - 1; line[last] == "_" {
			line[last] = ""
		}
		got := suggested(t, &App{Env: func(string) string { return "" }}, line...)
		expect(t, tt.line, got, strings.Fields(tt.want))
	}
	if got := suggested(t, &App{Env: func(string) string { return "" }}); !slices.Contains(got, "status") {
		t.Errorf("nothing at all: %q", got)
	}
}

// The names of contexts, wherever a flag or a command takes one.
func TestSuggestionsOfContexts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "contexts.json")
	text := `{"contexts": {"prod": {"addresses": ["10.0.0.1:1"], "key_file": "k"}, "test": {"addresses": ["10.0.0.2:1"], "key_file": "k"}}}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"--context _":       "prod test",
		"status --context ": "prod test",
		"status --context=": "--context=prod --context=test",
		"context use _":     "prod test",
		"context remove _":  "prod test",
		"context add _":     "",
	} {
		for name, at := range map[string]string{"there": path, "broken": filepath.Dir(path)} {
			words := strings.Fields(strings.TrimSuffix(line, "_"))
			if last := line[len(line)-1]; last == '_' || last == ' ' {
				words = append(words, "")
			}
			app := &App{Env: func(v string) string { return map[string]string{"FLIP_CONTEXTS": at}[v] }}
			names := strings.Fields(want)
			if name == "broken" {
				names = nil
			}
			expect(t, name+": "+line, suggested(t, app, words...), names)
		}
	}
}

func expect(t *testing.T, line string, got, want []string) {
	t.Helper()
	var all []string
	for _, w := range want {
		switch {
		case strings.HasPrefix(w, "+"):
			if !slices.Contains(got, w[1:]) {
				t.Errorf("%s: %q, without %s", line, got, w[1:])
			}
		case strings.HasPrefix(w, "-+"), strings.HasPrefix(w, "-") && !strings.HasPrefix(w, "--"):
			if slices.Contains(got, strings.TrimPrefix(w[1:], "+")) {
				t.Errorf("%s: %q, with %s", line, got, w)
			}
		default:
			all = append(all, strings.ReplaceAll(w, "_blank", " blank"))
		}
	}
	if (len(want) == 0 || all != nil) && !slices.Equal(got, all) {
		t.Errorf("%s: %q, want %q", line, got, all)
	}
}

// A command with subcommands, and flags that take names.
func TestSuggestionsOfSubcommands(t *testing.T) {
	dir := answering(t)
	for line, want := range map[string]string{
		"_":                        "+member +help",
		"member _":                 "add remove",
		"member -":                 "+--help",
		"member add -":             "+--systems +--role +--help",
		"member add --role _":      "voter arbiter agent",
		"member add --systems _":   "ip shard",
		"member add --systems ip,": "ip,ip ip,shard",
		"member remove _":          "n7",
		"member nonsense _":        "",
	} {
		var out bytes.Buffer
		a := &App{Stdout: &out, Stderr: &out, Env: func(name string) string { return map[string]string{"FLIP_DIR": dir}[name] }}
		app := &cli.App{Name: "flip", Commands: []*cli.Command{{Name: "member", HideHelpCommand: true, Subcommands: []*cli.Command{
			{Name: "add", Usage: "add one", Flags: []cli.Flag{&cli.StringFlag{Name: "systems"}, &cli.StringFlag{Name: "role"}}},
			{Name: "remove", BashComplete: func(*cli.Context) { a.offer([]string{"n7"}) }},
			{Name: "secret", Hidden: true},
		}}}}
		words := strings.Fields(line)
		if last := len(words) - 1; words[last] == "_" {
			words[last] = ""
		}
		s, _ := suggestionOf(append([]string{"flip", completeWord}, words...))
		s.explain = false
		a.suggest(context.Background(), app, s)
		expect(t, line, strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")[:strings.Count(out.String(), "\n")], strings.Fields(want))
	}
}

// Completion of a line never runs it, whatever stands there.
func TestSuggestionsNeverRun(t *testing.T) {
	for _, line := range [][]string{
		{"keygen", "--file", "x", "--", completionFlag},
		{completeWord, "keygen", "--file", "x", "--"},
		{completeWord, "keygen", "--file", "x", ""},
		{"keygen", "--file", "x", "--json", completionFlag},
	} {
		t.Chdir(t.TempDir())
		var out bytes.Buffer
		app := &App{Stdout: &out, Stderr: &out, Env: func(string) string { return "" }}
		if code := app.Run(t.Context(), append([]string{"flip"}, line...)); code != exitOK {
			t.Errorf("%q: exit code %d: %s", line, code, &out)
		}
		if _, err := os.Stat("x"); err == nil {
			t.Errorf("%q was run", line)
		}
	}
}

// inShell has a shell complete `flip LINE` and returns what it offers.
func inShell(t *testing.T, shell, dir, line string) []string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(exe, filepath.Join(bin, "flip")); err != nil {
		t.Fatal(err)
	}
	drive := map[string][]string{
		"bash": {"--norc", "-c", `source <(flip completion bash); complete -p flip >/dev/null || exit 1
COMP_LINE="flip $1"; COMP_POINT=${#COMP_LINE}; COMP_WORDS=(flip); _flip_complete
((${#COMPREPLY[@]})) && printf '%s\n' "${COMPREPLY[@]}"; true`, "bash", line},
		// What compsys does is replaced: _describe says what it is given.
		"zsh": {"-f", "-c", `compdef() { [[ "$*" == "_flip flip" ]] || exit 1; }
_files() { print -r -- FILES; }
_describe() { print -rl -- "${(@P)2}"; }
source <(flip completion zsh)
words=("${(@s: :)${:-flip $1}}"); CURRENT=$#words; PREFIX="$words[CURRENT]"; _flip`, "zsh", line},
		"fish": {"--no-config", "-c", `flip completion fish | source; complete -C "flip $argv[1]"`, line},
	}
	path, err := exec.LookPath(shell)
	if err != nil {
		t.Skipf("no %s here: its completion is not tested", shell)
	}
	cmd := exec.CommandContext(t.Context(), path, drive[shell]...)
	cmd.Env = append(os.Environ(), asFlip+"=1", "FLIP_DIR="+dir, "HOME="+t.TempDir(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	var out, wrong bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &wrong
	if err := cmd.Run(); err != nil || wrong.Len() > 0 {
		t.Fatalf("%s: %v: %s%s", shell, err, &wrong, &out)
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

func TestShellsComplete(t *testing.T) {
	dir := answering(t)
	const items = "10.0.0.1|fd00::1|fd00::2|with blank"
	for shell, tests := range map[string]map[string]string{
		"bash": {
			"sta":                   "status",
			"status --js":           "--json",
			"assign ":               "ip|shard",
			"assign s":              "shard",
			"assign ip fd00::":      "1|2", // readline keeps what is in front of the last colon
			"assign ip w":           `with\ blank`,
			"maintenance o":         "on|off",
			"status --id=n":         "n1",
			"status --id ":          "n1",
			"check ":                "", // files
			"cleanup --dir /nowhe ": "",
		},
		"zsh": {
			"sta":              "status:how this node and its cluster are, what is wrong and what to do about it",
			"status --js":      "--json:print JSON",
			"assign ":          "ip|shard",
			"assign ip fd00::": strings.ReplaceAll(items, ":", `\:`),
			"maintenance ":     "on|off",
			"check ":           "FILES",
		},
		"fish": {
			"sta":              "status\thow this node and its cluster are, what is wrong and what to do about it",
			"status --js":      "--json\tprint JSON",
			"assign ":          "ip|shard",
			"assign ip fd00::": "fd00::1|fd00::2",
			"assign ip ":       items,
			"item release ":    "ip|shard",
			"maintenance o":    "on|off",
			"status --id ":     "n1",
		},
	} {
		t.Run(shell, func(t *testing.T) {
			for line, want := range tests {
				got := inShell(t, shell, dir, line)
				if shell == "zsh" && !strings.HasSuffix(line, " ") && !strings.Contains(line, ":") {
					// It narrows by itself.
					word := line[strings.LastIndex(line, " ")+1:]
					got = slices.DeleteFunc(got, func(s string) bool { return !strings.HasPrefix(s, word) })
				}
				slices.Sort(got)
				wants := strings.Split(want, "|")
				slices.Sort(wants)
				if !slices.Equal(got, wants) {
					t.Errorf("flip %s: %q, want %q", line, got, wants)
				}
			}
		})
	}
}
