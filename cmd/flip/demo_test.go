package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/client"
)

// demoApp runs flip with this test binary as flip.
func demoApp(t *testing.T) (app *App, stdout, stderr *bytes.Buffer) {
	t.Helper()
	t.Setenv(asFlip, "1")
	// Whatever stays behind in a directory of our own shows.
	t.Setenv("TMPDIR", t.TempDir())
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &App{Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr, Env: func(string) string { return "" }, Self: []string{os.Args[0]}}, stdout, stderr
}

// nothingLeft fails when a directory or a process of a demo is still there.
func nothingLeft(t *testing.T) {
	t.Helper()
	if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range dirs {
		if env, err := os.ReadFile(f); err == nil && bytes.Contains(env, []byte(traceEnv+"="+os.Getenv("TMPDIR"))) {
			cmd, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "cmdline"))
			t.Errorf("still runs: %s %q", f, cmd)
		}
	}
}

func TestDemo(t *testing.T) {
	timings := []string{timingLAN}
	if !testing.Short() {
		timings = append(timings, timingSample)
	}
	for _, timing := range timings {
		t.Run(timing, func(t *testing.T) { testDemo(t, timing) })
	}
}

func testDemo(t *testing.T, timing string) {
	app, stdout, stderr := demoApp(t)
	code := app.Run(context.Background(), []string{"flip", "demo", "--timing", timing, "--keep", "--json"})
	var f figures
	if err := json.Unmarshal(stdout.Bytes(), &f); err != nil {
		t.Fatalf("figures: %v\n%s%s", err, stdout, stderr)
	}
	if code != exitOK || !f.OK || f.Killed != "flip1" || f.TakenBy != "flip" || f.TakeoverMS <= 0 || len(f.Tables) != 3 {
		t.Errorf("exit code %d, figures %+v\n%s", code, f, stderr)
	}
	t.Logf("taken over after %.0f ms", f.TakeoverMS)
	for _, s := range f.Tables {
		if !s.OK || !s.Traces.equal(s.Expected) || !s.API.equal(s.Expected) {
			t.Errorf("table %+v", s)
		}
	}
	// Kept: it answers, and what was said ends it.
	cl := client.New(filepath.Join(f.Dir, "flip2.sock"))
	defer cl.Close()
	if st, err := cl.Status(context.Background(), false); err != nil || st.Cluster.Leader == "" {
		t.Errorf("kept: %+v, %v", st.Cluster, err)
	}
	if len(f.PIDs) != 3 || !strings.Contains(stderr.String(), "flip --dir "+f.Dir+" --id flip status") {
		t.Errorf("kept %v, and how to look at it was not said:\n%s", f.PIDs, stderr)
	}
	end := stderr.String()
	end, _, _ = strings.Cut(end[strings.LastIndex(end, "kill -9"):], "\n")
	if out, err := exec.Command("sh", "-c", end).CombinedOutput(); err != nil {
		t.Errorf("%s: %v %s", end, err, out)
	}
	// Killed is not yet gone.
	if err := killMarked(traceEnv + "=" + filepath.Join(f.Dir, "trace")); err != nil {
		t.Error(err)
	}
	nothingLeft(t)
}

func TestDemoSeesThatHooksDoNothing(t *testing.T) {
	hooks := t.TempDir()
	for _, name := range []string{hookUp, hookDown} {
		if err := os.WriteFile(filepath.Join(hooks, name), []byte("#!/bin/sh\nexit 0\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	app, stdout, stderr := demoApp(t)
	if code := app.Run(context.Background(), []string{"flip", "demo", "--timing", "lan", "--hooks", hooks}); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	if !strings.Contains(stderr.String(), "did not write so") || strings.Contains(stdout.String(), "All was as") {
		t.Errorf("stdout %s\nstderr %s", stdout, stderr)
	}
	nothingLeft(t)
}

func TestDemoInterrupted(t *testing.T) {
	// A hook that does not end by itself must not outlive the demo either.
	hooks := t.TempDir()
	for _, name := range []string{hookUp, hookDown} {
		if err := os.WriteFile(filepath.Join(hooks, name), []byte("#!/bin/sh\n>"+hooks+"/started\nexec sleep 600\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	app, _, stderr := demoApp(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan int)
	go func() {
		done <- app.Run(ctx, []string{"flip", "demo", "--timing", "lan", "--keep", "--hooks", hooks})
	}()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	code, ended := 0, false
	for started := false; !started && !ended; {
		select {
		case code = <-done:
			ended = true
		case <-again.C:
			_, err := os.Stat(filepath.Join(hooks, "started"))
			started = err == nil
		}
	}
	cancel()
	if !ended {
		code = <-done
	}
	if code != exitFailed || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("exit code %d, stderr %s", code, stderr)
	}
	nothingLeft(t)
}

func TestDemoWhenANodeDoesNotStart(t *testing.T) {
	app, stdout, stderr := demoApp(t)
	app.Self = []string{"/bin/false"}
	if code := app.Run(context.Background(), []string{"flip", "demo"}); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	if !strings.Contains(stderr.String(), "ended by itself") {
		t.Errorf("stdout %s\nstderr %s", stdout, stderr)
	}
	nothingLeft(t)
	app.Self = []string{filepath.Join(t.TempDir(), "nothing")}
	if code := app.Run(context.Background(), []string{"flip", "demo"}); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	nothingLeft(t)
}

func TestKeyIsNeverReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := writeKey(path, "one"); err != nil {
		t.Fatal(err)
	}
	if err := writeKey(path, "two"); !errors.Is(err, fs.ErrExist) && err == nil {
		t.Error("replaced")
	}
	if b, _ := os.ReadFile(path); string(b) != "one\n" {
		t.Errorf("key %q", b)
	}
}
