package guard_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure"
)

func nativeUint32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }
func nativeUint16(b []byte) uint16 { return binary.NativeEndian.Uint16(b) }

// syncBuffer collects what several processes log.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

var nolog = zerolog.Nop()

func senderOf(m fsm.MemberID) secure.Sender {
	return secure.Sender{Name: m, Instance: "i-" + string(m), Process: fsm.Nonce{1, 2, 3}}
}

// script writes a shell script and gives its path.
func script(t testing.TB, dir, name, body string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	return path
}

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

// waitFor waits until a file has the words.
func waitFor(t testing.TB, path, words string) {
	t.Helper()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); !strings.Contains(read(t, path), words); <-look.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s never had %q: %s", path, words, read(t, path))
		}
	}
}

func lockFile(t testing.TB, dir string) (*os.File, error) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
	must(t, err)
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// tryLock says whether a new daemon could start now.
func tryLock(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// lockWhenFree takes the lock as a new daemon does.
func lockWhenFree(t testing.TB, dir string) *os.File {
	t.Helper()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(patience); ; <-look.C {
		f, err := lockFile(t, dir)
		if err == nil {
			return f
		}
		if time.Now().After(deadline) {
			t.Fatal("the lock is never free")
		}
	}
}

// gateThere reports whether the lab's tables stand.
func gateThere(t testing.TB) bool {
	t.Helper()
	c, err := nftables.New()
	must(t, err)
	list, err := c.ListTables()
	must(t, err)
	n := 0
	for _, table := range list {
		if table.Name == gateTable {
			n++
		}
	}
	return n == 2
}

// lives reports whether a process can still do anything.
func lives(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
