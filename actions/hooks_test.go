package actions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/flip-ha/flip/fsm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// syncBuffer is a log that a test can read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

type hookTest struct {
	*Hooks
	dir string
	log *syncBuffer
}

func newHookTest(t *testing.T) *hookTest {
	t.Helper()
	log := &syncBuffer{}
	h := NewHooks(HooksConfig{
		Self: "n1", Grace: 300 * time.Millisecond, Drain: 100 * time.Millisecond,
		Log: zerolog.New(log),
	})
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return &hookTest{Hooks: h, dir: t.TempDir(), log: log}
}

// script writes an executable script and answers with its path.
func (h *hookTest) script(t *testing.T, name, body string) string {
	t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.WriteFile(path, []byte(body), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func (h *hookTest) file(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func hookJob(alive string) fsm.Job {
	return fsm.Job{
		Key: fsm.Key{System: "web", Item: "192.0.2.1"}, Token: 42, Previous: "n2", Reason: "n2 is down",
		Action: fsm.ActionHooks, Alive: alive, Down: alive, Config: []byte(`{"interface":"lo0"}`),
	}
}

func contains(t *testing.T, got string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(got, p) {
			t.Errorf("want %q in:\n%s", p, got)
		}
	}
}

func TestHookGetsArgumentsAndEnvironment(t *testing.T) {
	h := newHookTest(t)
	t.Setenv("FLIP_PREVIOUS", "inherited")
	t.Setenv("FLIP_TOKEN", "inherited")
	t.Setenv("FLIP_RANK", "inherited")
	t.Setenv("FLIP_RUN", "inherited")
	t.Setenv("MINE", "kept")
	t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
	t.Setenv("WATCHDOG_USEC", "1000000")
	path := h.script(t, "up", `#!/bin/sh
cd "$(dirname "$0")" || exit 1
printf '%s|' "$#" "$1" "$2" > args
env | grep -E '^(FLIP_|MINE|NOTIFY|WATCHDOG)' | sort > env
cat > stdin
echo to stdout; echo to stderr >&2
`)
	copied := hookJob(path)
	copied.Rank = 1
	if err := h.Acquire(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	if got, want := h.file(t, "args"), `2|192.0.2.1|{"interface":"lo0"}|`; got != want {
		t.Errorf("arguments %q, want %q", got, want)
	}
	want := "FLIP_ITEM=192.0.2.1\nFLIP_MEMBER=n1\nFLIP_PREVIOUS=n2\nFLIP_RANK=1\nFLIP_REASON=n2 is down\nFLIP_SYSTEM=web\nFLIP_TOKEN=42\nMINE=kept\n"
	if got := h.file(t, "env"); got != want {
		t.Errorf("environment\n%swant\n%s", got, want)
	}
	if got := h.file(t, "stdin"); got != "" {
		t.Errorf("something on standard input: %q", got)
	}
	contains(t, h.log.String(), `"message":"to stdout"`, `"message":"to stderr"`, `"system":"web"`)

	job := hookJob(path)
	job.Previous, job.Config = "", nil
	if err := h.Release(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if got := h.file(t, "env"); strings.Contains(got, "FLIP_PREVIOUS") {
		t.Errorf("an inherited FLIP_PREVIOUS shines through:\n%s", got)
	}
	if got, want := h.file(t, "args"), `2|192.0.2.1|{}|`; got != want {
		t.Errorf("arguments %q, want %q", got, want)
	}
}

func TestHookIsFoundInPathAtEachStart(t *testing.T) {
	h := newHookTest(t)
	t.Setenv("PATH", h.dir+":"+os.Getenv("PATH"))
	if err := h.Acquire(t.Context(), hookJob("flip_test_up")); !errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
	h.script(t, "flip_test_up", "#!/bin/sh\npwd > \"$(dirname \"$0\")/cwd\"\n")
	if err := h.Acquire(t.Context(), hookJob("flip_test_up")); err != nil {
		t.Fatal(err)
	}
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(h.file(t, "cwd")); got != cwd {
		t.Errorf("working directory %s, want the daemon's %s", got, cwd)
	}
	if err := h.Acquire(t.Context(), hookJob("")); err != nil {
		t.Errorf("a system without the hook: %v", err)
	}
}

func TestHookErrorsSayWhatToDo(t *testing.T) {
	h := newHookTest(t)
	plain := h.script(t, "plain", "#!/bin/sh\n")
	if err := os.Chmod(plain, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", h.dir+":"+os.Getenv("PATH"))
	for _, tc := range []struct {
		name, command string
		is            error
		want          []string
	}{
		{"missing in PATH", "flip_no_such", exec.ErrNotFound, []string{"start alive hook", "flip_no_such", "is not in PATH", "full path"}},
		{"missing file", h.dir + "/none", fs.ErrNotExist, []string{h.dir + "/none does not exist"}},
		{"not executable", plain, fs.ErrPermission, []string{"is not executable (chmod +x " + plain + ")"}},
		{"not executable in PATH", "plain", fs.ErrPermission, []string{"chmod +x " + plain}},
		{"directory", h.dir, nil, []string{"is a directory"}},
		{"no first line", h.script(t, "naked", "exit 0\n"), syscall.ENOEXEC, []string{"#!/bin/sh"}},
		{"no interpreter", h.script(t, "perl7", "#!/no/such/perl\n"), fs.ErrNotExist, []string{"interpreter", "/no/such/perl"}},
		{"DOS line ends", h.script(t, "dos", "#!/bin/sh\r\nexit 0\r\n"), nil, []string{"DOS line ends"}},
		{"status", h.script(t, "fails", "#!/bin/sh\necho first\necho no such device >&2\nexit 3\n"), nil, []string{"exit status 3", "no such device"}},
		{"status 127", h.script(t, "calls", "#!/bin/sh\nflip_no_such_command\n"), nil, []string{"exit status 127", "PATH"}},
		{"signal", h.script(t, "dies", "#!/bin/sh\nkill -9 $$\n"), nil, []string{"killed by killed"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := h.Acquire(t.Context(), hookJob(tc.command))
			if err == nil {
				t.Fatal("no error")
			}
			if tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("%v is not %v", err, tc.is)
			}
			contains(t, err.Error(), tc.want...)
		})
	}
}

func TestCheckWarnsOfWhatCannotStart(t *testing.T) {
	h := newHookTest(t)
	good := h.script(t, "good", "#!/bin/sh\n")
	bad := h.script(t, "bad", "#!/no/such/sh\n")
	errs := Check(good, "", "flip_no_such", bad)
	if len(errs) != 2 {
		t.Fatalf("got %v", errs)
	}
	contains(t, errs[0].Error(), "flip_no_such")
	contains(t, errs[1].Error(), "/no/such/sh")
}

// alive says whether a process whose number a script wrote still runs.
func (h *hookTest) alive(t *testing.T, pidFile string) bool {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(h.file(t, pidFile)))
	if err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	m, _, ok := parseStat(string(stat))
	return ok && m.state != 'Z'
}

func TestHookThatHangsIsEndedWithItsChildren(t *testing.T) {
	for _, tc := range []struct{ name, trap, log string }{
		{"by TERM", "", "time is up"},
		{"by KILL", "trap '' TERM", "does not end by TERM"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHookTest(t)
			path := h.script(t, "hang", "#!/bin/sh\n"+tc.trap+`
cd "$(dirname "$0")" || exit 1
sleep 1000 & echo $! > child
echo $$ > leader
echo "waiting for the moon"
wait
sleep 1000
`)
			ctx, stop := context.WithTimeout(t.Context(), 400*time.Millisecond)
			defer stop()
			err := h.Acquire(ctx, hookJob(path))
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
			contains(t, err.Error(), "start_timeout", "waiting for the moon")
			if h.alive(t, "child") || h.alive(t, "leader") {
				t.Error("something of the group is left")
			}
			contains(t, h.log.String(), tc.log, "sleep 1000", `"output":["waiting for the moon"]`)
		})
	}
}

func TestHookIsCancelledInFlight(t *testing.T) {
	h := newHookTest(t)
	fifo := filepath.Join(h.dir, "started")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	path := h.script(t, "slow", "#!/bin/sh\necho > "+fifo+"\nsleep 1000\n")
	ctx, end := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Acquire(ctx, hookJob(path)) }()
	if _, err := os.ReadFile(fifo); err != nil { // blocks until it runs
		t.Fatal(err)
	}
	end(errUnwanted)
	if err := <-done; !errors.Is(err, errUnwanted) {
		t.Errorf("got %v", err)
	}
}

func TestHookOutputIsBounded(t *testing.T) {
	for _, tc := range []struct{ name, body string }{
		{"many lines", "yes 'all work and no play' | head -c 1000000"},
		{"short lines", "yes | head -c 1000000"},
		{"one line", "head -c 1000000 /dev/zero | tr '\\0' x"},
		{"no text", "head -c 1000000 /dev/urandom; exit 0"},
		{"blank lines", "yes '' | head -c 1000000; head -c 1000000 /dev/zero | tr '\\0' x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHookTest(t)
			path := h.script(t, "loud", "#!/bin/sh\n"+tc.body+"\necho the end\n")
			if err := h.Acquire(t.Context(), hookJob(path)); err != nil {
				t.Fatal(err)
			}
			h.wg.Wait() // also where reading takes longer than it is waited for
			log := h.log.String()
			if len(log) > 6*maxOutput { // each line carries its fields
				t.Errorf("logged %d bytes", len(log))
			}
			contains(t, log, "more than is logged")
		})
	}
}

