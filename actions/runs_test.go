package actions

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// runTest is a run of real processes, named as no other is.
type runTest struct {
	name string
	dir  string
	pids []int
}

func newRun(t *testing.T) *runTest {
	t.Helper()
	r := &runTest{dir: t.TempDir()}
	r.name = "flip-" + strconv.Itoa(os.Getpid()) + "-" + strings.ReplaceAll(t.Name(), "/", "-")
	t.Cleanup(func() {
		for _, pid := range r.pids {
			if r.there(pid) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	return r
}

// start starts a script in a session of its own, with the run's name, and waits
// until it and so many others have said that they are ready.
func (r *runTest) start(t *testing.T, script string, ready int) {
	t.Helper()
	r.startIn(t, script, ready, append(os.Environ(), runVariable+"="+r.name))
}

func (r *runTest) startIn(t *testing.T, script string, ready int, env []string) {
	t.Helper()
	fifo := filepath.Join(r.dir, "ready"+strconv.Itoa(len(r.pids)))
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(fifo, os.O_RDWR, 0) // its end is nobody's business
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "ready() { echo $$ >&3; }\n"+script)
	cmd.Env, cmd.ExtraFiles = env, []*os.File{f}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.pids = append(r.pids, cmd.Process.Pid)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // killed, mostly
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	var line []byte
	for one := make([]byte, 1); ready > 0; {
		if _, err := f.Read(one); err != nil {
			t.Fatal(err)
		}
		if line = append(line, one...); one[0] == '\n' {
			pid, err := strconv.Atoi(strings.TrimSpace(string(line)))
			if err != nil {
				t.Fatal(err)
			}
			r.pids, line, ready = append(r.pids, pid), nil, ready-1
		}
	}
}

// there says whether a process of the run lives.
func (r *runTest) there(pid int) bool {
	s, ok := statOf(pid)
	return ok && s.state != 'Z' && s.state != 'X'
}

func (r *runTest) left() (pids []int) {
	for _, pid := range r.pids {
		if r.there(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (r *runTest) end(t *testing.T, grace time.Duration) string {
	t.Helper()
	var log bytes.Buffer
	if err := EndRuns(t.Context(), []string{"flip-none", r.name}, grace, zerolog.New(&log)); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	if left := r.left(); left != nil {
		t.Errorf("left are %v\n%s", left, log.String())
	}
	return log.String()
}

const long = 30 * time.Second

func TestEndRunsEndsAllOfThem(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		ready        int
		grace        time.Duration
		killed       bool
	}{
		{"one", "ready; exec sleep 1000", 1, long, false},
		{"children", "sleep 1000 & echo $! >&3; ready; wait", 2, long, false},
		// A session of its own: no signal to the hook's group reaches it.
		{"setsid", "setsid sh -c 'echo $$ >&3; exec sleep 1000' & ready; wait", 2, long, false},
		{"an orphan", "setsid sh -c 'echo $$ >&3; exec sleep 1000' &\nexit 0", 1, long, false},
		{"no environment", "env -i setsid sh -c 'echo $$ >&3; exec sleep 1000' & ready; wait", 2, long, false},
		{"stopped", "sleep 1000 & echo $! >&3; kill -STOP $!; ready; kill -STOP $$", 2, long, false},
		{"deaf", "trap '' TERM; setsid sh -c 'echo $$ >&3; while :; do sleep 1000; done' & ready; wait; wait", 2, 200 * time.Millisecond, true},
		{"forks when told to end", "trap 'setsid sleep 1000 & echo $! >&3; exit' TERM; sleep 1000 & echo $! >&3; ready; wait", 2, long, false},
		{"forks on and on", "trap '' TERM; f() { sleep 0.02; f & }; f & ready; sleep 1000", 1, 100 * time.Millisecond, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRun(t)
			r.start(t, tt.script, tt.ready)
			log := r.end(t, tt.grace)
			if killed := strings.Contains(log, "killing them"); killed != tt.killed {
				t.Errorf("killed: %v, want %v\n%s", killed, tt.killed, log)
			}
			h := hunt{self: os.Getpid(), found: map[int]*prey{}, runs: [][]byte{[]byte(runVariable + "=" + r.name)}}
			pids, err := processes()
			if err != nil {
				t.Fatal(err)
			}
			for _, pid := range pids {
				mine, _ := h.belongs(pid)
				if s, ok := statOf(pid); ok && s.state != 'Z' && mine {
					t.Errorf("process %d is left: %v", pid, describe([]member{s.member}))
				}
			}
		})
	}
}

func TestEndRunsLeavesOthersAlone(t *testing.T) {
	r, other := newRun(t), newRun(t)
	other.name += "0" // begins alike
	other.start(t, "ready; exec sleep 1000", 1)
	r.startIn(t, "ready; exec sleep 1000", 1, append(os.Environ(), "NOT_"+runVariable+"="+r.name))
	if err := EndRuns(t.Context(), []string{r.name}, long, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	if len(r.left()) == 0 || len(other.left()) == 0 {
		t.Errorf("left are %v of %v and %v of %v", r.left(), r.pids, other.left(), other.pids)
	}
	if err := EndRuns(t.Context(), nil, long, zerolog.Nop()); err != nil {
		t.Error(err)
	}
}

func TestEndRunsSaysWhatIsLeft(t *testing.T) {
	r := newRun(t)
	r.start(t, "trap '' TERM; ready; while :; do sleep 1000; done", 1)
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	err := EndRuns(ctx, []string{r.name}, long, zerolog.Nop())
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), strconv.Itoa(r.pids[0])) {
		t.Errorf("got %v", err)
	}
	r.end(t, time.Millisecond)
}

func TestReadStat(t *testing.T) {
	s, ok := readStat([]byte("12 (a) S 9 (b) R 3 7 12 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0"))
	if !ok || s.pid != 12 || s.parent != 3 || s.state != 'R' || s.started != 4711 {
		t.Errorf("%+v %v", s, ok)
	}
	for _, text := range []string{"", "12 (sh", "12 (sh) S 1 2 3"} {
		if s, ok := readStat([]byte(text)); ok {
			t.Errorf("%q is %+v", text, s)
		}
	}
	if !dead('Z', false) || !dead('X', false) || dead('D', false) || !dead('D', true) || dead('R', true) || dead('T', true) {
		t.Error("who is dead?")
	}
}
