package agent

import (
	"testing"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// Whatever a voter sends, this member does not read backwards, nor without a member's
// name or a configuration.
func FuzzReading(f *testing.F) {
	s, _, err := fsm.New().Apply(1, fsm.Encode(fsm.SetSpec{Cluster: "c1", Spec: specOf(3, 2)}))
	if err != nil {
		f.Fatal(err)
	}
	next, _, err := s.Apply(2, fsm.Encode(fsm.Register{Member: "a1", Nonce: fsm.Nonce{1}, Process: fsm.Nonce{1}, Host: fsm.Host{Machine: "m"}, Wire: [2]uint16{1, 1}}))
	if err != nil {
		f.Fatal(err)
	}
	change, _ := next.PartSince("a1", 2, s, 1)
	less := next.Part("a1", 3)
	api.LeaveOut(&less)
	f.Add(uint64(0), uint64(1), s.Part("a1", 1).Encode(), uint64(2), change.Encode(), false)
	f.Add(uint64(1), uint64(1), s.Part("a1", 1).Encode(), uint64(3), less.Encode(), true)
	f.Add(uint64(9), uint64(1), s.Part("a1", 1).Encode(), uint64(3), []byte{}, true)
	f.Fuzz(func(t *testing.T, have, at1 uint64, part1 []byte, at2 uint64, part2 []byte, kept bool) {
		r := reading{have: fsm.Index(have), cluster: "c1"}
		for _, frame := range []api.PartFrame{{Index: fsm.Index(at1), Part: part1}, {Index: fsm.Index(at2), Part: part2, Kept: kept}} {
			was := r.at
			if r.take(frame) != nil {
				return
			}
			if r.state == nil || r.at < was || r.at < r.have || r.at != frame.Index || r.state.Cluster() != "c1" {
				t.Fatalf("reads %d after %d, having %d", r.at, was, r.have)
			}
		}
	})
}
