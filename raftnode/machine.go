package raftnode

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
)

// view is one State and the index it stands for.
type view struct {
	state *fsm.State
	index fsm.Index
}

// machine lets Raft drive an fsm.State. Raft calls Apply, StoreConfiguration,
// Snapshot and Restore from one goroutine; everybody else reads the newest view
// without waiting for it.
type machine struct {
	fatal   func(error)   // told once of an entry that cannot be applied
	release chan struct{} // closed at shutdown: Apply may then return
	watch   *stopwatch
	now     atomic.Pointer[view]

	mu      sync.Mutex
	changed chan struct{} // closed and replaced with each new view
	// poisoned: an entry was refused. Nothing after it may be applied, snapshots
	// included, or this replica would differ from the others for ever.
	poisoned bool
}

var _ raft.ConfigurationStore = (*machine)(nil)

func newMachine(fatal func(error)) *machine {
	m := &machine{fatal: fatal, watch: &stopwatch{}, release: make(chan struct{}), changed: make(chan struct{})}
	m.now.Store(&view{state: fsm.New()})
	return m
}

// view is the newest State; it may be called from any goroutine.
func (m *machine) view() view { return *m.now.Load() }

// after is closed already if the view's index is above i, else with the next view.
func (m *machine) after(i fsm.Index) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now.Load().index > i {
		over := make(chan struct{})
		close(over)
		return over
	}
	return m.changed
}

func (m *machine) publish(s *fsm.State, at fsm.Index) {
	m.now.Store(&view{state: s, index: at})
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.changed)
	m.changed = make(chan struct{})
}

// Apply implements raft.FSM; it answers with an fsm.Result or an error. For an
// entry that this release does not know it blocks until the shutdown, so that
// "applied" never passes it.
func (m *machine) Apply(l *raft.Log) any {
	if m.isPoisoned() {
		return errPoisoned
	}
	v := m.now.Load()
	next, result, err := v.state.Apply(fsm.Index(l.Index), l.Data)
	if err != nil {
		m.poison(fmt.Errorf("apply log entry %d: %w (written by a newer flip? run that release here too)", l.Index, err))
		return errPoisoned
	}
	m.publish(next, fsm.Index(l.Index))
	m.watch.applied(l.Index)
	return result
}

// errPoisoned answers all that comes after an entry that cannot be applied.
var errPoisoned = errors.New("an earlier log entry could not be applied")

func (m *machine) isPoisoned() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.poisoned
}

func (m *machine) poison(err error) {
	m.mu.Lock()
	m.poisoned = true
	m.mu.Unlock()
	m.fatal(err)
	<-m.release
}

// StoreConfiguration implements raft.ConfigurationStore; Raft calls it for
// committed configurations only. The list keeps its index while its voters stay
// the same: a server added without a vote is no new list.
func (m *machine) StoreConfiguration(index uint64, c raft.Configuration) {
	if m.isPoisoned() {
		return
	}
	v := m.now.Load()
	next := v.state
	if ids := votersOf(c); !slices.Equal(ids, next.Voters().IDs) {
		next = next.WithVoters(fsm.Voters{Index: fsm.Index(index), IDs: ids})
	}
	m.publish(next, fsm.Index(index))
}

// votersOf are the servers with a vote, sorted.
func votersOf(c raft.Configuration) []fsm.VoterID {
	var ids []fsm.VoterID
	for _, s := range c.Servers {
		if s.Suffrage == raft.Voter {
			ids = append(ids, fsm.VoterID(s.ID))
		}
	}
	slices.Sort(ids)
	return ids
}

// snapshot is one view on its way to the disk or to another server.
type snapshot view

// Snapshot implements raft.FSM: the State is immutable, so it is a pointer.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if m.isPoisoned() {
		return nil, errPoisoned
	}
	v := m.view()
	return (*snapshot)(&v), nil
}

// snapshotMagic begins each snapshot: the name, then the format's number.
const snapshotMagic = "flip-snap\x00\x00\x01"

// Persist implements raft.FSMSnapshot.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.write(sink); err != nil {
		return errors.Join(fmt.Errorf("write snapshot at %d: %w", s.index, err), sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("close snapshot at %d: %w", s.index, err)
	}
	return nil
}

func (s *snapshot) write(to io.Writer) error {
	w := bufio.NewWriter(to)
	head := binary.BigEndian.AppendUint64([]byte(snapshotMagic), uint64(s.index))
	if _, err := w.Write(head); err != nil {
		return err
	}
	if err := s.state.Write(w); err != nil {
		return err
	}
	return w.Flush()
}

// Release implements raft.FSMSnapshot.
func (s *snapshot) Release() {}

// SnapshotMagic begins each of a data directory's snapshots.
const SnapshotMagic = snapshotMagic

// ReadSnapshot reads one of them (state.bin), for who looks at the disk of a node that
// does not run: the State, and the index of the log at which it was written.
func ReadSnapshot(from io.Reader) (*fsm.State, fsm.Index, error) {
	v, err := readSnapshot(from)
	if err != nil {
		return nil, 0, fmt.Errorf("read snapshot: %w", err)
	}
	return v.state, v.index, nil
}

// readSnapshot reverses write.
func readSnapshot(from io.Reader) (view, error) {
	r := bufio.NewReader(from)
	var head [len(snapshotMagic) + 8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return view{}, fmt.Errorf("read its head: %w", err)
	}
	if magic := string(head[:len(snapshotMagic)]); magic != snapshotMagic {
		return view{}, fmt.Errorf("it begins with %q: no snapshot of flip's, or of a newer release", magic)
	}
	state, err := fsm.Read(r)
	if err != nil {
		return view{}, err
	}
	return view{state: state, index: fsm.Index(binary.BigEndian.Uint64(head[len(snapshotMagic):]))}, nil
}

// Restore implements raft.FSM.
func (m *machine) Restore(from io.ReadCloser) error {
	if m.isPoisoned() {
		return errPoisoned
	}
	v, err := readSnapshot(from)
	if err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	m.publish(v.state, v.index)
	return nil
}