func TestHookThatFailsEndsWhatItLeft(t *testing.T) {
	h := newHookTest(t)
	path := h.script(t, "half", "#!/bin/sh\ncd \"$(dirname \"$0\")\"\nsleep 1000 & echo $! > child\nexit 1\n")
	if err := h.Acquire(t.Context(), hookJob(path)); err == nil {
		t.Fatal("no error")
	}
	if h.alive(t, "child") {
		t.Error("what a failed hook started lives on: it may bring the item up after `down`")
	}
}

func TestServiceStartedByHookLivesOn(t *testing.T) {
	h := newHookTest(t)
	fifos := []string{filepath.Join(h.dir, "go"), filepath.Join(h.dir, "end")}
	for _, fifo := range fifos {
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := h.script(t, "service", "#!/bin/sh\ncd \"$(dirname \"$0\")\"\n(read x < go; echo served; echo alive > said; read x < end) &\n")
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	err := h.Acquire(ctx, hookJob(path))
	stop() // the end of its context is not the end of what it started
	if err != nil {
		t.Fatal(err)
	}
	contains(t, h.log.String(), "holds its output open")
	for _, fifo := range fifos { // the service writes to its output, then waits, then ends
		if err := os.WriteFile(fifo, []byte("\n"), 0); err != nil {
			t.Fatal(err)
		}
	}
	h.wg.Wait()
	contains(t, h.log.String(), `"message":"served"`)
	if got := h.file(t, "said"); got != "alive\n" {
		t.Errorf("the service was killed by its write: %q", got)
	}
}

func TestHooksCloseStopsReading(t *testing.T) {
	h := newHookTest(t)
	path := h.script(t, "service", "#!/bin/sh\ncd \"$(dirname \"$0\")\"\nsleep 1000 & echo $! > child\n")
	if err := h.Acquire(t.Context(), hookJob(path)); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if !h.alive(t, "child") {
		t.Error("closing must not end what hooks started")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(h.file(t, "child")))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

func TestParseStat(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want member
		pgrp int
		ok   bool
	}{
		{"12 (sh) S 3 12 12 0", member{pid: 12, parent: 3, state: 'S', name: "sh"}, 12, true},
		{"12 (a) S 9 (b) R 3 7 12 0", member{pid: 12, parent: 3, state: 'R', name: "a) S 9 (b"}, 7, true},
		{"12 (sh", member{}, 0, false},
		{"12 (sh) S", member{}, 0, false},
		{") (", member{}, 0, false},
		{"", member{}, 0, false},
	} {
		got, pgrp, ok := parseStat(tc.in)
		if ok != tc.ok || ok && (got != tc.want || pgrp != tc.pgrp) {
			t.Errorf("%q: got %+v %d %v", tc.in, got, pgrp, ok)
		}
	}
}
