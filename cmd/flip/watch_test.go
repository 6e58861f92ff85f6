package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// streaming is a daemon that answers a watch with lines and then says no more.
func streaming(t *testing.T, lines string) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s%s", `{"index":100,"kind":"asked","words":"`+r.URL.Path+" "+r.URL.RawQuery+`"}`+"\n", lines)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	_ = srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
	return socket
}

// What is asked for with which flags, and that Ctrl-C ends it well.
func TestWatchCommand(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	socket := streaming(t, "")
	for args, want := range map[string]string{
		"watch":                  "from=now",
		"watch ip":               "from=now&system=ip",
		"watch --state":          "",
		"watch ip --index 12":    "index=12&system=ip",
		"watch --json --index 3": "index=3",
	} {
		t.Run(args, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), exe, strings.Fields(args+" --socket "+socket)...)
			cmd.Env = append(os.Environ(), asFlip+"=1", "TZ=UTC")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines, text := bufio.NewScanner(out), ""
			for !strings.Contains(text, "asked") && lines.Scan() {
				text = lines.Text()
			}
			if want := api.PathWatch + " " + want; !strings.HasSuffix(strings.TrimSuffix(text, `"}`), strings.TrimSpace(want)) {
				t.Errorf("asked %q, want %q", text, want)
			}
			if isJSON := strings.HasPrefix(text, "{"); isJSON != strings.Contains(args, "json") {
				t.Errorf("printed %q", text)
			}
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
				t.Errorf("after Ctrl-C: %v\n%s", err, stderr.String())
			}
		})
	}
}

func TestWatchCommandRefuses(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for args, want := range map[string]int{
		"watch --state --index 1": exitUsage,
		"watch a b":               exitUsage,
		"watch --index x":         exitUsage,
		"watch":                   exitNoDaemon,
	} {
		var out, stderr bytes.Buffer
		app := &App{Stdout: &out, Stderr: &stderr, Env: func(string) string { return "" }}
		line := append([]string{"flip", "--socket", none}, strings.Fields(args)...)
		if code := app.Run(context.Background(), line); code != want || stderr.Len() == 0 || out.Len() > 0 {
			t.Errorf("%s: exit code %d, want %d\n%s%s", args, code, want, out.String(), stderr.String())
		}
	}
}

func TestWatchLines(t *testing.T) {
	var out bytes.Buffer
	lines := &watchLines{widths: []int{1, 4, 5, 6}}
	for _, e := range []api.Event{
		{Index: 12, Kind: fsm.KindMoved, System: "ip", Item: "web", Slot: &api.Row{System: "ip", Item: "web", Rank: 1, State: api.RowStarting}, Words: "n1 -> n2: n1 is down"},
		{Index: 14, Entry: 13, Kind: fsm.KindFailed, System: "ip", Item: "web", Rank: 1, Words: "it failed on n2: a\nb"},
		{Index: 14, Kind: fsm.KindDown, Member: "n1", Words: "n1 is down: silent"},
		{Index: 15, Kind: fsm.KindMaintained, System: "ip", Words: "maintenance of system ip: on"},
		{Index: 16, Kind: api.KindVoters, Words: "2 voters: n1, n2"},
	} {
		if err := lines.event(&out, true, e); err != nil {
			t.Fatal(err)
		}
	}
	want := "\x1b[33m-  12    moved  ip/web (replica 1)  n1 -> n2: n1 is down\x1b[0m\n" +
		"\x1b[31m-  13    failed  ip/web (replica 1)  it failed on n2: a b\x1b[0m\n" +
		"\x1b[31m-  14    down    n1                  n1 is down: silent\x1b[0m\n" +
		"-  15    maintained  ip                  maintenance of system ip: on\n" +
		"-  16    voters      -                   2 voters: n1, n2\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
