package raftnode

import (
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

// heir takes a directory's lock in the name of a process that has ended.
func heir(t *testing.T, dir string) *os.File {
	t.Helper()
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(strconv.Itoa(gone.Process.Pid) + " 1\n"); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestLockWaitsForTheHeirOfADeadProcess(t *testing.T) {
	dir := t.TempDir()
	f := heir(t, dir)
	waits := &waitLog{told: make(chan struct{}, 1)}
	done := make(chan error, 1)
	go func() {
		s, err := OpenStore(t.Context(), dir, zerolog.New(waits))
		if err == nil {
			err = s.Close()
		}
		done <- err
	}()
	<-waits.told
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// waitLog tells of the first line about the wait.
type waitLog struct{ told chan struct{} }

func (w *waitLog) Write(line []byte) (int, error) {
	if strings.Contains(string(line), "waiting for it") {
		select {
		case w.told <- struct{}{}:
		default:
		}
	}
	return len(line), nil
}

func TestLockWaitEnds(t *testing.T) {
	dir := t.TempDir()
	f := heir(t, dir)
	defer func() { _ = f.Close() }()
	ctx, cancel := context.WithCancelCause(t.Context())
	told := errors.New("told to stop")
	time.AfterFunc(time.Millisecond, func() { cancel(told) })
	if _, err := OpenStore(ctx, dir, zerolog.Nop()); !errors.Is(err, told) {
		t.Errorf("%v", err)
	}
}

// A number that names another process by now is not the one that held the lock.
func TestLockHolderLives(t *testing.T) {
	start, ok := processStart(os.Getpid())
	if !ok || start == "" {
		t.Fatal("this process does not live")
	}
	for _, c := range []struct {
		h    holder
		want bool
	}{
		{holder{os.Getpid(), start}, true},
		{holder{os.Getpid(), ""}, true},
		{holder{os.Getpid(), start + "1"}, false},
		{holder{1 << 30, start}, false},
	} {
		if got := c.h.lives(); got != c.want {
			t.Errorf("%+v lives: %v", c.h, got)
		}
	}
}
