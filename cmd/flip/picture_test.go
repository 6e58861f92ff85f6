package main

import (
	"bytes"
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/raftnode"
)

func restingState(t *testing.T) *restful {
	t.Helper()
	a, err := newAgreed()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A data directory's snapshot has a head of its own, with the index.
func TestPictureOfASnapshot(t *testing.T) {
	a := restingState(t)
	var buf bytes.Buffer
	buf.Write(binary.BigEndian.AppendUint64([]byte(raftnode.SnapshotMagic), 41))
	if err := a.s.Write(&buf); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	older := filepath.Join(dir, "snapshots", "1-7-1700000000000")
	newer := filepath.Join(dir, "snapshots", "2-41-1700000000001")
	for _, d := range []string{older, newer} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range map[string][]byte{filepath.Join(older, "state.bin"): []byte("damaged"), filepath.Join(newer, "state.bin"): buf.Bytes()} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(older, "state.bin"), long, long); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, filepath.Join(dir, "snapshots"), newer, filepath.Join(newer, "state.bin")} {
		p, err := readPicture(name)
		if err != nil || p.index != 41 || p.State.Cluster() != "c" || !strings.HasSuffix(p.words, "has it, index 41") {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		if p.Now != 0 || p.Well != nil || p.at <= longAgo {
			t.Errorf("%s: now %d, well %v, at %d", name, p.Now, p.Well, p.at)
		}
	}
	if _, err := readPicture(older); err == nil {
		t.Error("a damaged one is taken")
	}
	if err := os.WriteFile(filepath.Join(newer, "state.bin"), buf.Bytes()[:buf.Len()-3], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readPicture(newer); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("one that is cut off: %v", err)
	}
}

// For how long a member is well is what the history tells, and long enough when it does
// not go back so far.
func TestWellIn(t *testing.T) {
	a := restingState(t)
	if got := wellIn(a.s, longAgo+5000); !maps.Equal(got, map[fsm.MemberID]time.Duration{"n1": 5 * time.Second, "n2": 5 * time.Second, "n3": 5 * time.Second}) {
		t.Errorf("since they registered: %v", got)
	}
	if got := wellIn(a.s, longAgo-1); got["n1"] != 0 {
		t.Errorf("by a clock that is behind: %v", got)
	}
	if err := a.change("down=n2"); err != nil {
		t.Fatal(err)
	}
	if _, well := wellIn(a.s, longAgo)["n2"]; well {
		t.Error("one that is down is well")
	}
	for range fsm.JournalSize {
		if err := a.do(fsm.Maintain{System: "ip", On: !a.s.Maintained("ip"), At: longAgo}); err != nil {
			t.Fatal(err)
		}
	}
	if got := wellIn(a.s, longAgo); got["n1"] != longEnough {
		t.Errorf("beyond what the history has: %v", got)
	}
	if got := newest(a.s); got != longAgo {
		t.Errorf("newest %d", got)
	}
}

// More than one command holds are planned to the end, and each slot shows once.
func TestPlanBeyondOneCommand(t *testing.T) {
	spec := agreedSpec()
	many := spec.Systems["ip"]
	many.Items = nil
	for i := range fsm.MaxMoves + 100 {
		many.Items = append(many.Items, fsm.Item{ID: fsm.ItemID(string(binary.BigEndian.AppendUint16([]byte("i"), uint16(i))))})
	}
	spec.Systems["ip"] = many
	a := &restful{s: fsm.New().WithVoters(fsm.Voters{Index: 1, IDs: []fsm.VoterID{"n1/i"}}), at: 1}
	if err := a.do(fsm.SetSpec{Cluster: "c", Spec: spec, At: longAgo}); err != nil {
		t.Fatal(err)
	}
	if err := a.do(fsm.Register{Member: "n1", Nonce: fsm.Nonce{1}, Process: fsm.Nonce{1}, Host: fsm.Host{Machine: "m"}, Wire: [2]uint16{1, 1}, At: longAgo}); err != nil {
		t.Fatal(err)
	}
	p := picture{index: a.at, at: longAgo}
	p.State = a.s
	out, err := reckon(p, p)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[plannedMove]bool{}
	for _, m := range out.Moves {
		seen[m] = true
	}
	if want := len(many.Items) + 1 + 4; len(out.Moves) != want || len(seen) != want {
		t.Errorf("%d moves, %d of them different, want %d", len(out.Moves), len(seen), want)
	}
	if n1 := out.Members[0]; n1.After != n1.Gets || n1.Gets != len(out.Moves) {
		t.Errorf("%+v", n1)
	}
}

// All copies of an item are moved by one command, which may then hold fewer moves than
// there is room for: that is not the end of the plan.
func TestPlanOfManyCopies(t *testing.T) {
	a := &restful{s: fsm.New().WithVoters(fsm.Voters{Index: 1, IDs: []fsm.VoterID{"n1/i"}}), at: 1}
	spec := agreedSpec()
	ring := spec.Systems["ring"]
	ring.Replicas, ring.Partitions, ring.Items = 3, &fsm.Partitions{Count: 2000, Hash: fsm.FNV64a}, nil
	for i := range 2000 {
		ring.Items = append(ring.Items, fsm.Item{ID: fsm.ItemID(strconv.Itoa(i))})
	}
	slices.SortFunc(ring.Items, func(x, y fsm.Item) int { return strings.Compare(string(x.ID), string(y.ID)) })
	spec.Systems = map[fsm.SystemID]fsm.System{"ring": ring}
	for name, server := range spec.Servers {
		server.Systems = []fsm.SystemID{"ring"}
		spec.Servers[name] = server
	}
	if err := a.do(fsm.SetSpec{Cluster: "c", Spec: spec, At: longAgo}); err != nil {
		t.Fatal(err)
	}
	for i, m := range []fsm.MemberID{"n1", "n2", "n3"} {
		if err := a.do(fsm.Register{Member: m, Nonce: fsm.Nonce{1, byte(i)}, Process: fsm.Nonce{1, byte(i)}, Host: fsm.Host{Machine: string(m)}, Wire: [2]uint16{1, 1}, At: longAgo}); err != nil {
			t.Fatal(err)
		}
	}
	p := picture{index: a.at, at: longAgo}
	p.State = a.s
	out, err := reckon(p, p)
	if err != nil || len(out.Moves) != 6000 || len(out.Notes) > 0 || out.Members[2].After != 2000 {
		t.Errorf("%d moves, %v, %v, %+v", len(out.Moves), err, out.Notes, out.Members)
	}
}
