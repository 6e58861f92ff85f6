package raftnode

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// keyCurrentTerm is Raft's name for the term in its StableStore; it panics
// when that cannot be written.
const keyCurrentTerm = "CurrentTerm"

// guardedStore stands between Raft and its stores. A write that fails (a full
// disk) ends this server: the node is told, and the goroutine of Raft's that
// wanted to write waits until the shutdown, so that nothing is built upon an
// entry, a term or a vote that is not on the disk.
type guardedStore struct {
	raft.LogStore
	stable raft.StableStore
	fatal  func(error)
	watch  *stopwatch

	once    sync.Once
	release chan struct{}
}

var (
	_ raft.LogStore    = (*guardedStore)(nil)
	_ raft.StableStore = (*guardedStore)(nil)
)

func newGuardedStore(logs raft.LogStore, stable raft.StableStore, fatal func(error)) *guardedStore {
	return &guardedStore{LogStore: logs, stable: stable, fatal: fatal, watch: &stopwatch{}, release: make(chan struct{})}
}

// let ends the waiting of all that failed; called once Raft was told to stop.
func (g *guardedStore) let() { g.once.Do(func() { close(g.release) }) }

// failed reports err and waits for the shutdown.
func (g *guardedStore) failed(what string, err error) error {
	err = fmt.Errorf("%s: %w", what, err)
	g.fatal(err)
	<-g.release
	return err
}

// end is failed where Raft would panic on an error: it ends Raft's goroutine,
// whose deferred calls refuse what it was about to answer.
func (g *guardedStore) end(what string, err error) {
	_ = g.failed(what, err)
	runtime.Goexit()
}

// GetLog implements raft.LogStore.
func (g *guardedStore) GetLog(index uint64, log *raft.Log) error {
	err := g.LogStore.GetLog(index, log)
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		g.end(fmt.Sprintf("read log entry %d", index), err)
	}
	return err
}

// StoreLog implements raft.LogStore.
func (g *guardedStore) StoreLog(log *raft.Log) error {
	began := time.Now()
	if err := g.LogStore.StoreLog(log); err != nil {
		return g.failed(fmt.Sprintf("write log entry %d", log.Index), err)
	}
	g.watch.stored(log.Index, began)
	return nil
}

// StoreLogs implements raft.LogStore.
func (g *guardedStore) StoreLogs(logs []*raft.Log) error {
	began := time.Now()
	if err := g.LogStore.StoreLogs(logs); err != nil {
		return g.failed(fmt.Sprintf("write %d log entries", len(logs)), err)
	}
	if len(logs) > 0 {
		g.watch.stored(logs[len(logs)-1].Index, began)
	}
	return nil
}

// DeleteRange implements raft.LogStore.
func (g *guardedStore) DeleteRange(from, to uint64) error {
	if err := g.LogStore.DeleteRange(from, to); err != nil {
		return g.failed(fmt.Sprintf("delete log entries %d to %d", from, to), err)
	}
	return nil
}

// Set implements raft.StableStore.
func (g *guardedStore) Set(key, val []byte) error {
	if err := g.stable.Set(key, val); err != nil {
		return g.failed(fmt.Sprintf("write Raft's %s", key), err)
	}
	return nil
}

// Get implements raft.StableStore.
func (g *guardedStore) Get(key []byte) ([]byte, error) { return g.stable.Get(key) }

// SetUint64 implements raft.StableStore.
func (g *guardedStore) SetUint64(key []byte, val uint64) error {
	if err := g.stable.SetUint64(key, val); err != nil {
		if string(key) == keyCurrentTerm {
			g.end("write Raft's term", err)
		}
		return g.failed(fmt.Sprintf("write Raft's %s", key), err)
	}
	return nil
}

// GetUint64 implements raft.StableStore.
func (g *guardedStore) GetUint64(key []byte) (uint64, error) { return g.stable.GetUint64(key) }
