package actions

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// realTime holds the directory of a test that runs in a SCHED_RR process.
const realTime = "FLIP_TEST_REAL_TIME"

// policyOf writes nice value, real-time priority and policy of what runs it, as
// proc(5) has them.
const policyOf = "#!/bin/sh\ncut -d' ' -f19,40,41 /proc/self/stat >\"$1\"\n"

const (
	asRealTime = "0 10 2" // SCHED_RR at 10
	asOrdinary = "0 0 0"
	asNice     = "-5 0 0"
)

// A hook of a daemon that runs SCHED_RR has ordinary scheduling; a child started
// in any other way has the daemon's.
func TestHooksHaveOrdinaryScheduling(t *testing.T) {
	if os.Getenv(realTime) != "" {
		t.Skip("runs the other test")
	}
	for _, tt := range []struct {
		name    string
		attr    unix.SchedAttr
		control string
	}{
		{"SCHED_RR", unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: schedRR, Priority: 10}, asRealTime},
		{"nice -5", unix.SchedAttr{Size: unix.SizeofSchedAttr, Nice: -5}, asNice},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestUnderRealTime$", "-test.count=1", "-test.v")
			cmd.Env = append(os.Environ(), realTime+"="+dir)
			out, err := underScheduling(cmd, tt.attr)
			if errors.Is(err, unix.EPERM) {
				t.Skip("this user may set no real-time scheduling: run the tests as root")
			}
			if err != nil {
				t.Fatalf("%v:\n%s", err, out)
			}
			for file, want := range map[string]string{"control": tt.control, "hook": asOrdinary} {
				got, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil {
					t.Fatalf("%v:\n%s", err, out)
				}
				if strings.TrimSpace(string(got)) != want {
					t.Errorf("%s: nice, priority and policy are %s, want %s", file, strings.TrimSpace(string(got)), want)
				}
			}
		})
	}
}

// underScheduling runs cmd in a process all of whose threads are scheduled so.
func underScheduling(cmd *exec.Cmd, attr unix.SchedAttr) (out []byte, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine, and its scheduling with it
		if err = unix.SchedSetAttr(0, &attr, 0); err == nil {
			out, err = cmd.CombinedOutput()
		}
	}()
	<-done
	return out, err
}

// TestUnderRealTime is the process that TestHooksHaveOrdinaryScheduling starts.
func TestUnderRealTime(t *testing.T) {
	dir := os.Getenv(realTime)
	if dir == "" {
		t.Skip("started by TestHooksHaveOrdinaryScheduling")
	}
	h := newHookTest(t)
	script := h.script(t, "policy", policyOf)
	if out, err := exec.CommandContext(t.Context(), script, filepath.Join(dir, "control")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	job := hookJob(script)
	job.Item = "hook"
	job.Alive = h.script(t, "up", "#!/bin/sh\nexec "+script+" "+filepath.Join(dir, "hook")+"\n")
	if err := h.Acquire(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	// What is wrong with a hook reads as it does without real-time scheduling.
	dir = t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("no program"), 0o644); err != nil {
		t.Fatal(err)
	}
	foreign := h.script(t, "foreign", "no program")
	for _, tt := range []struct {
		alive string
		is    error
		words string
	}{
		{filepath.Join(dir, "missing"), os.ErrNotExist, "does not exist"},
		{plain, os.ErrPermission, "is not executable (chmod +x"},
		{foreign, unix.ENOEXEC, "neither a program for this machine nor a script"},
		{h.script(t, "strange", "#!/no/such/shell\n"), os.ErrNotExist, "the interpreter in its first line"},
	} {
		if err := h.Acquire(t.Context(), hookJob(tt.alive)); !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%s: %v", tt.alive, err)
		}
	}
}
