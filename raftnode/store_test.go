package raftnode

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := OpenStore(t.Context(), dir, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

func closed(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// refused opens dir and wants an error that holds each of the words.
func refused(t *testing.T, dir string, words ...string) {
	t.Helper()
	s, err := OpenStore(t.Context(), dir, zerolog.Nop())
	if err == nil {
		closed(t, s)
		t.Fatal("it opened")
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q is not in: %v", w, err)
		}
	}
}

func TestStoreKeepsItsIdentity(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := open(t, dir)
	instance := s.Instance()
	if len(instance) != 16 || s.Cluster() != "" {
		t.Errorf("instance %q, cluster %q", instance, s.Cluster())
	}
	if empty, err := s.Empty(); !empty || err != nil {
		t.Errorf("empty %v, %v", empty, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := s.Stable().SetUint64([]byte(keyCurrentTerm), 3); err != nil {
		t.Fatal(err)
	}
	if err := s.SetCluster("c1"); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	s = open(t, dir)
	if s.Instance() != instance || s.Cluster() != "c1" {
		t.Errorf("instance %q, cluster %q", s.Instance(), s.Cluster())
	}
	if empty, err := s.Empty(); empty || err != nil {
		t.Errorf("empty %v, %v", empty, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestStoreIsLocked(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	refused(t, dir, "in use", "process "+strconv.Itoa(os.Getpid()), "data_dir")
	closed(t, s)
	open(t, dir)
}

func TestStoreLockedByAnUnknown(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if err := os.WriteFile(filepath.Join(dir, lockFile), []byte("?"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, "in use by another flip:")
}

// fill writes entries and returns the bolt file's path.
func fill(t *testing.T, dir string, entries int) string {
	t.Helper()
	s := open(t, dir)
	for i := 0; i < entries; i += 50 {
		var logs []*raft.Log
		for j := i; j < min(i+50, entries); j++ {
			logs = append(logs, &raft.Log{Index: uint64(j + 1), Term: 1, Data: make([]byte, 2000)})
		}
		if err := s.Logs().StoreLogs(logs); err != nil {
			t.Fatal(err)
		}
	}
	closed(t, s)
	return filepath.Join(dir, boltFile)
}

func TestTruncatedBoltFile(t *testing.T) {
	for _, size := range []int64{0, 1, 100, 4096, 5000, 8192, 8193, 3 * 4096, 20000, 65536} {
		t.Run(strconv.FormatInt(size, 10), func(t *testing.T) {
			dir := t.TempDir()
			path := fill(t, dir, 100)
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
			refused(t, dir, boltFile, "Move the directory away")
		})
	}
}

func TestDamagedBoltFile(t *testing.T) {
	write := func(t *testing.T, path string, at int64, size int) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(make([]byte, size), at); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	page := int64(os.Getpagesize())
	t.Run("one meta page gone", func(t *testing.T) {
		for _, at := range []int64{0, page} {
			dir := t.TempDir()
			write(t, fill(t, dir, 10), at, 100)
			closed(t, open(t, dir))
		}
	})
	t.Run("both meta pages gone", func(t *testing.T) {
		dir := t.TempDir()
		path := fill(t, dir, 10)
		write(t, path, 0, 100)
		write(t, path, page, 100)
		refused(t, dir, "damaged", "Move the directory away")
	})
	t.Run("first meta page gone, truncated", func(t *testing.T) {
		dir := t.TempDir()
		path := fill(t, dir, 100)
		write(t, path, 0, 100)
		if err := os.Truncate(path, 8*page); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, "truncated", "Move the directory away")
	})
	t.Run("no bolt file at all", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, boltFile), []byte(strings.Repeat("x", 20000)), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, "damaged")
	})
}

// A directory that forgets its votes but keeps its instance would be taken for
// a voter that remembers.
func TestHalfADataDirectory(t *testing.T) {
	t.Run("no log", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Remove(fill(t, dir, 3)); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, "forgotten its votes", "Move the directory away")
	})
	t.Run("another log", func(t *testing.T) {
		dir, other := t.TempDir(), t.TempDir()
		path := fill(t, dir, 3)
		s := open(t, dir)
		if err := s.SetCluster("c1"); err != nil {
			t.Fatal(err)
		}
		closed(t, s)
		if err := os.Rename(fill(t, other, 0), path); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, "c1", "lost its log")
	})
	t.Run("no identity", func(t *testing.T) {
		dir := t.TempDir()
		fill(t, dir, 3)
		if err := os.Remove(filepath.Join(dir, identityFile)); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, identityFile, "Move the directory away")
	})
	t.Run("no identity, nothing written yet", func(t *testing.T) {
		dir := t.TempDir()
		fill(t, dir, 0)
		if err := os.Remove(filepath.Join(dir, identityFile)); err != nil {
			t.Fatal(err)
		}
		open(t, dir)
	})
	t.Run("damaged identity", func(t *testing.T) {
		for _, text := range []string{"", "{", `{"cluster":"c"}`} {
			dir := t.TempDir()
			fill(t, dir, 0)
			if err := os.WriteFile(filepath.Join(dir, identityFile), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			refused(t, dir, identityFile, "damaged")
		}
	})
}

func TestStoreWhereItMayNotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, file, "data directory")
	refused(t, filepath.Join(file, "below"), "data directory")
}

func TestSetClusterFails(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	// A directory in the file's place: also root cannot write it.
	if err := os.Mkdir(filepath.Join(dir, identityFile+".tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.SetCluster("c"); err == nil || s.Cluster() != "" {
		t.Errorf("%v, cluster %q", err, s.Cluster())
	}
}

// The directory through Raft: what a node writes, the next one on it reads.
func TestRealDirectoryThroughRaft(t *testing.T) {
	dir := t.TempDir()
	spec := specOf("n1")
	spec.Quorum = 1
	for round := range 3 {
		s := open(t, dir)
		empty, err := s.Empty()
		if err != nil || empty != (round == 0) {
			t.Fatalf("round %d: empty %v, %v", round, empty, err)
		}
		n, stop := runReal(t, s, spec)
		waitReal(t, n, func(s *fsm.State) bool { return s.Spec().Version != 0 && s.Len() == 4 && dealt(s) })
		cluster := n.machine.view().state.Cluster()
		waitFor(t, "the cluster's id in the directory", func() bool { return s.Cluster() == cluster })
		if round == 1 {
			// From here on the State comes from a snapshot.
			if err := n.raft.Load().Snapshot().Error(); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		closed(t, s)
	}
	if found, _ := filepath.Glob(filepath.Join(dir, "snapshots", "*", "state.bin")); len(found) != 1 {
		t.Errorf("snapshots %v", found)
	}
}
