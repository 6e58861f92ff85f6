package raftnode

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/rs/zerolog"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// The names in a data directory.
const (
	identityFile = "identity.json"
	boltFile     = "raft.db"
)

// snapshotsKept is how many snapshots stay; a second one in case the newest
// cannot be read.
const snapshotsKept = 2

// boltWait bounds the wait for bolt's own lock on its file. The directory's
// lock is held by then: only a stray copy of a tool could have it.
const boltWait = 3 * time.Second

// Store is one data directory, locked against other processes for as long as
// it is open.
type Store struct {
	dir   string
	lock  *os.File
	bolt  *raftboltdb.BoltStore
	snaps *raft.FileSnapshotStore
	log   zerolog.Logger

	mu sync.Mutex
	id identity
}

// OpenStore opens the data directory dir, or makes it. While only what has
// outlived its last process still has it, releasing what that held, it waits, as
// long as ctx lasts. Its errors say what to do.
func OpenStore(ctx context.Context, dir string, log zerolog.Logger) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	// Votes and the log are nobody else's business; an older directory may be
	// open to others.
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory needs its x bit
		return nil, fmt.Errorf("close data directory to others: %w", err)
	}
	lock, err := lockDir(ctx, dir, log)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, lock: lock, log: log}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) open() error {
	path := filepath.Join(s.dir, boltFile)
	info, err := os.Stat(path)
	fresh := err != nil || info.Size() == 0
	id, known, err := readIdentity(s.dir)
	if err != nil {
		return err
	}
	if fresh && known {
		return fmt.Errorf("data directory %s has lost its %s: this server has forgotten its votes. %s", s.dir, boltFile, startAfresh)
	}
	if err := checkBolt(path); err != nil {
		return err
	}
	if s.bolt, err = openBolt(path); err != nil {
		return err
	}
	if s.snaps, err = raft.NewFileSnapshotStoreWithLogger(s.dir, snapshotsKept, hcLogger(s.log)); err != nil {
		return fmt.Errorf("open snapshots in %s: %w", s.dir, err)
	}
	empty, err := s.Empty()
	switch {
	case err != nil:
		return err
	case known && empty && id.Cluster != "":
		return fmt.Errorf("data directory %s is of cluster %s but has lost its log. %s", s.dir, id.Cluster, startAfresh)
	case known:
		s.id = id
		return nil
	case !empty:
		return fmt.Errorf("data directory %s has lost its %s, which says whose it is. %s", s.dir, identityFile, startAfresh)
	}
	// The instance comes after raft.db: one without the other is never taken for
	// a directory that remembers its votes.
	s.id = newIdentity()
	return writeIdentity(s.dir, s.id)
}

// openBolt turns a panic of bolt's into an error; those in its own goroutines
// are what checkBolt is for.
func openBolt(path string) (store *raftboltdb.BoltStore, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s is damaged (%v). %s", path, p, startAfresh)
		}
	}()
	options := *bbolt.DefaultOptions
	options.Timeout = boltWait
	// The list of free pages is rebuilt at the start instead of being synced
	// with each commit: half of the writes.
	options.NoFreelistSync = true
	options.FreelistType = bbolt.FreelistMapType
	store, err = raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &options})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("open %s: another process has it open", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return store, nil
}

// Instance is the random id made with the directory.
func (s *Store) Instance() string { return s.identity().Instance }

// Cluster is the cluster the directory belongs to; "" not yet known.
func (s *Store) Cluster() string { return s.identity().Cluster }

func (s *Store) identity() identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// SetCluster notes it; it is never called again with another id.
func (s *Store) SetCluster(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.id
	next.Cluster = id
	if err := writeIdentity(s.dir, next); err != nil {
		return err
	}
	s.id = next
	return nil
}

// Logs is where Raft keeps its log.
func (s *Store) Logs() raft.LogStore { return s.bolt }

// Stable is where Raft keeps its term and its votes.
func (s *Store) Stable() raft.StableStore { return s.bolt }

// Snapshots is where Raft keeps its snapshots.
func (s *Store) Snapshots() raft.SnapshotStore { return s.snaps }

// Lock is the directory's lock, to be inherited by a process that must hold it
// as long as this one.
func (s *Store) Lock() *os.File { return s.lock }

// Empty reports whether there is no Raft state at all: no term, no log, no
// snapshot.
func (s *Store) Empty() (bool, error) {
	has, err := raft.HasExistingState(s.bolt, s.bolt, s.snaps)
	if err != nil {
		return false, fmt.Errorf("look for Raft state in %s: %w", s.dir, err)
	}
	return !has, nil
}

// Close releases the directory. Raft must have stopped.
func (s *Store) Close() error {
	var err error
	if s.bolt != nil {
		err = s.bolt.Close()
	}
	return errors.Join(err, s.lock.Close())
}
