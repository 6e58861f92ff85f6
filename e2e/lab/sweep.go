package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// prefix begins the name of every namespace and directory of the lab; the
// process's id and a name follow.
const prefix = "flip-e2e-"

// Sweep removes what labs of dead processes have left behind.
func Sweep() {
	sweep(func(pid int) bool { return pid != os.Getpid() && unix.Kill(pid, 0) == unix.ESRCH })
}

// SweepOwn removes all that this process has made: for its end by a signal.
func SweepOwn() { sweep(func(pid int) bool { return pid == os.Getpid() }) }

func sweep(goner func(pid int) bool) {
	for _, name := range names(spaceDir, goner) {
		endAll(name)
		deleteSpace(name)
	}
	sweepPens(goner)
	for _, name := range names(os.TempDir(), goner) {
		_ = os.RemoveAll(filepath.Join(os.TempDir(), name))
	}
}

// names are the entries of a directory that carry the prefix and the id of a
// process that is a goner.
func names(dir string, goner func(pid int) bool) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // no namespace was ever made here
	}
	var out []string
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), prefix)
		if !ok {
			continue
		}
		number, _, _ := strings.Cut(rest, "-")
		if pid, err := strconv.Atoi(number); err == nil && goner(pid) {
			out = append(out, e.Name())
		}
	}
	return out
}

// MakeDir makes a directory, short enough for unix sockets in it, that Sweep
// finds if this process dies.
func MakeDir() (string, error) {
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", prefix, os.Getpid()))
	if err != nil {
		return "", fmt.Errorf("make a directory for the tests: %w", err)
	}
	return dir, nil
}

// endAll kills every process in a namespace and waits until they are gone.
func endAll(name string) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(5 * time.Second)
	for {
		pids, err := pidsIn(name)
		if err != nil || len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		select {
		case <-tick.C:
		case <-deadline:
			return
		}
	}
}
