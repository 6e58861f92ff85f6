package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
)

// tiny is a directory on a file system of its own, 64 KiB large.
func tiny(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "flip-tiny")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount("flip-test", dir, "tmpfs", 0, "size=64k")
	if errors.Is(err, unix.EPERM) {
		t.Skip("this user may mount nothing: run the tests as root")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all the room there is.
func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "full"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 1024))
	}
	if closing := f.Close(); !errors.Is(err, syscall.ENOSPC) || closing != nil {
		t.Fatal(err, closing)
	}
}

// A full /run keeps anything new from being begun, and says so; what is up goes,
// and the file says that too.
func TestFullRunKeepsAcquiresBack(t *testing.T) {
	l := &listTest{path: filepath.Join(tiny(t), "n1.list")}
	l.open(t, me)
	l.whole(t, actions.Acquire, hooks("a", 7), nil)
	l.whole(t, actions.Acquire, hooks("b", 7), nil)
	m := newMirror(t, l)
	m.blind = true // reading the file each time takes long
	fill(t, filepath.Dir(l.path))
	var err error
	for i := 0; err == nil; i++ {
		if i > 1000 {
			t.Fatal("there is always room")
		}
		if _, err = l.Begin(do(actions.Acquire, hooks(fmt.Sprint("new", i), 8))); err == nil {
			l.End(do(actions.Acquire, hooks(fmt.Sprint("new", i), 8)), errBusy)
		}
	}
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), l.path) {
		t.Errorf("got %v", err)
	}
	if n := len(m.entries); n != len(l.Entries()) {
		t.Errorf("the mirror has %d entries, the list %d", n, len(l.Entries()))
	}
	l.says(t, words(l.Entries()))
	for _, e := range l.Entries() {
		l.whole(t, actions.Release, e.Job, errBusy)
		l.whole(t, actions.Release, e.Job, nil)
	}
	l.says(t, "")
	if err := os.Remove(filepath.Join(filepath.Dir(l.path), "full")); err != nil {
		t.Fatal(err)
	}
	l.whole(t, actions.Acquire, hooks("c", 9), nil)
	l.says(t, "c@9 by down up")
}

// Even without any room left a release goes on, and the list says what is true as
// soon as it can be written.
func TestFullRunKeepsNoReleaseBack(t *testing.T) {
	l := &listTest{path: filepath.Join(tiny(t), "n1.list")}
	l.open(t, me)
	l.whole(t, actions.Acquire, hooks("a", 7), nil)
	l.whole(t, actions.Acquire, hooks("b", 7), nil)
	m := newMirror(t, l)
	m.blind = true
	if err := l.file.f.Truncate(l.file.size); err != nil { // what was reserved is taken away
		t.Fatal(err)
	}
	fill(t, filepath.Dir(l.path))
	config := hooks("big", 7) // more than what is left of the last page
	config.Config = make([]byte, 8000)
	run, err := l.Begin(do(actions.Release, config))
	if run == "" || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("run %q, %v", run, err)
	}
	l.whole(t, actions.Release, hooks("a", 7), nil)
	if got := words(l.Entries()); got != "b@7 by down up, big@7 by down stopping!" || len(m.entries) != 2 {
		t.Errorf("the list says %q, the mirror has %d", got, len(m.entries))
	}
	if _, err := l.Begin(do(actions.Acquire, hooks("c", 9))); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
	// A new process starts all the same.
	l.open(t, me)
	if !strings.Contains(l.log.String(), "cannot be written") {
		t.Errorf("nobody is told: %s", l.log.String())
	}
	if _, err := l.Begin(do(actions.Acquire, hooks("c", 9))); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(filepath.Join(filepath.Dir(l.path), "full")); err != nil {
		t.Fatal(err)
	}
	l.whole(t, actions.Acquire, hooks("c", 9), fmt.Errorf("no: %w", errBusy))
	l.says(t, words(l.Entries()))
	if got := l.Token(fsm.Key{System: "web", Item: "c"}); got != 9 {
		t.Errorf("token %d", got)
	}
}
