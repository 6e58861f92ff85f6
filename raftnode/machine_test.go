package raftnode

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
)

func testMachine(t *testing.T) *machine {
	t.Helper()
	m := newMachine(func(err error) { t.Errorf("fatal: %v", err) })
	m.StoreConfiguration(1, raft.Configuration{Servers: []raft.Server{{ID: "n2/b"}, {ID: "n1/a"}, {ID: "n3/c", Suffrage: raft.Nonvoter}}})
	cmd := fsm.Encode(fsm.SetSpec{Cluster: "c", Spec: specOf("n1", "n2", "n3")})
	if res, ok := m.Apply(&raft.Log{Index: 3, Data: cmd}).(fsm.Result); !ok || !res.Applied {
		t.Fatalf("%+v", res)
	}
	return m
}

func TestMachineVoters(t *testing.T) {
	m := testMachine(t)
	v := m.view()
	if got := v.state.Voters(); got.Index != 1 || len(got.IDs) != 2 || got.IDs[0] != "n1/a" {
		t.Errorf("%+v", got)
	}
	// A server without a vote more is no new list.
	m.StoreConfiguration(5, raft.Configuration{Servers: []raft.Server{{ID: "n2/b"}, {ID: "n1/a"}, {ID: "n4/d", Suffrage: raft.Nonvoter}}})
	if v := m.view(); v.state.Voters().Index != 1 || v.index != 5 {
		t.Errorf("%+v at %d", v.state.Voters(), v.index)
	}
	m.StoreConfiguration(6, raft.Configuration{Servers: []raft.Server{{ID: "n2/b"}, {ID: "n1/a"}, {ID: "n4/d"}}})
	if v := m.view(); v.state.Voters().Index != 6 || len(v.state.Voters().IDs) != 3 {
		t.Errorf("%+v", v.state.Voters())
	}
}

func TestMachineAfter(t *testing.T) {
	m := testMachine(t)
	select {
	case <-m.after(2):
	default:
		t.Error("3 is above 2")
	}
	ch := m.after(3)
	select {
	case <-ch:
		t.Error("nothing is above 3 yet")
	default:
	}
	m.StoreConfiguration(4, raft.Configuration{})
	select {
	case <-ch:
	default:
		t.Error("not told of 4")
	}
}

func TestSnapshotAndRestore(t *testing.T) {
	m := testMachine(t)
	snap, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	// What comes later is not in it.
	m.StoreConfiguration(9, raft.Configuration{Servers: []raft.Server{{ID: "n9/i"}}})
	var buf bytes.Buffer
	sink := &memSink{Writer: &buf}
	if err := snap.Persist(sink); err != nil || !sink.closed || sink.cancelled {
		t.Fatalf("%v, %+v", err, sink)
	}
	snap.Release()
	whole := buf.Bytes()
	outside, at, err := ReadSnapshot(bytes.NewReader(whole))
	if err != nil || at != 3 || outside.Cluster() != "c" {
		t.Errorf("read from outside: index %d, %v", at, err)
	}
	if _, _, err := ReadSnapshot(bytes.NewReader(whole[:len(whole)-1])); !errors.Is(err, fsm.ErrDamaged) {
		t.Errorf("a part of it: %v", err)
	}
	other := newMachine(func(err error) { t.Errorf("fatal: %v", err) })
	if err := other.Restore(io.NopCloser(bytes.NewReader(whole))); err != nil {
		t.Fatal(err)
	}
	v := other.view()
	if v.index != 3 || v.state.Cluster() != "c" || v.state.Voters().Index != 1 || v.state.Spec().Version != 3 {
		t.Errorf("at %d: %+v", v.index, v.state.Voters())
	}
	for _, n := range []int{0, 5, len(snapshotMagic), len(snapshotMagic) + 4, len(whole) / 2} {
		if err := other.Restore(io.NopCloser(bytes.NewReader(whole[:n]))); err == nil {
			t.Errorf("%d of %d bytes were restored", n, len(whole))
		}
	}
	if err := other.Restore(io.NopCloser(bytes.NewReader(append([]byte("X"), whole[1:]...)))); err == nil {
		t.Error("something else was restored")
	}
	if other.view().index != 3 {
		t.Error("a restore that failed changed the view")
	}
}

type fullWriter struct{}

func (fullWriter) Write([]byte) (int, error) { return 0, errDiskFull }

func TestPersistOnAFullDisk(t *testing.T) {
	snap, err := testMachine(t).Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	sink := &memSink{Writer: fullWriter{}}
	if err := snap.Persist(sink); !errors.Is(err, errDiskFull) || !sink.cancelled || sink.closed {
		t.Errorf("%v, %+v", err, sink)
	}
}

func TestPoisonedMachineDoesNothingMore(t *testing.T) {
	told := make(chan error, 1)
	m := newMachine(func(err error) { told <- err })
	answered := make(chan any)
	go func() { answered <- m.Apply(&raft.Log{Index: 2, Data: []byte{0x7f}}) }()
	if err := <-told; !errors.Is(err, fsm.ErrUnknownCommand) {
		t.Errorf("told %v", err)
	}
	select {
	case a := <-answered:
		t.Fatalf("it answered %v before the shutdown", a)
	default:
	}
	close(m.release)
	if a := <-answered; a != errPoisoned { //nolint:errorlint // the value itself
		t.Errorf("it answered %v", a)
	}
	if a := m.Apply(&raft.Log{Index: 3, Data: fsm.Encode(fsm.Probe{})}); a != errPoisoned { //nolint:errorlint // the value itself
		t.Errorf("the next entry: %v", a)
	}
	m.StoreConfiguration(4, raft.Configuration{})
	if _, err := m.Snapshot(); err == nil {
		t.Error("a snapshot of it")
	}
	if m.view().index != 0 {
		t.Errorf("at %d", m.view().index)
	}
}

func FuzzReadSnapshot(f *testing.F) {
	m := newMachine(func(error) {})
	m.Apply(&raft.Log{Index: 3, Data: fsm.Encode(fsm.SetSpec{Cluster: "c", Spec: specOf("n1")})})
	snap, err := m.Snapshot()
	if err != nil {
		f.Fatal(err)
	}
	var buf bytes.Buffer
	if err := snap.Persist(&memSink{Writer: &buf}); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Add([]byte(snapshotMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := readSnapshot(bytes.NewReader(data))
		if err == nil && v.state == nil {
			t.Error("neither a State nor an error")
		}
	})
}
