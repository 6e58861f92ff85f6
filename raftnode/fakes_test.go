package raftnode

import (
	"errors"
	"io"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/wake"
)

// fakeLive stands for liveness: it registers at once, and calls down what the
// test says.
type fakeLive struct {
	self    fsm.MemberID
	nonce   fsm.Nonce
	changed chan struct{}

	mu        sync.Mutex
	mute      bool // does not register
	unspaced  bool
	state     *fsm.State
	index     fsm.Index
	leading   bool
	leader    fsm.VoterID
	led       int // how often leading began
	reads     int
	asked     int // registrations asked for
	dead      map[fsm.MemberID]bool
	goodbyes  []fsm.Goodbye
	takesOver bool
}

func (f *fakeLive) Read(s *fsm.State, at fsm.Index, leading bool, leader fsm.VoterID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at < f.index {
		panic("the detector was shown an older index")
	}
	if leading && !f.leading {
		f.led++
	}
	f.state, f.index, f.leading, f.leader = s, at, leading, leader
	f.reads++
	wake.Signal(f.changed)
}

func (f *fakeLive) Downs() []fsm.Down {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []fsm.Down
	if !f.leading {
		return nil
	}
	for id := range f.dead {
		if m, ok := f.state.Member(id); ok && m.Up {
			out = append(out, fsm.Down{Member: id, Epoch: m.Epoch, Voters: f.state.Voters().Index, Evidence: []fsm.Vote{{Voter: f.leader}, {Voter: "x/y"}}})
		}
	}
	return out
}

func (f *fakeLive) MayChangeVoters() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.unspaced
}

func (f *fakeLive) Changed() <-chan struct{} { return f.changed }

func (f *fakeLive) Goodbyes() []fsm.Goodbye {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.goodbyes
}

func (f *fakeLive) TakeOver() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.takesOver
}

func (f *fakeLive) Register() (fsm.Register, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.mute || f.state == nil {
		return fsm.Register{}, false
	}
	m, _ := f.state.Member(f.self)
	if m.Nonce == f.nonce {
		return fsm.Register{}, false
	}
	return fsm.Register{
		Member: f.self, Nonce: f.nonce, Process: f.nonce, Replaces: m.Epoch,
		Host: fsm.Host{Machine: "m-" + string(f.self), Boot: "b", Instance: "i"}, Wire: [2]uint16{1, 1},
	}, true
}

func (f *fakeLive) Settled() (fsm.Settle, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == nil || f.mute {
		return fsm.Settle{}, false
	}
	m, ok := f.state.Member(f.self)
	if !ok || m.Nonce != f.nonce || m.Settled {
		return fsm.Settle{}, false
	}
	return fsm.Settle{Member: f.self, Epoch: m.Epoch}, true
}

// set changes what the fake says.
func (f *fakeLive) set(change func()) {
	f.mu.Lock()
	change()
	f.mu.Unlock()
	wake.Signal(f.changed)
}

var errDiskFull = errors.New("no space left on device")

// faultyStore is a disk that fills up or hangs on demand.
type faultyStore struct {
	*raft.InmemStore
	mu   sync.Mutex
	full bool
	hang chan struct{} // not nil: writes wait until it is closed
}

func (f *faultyStore) fault() error {
	f.mu.Lock()
	full, hang := f.full, f.hang
	f.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if full {
		return errDiskFull
	}
	return nil
}

func (f *faultyStore) StoreLogs(l []*raft.Log) error {
	if err := f.fault(); err != nil {
		return err
	}
	return f.InmemStore.StoreLogs(l)
}

func (f *faultyStore) StoreLog(l *raft.Log) error { return f.StoreLogs([]*raft.Log{l}) }

func (f *faultyStore) SetUint64(k []byte, v uint64) error {
	if err := f.fault(); err != nil {
		return err
	}
	return f.InmemStore.SetUint64(k, v)
}

func (f *faultyStore) Set(k, v []byte) error {
	if err := f.fault(); err != nil {
		return err
	}
	return f.InmemStore.Set(k, v)
}

// memSink is a snapshot on its way nowhere.
type memSink struct {
	io.Writer
	closed, cancelled bool
}

func (s *memSink) ID() string    { return "mem" }
func (s *memSink) Close() error  { s.closed = true; return nil }
func (s *memSink) Cancel() error { s.cancelled = true; return nil }
