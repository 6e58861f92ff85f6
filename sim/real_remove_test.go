package sim_test

import (
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/raftnode"
)

// remove marks a server as to be taken out, whoever leads.
func (w *world) remove(m fsm.MemberID) {
	w.until(rest, "the mark is agreed on", func() bool {
		l := w.leader()
		if l == nil {
			return false
		}
		s, _ := l.raft.View()
		res, err := l.raft.Propose(w.t.Context(), fsm.SetSpec{Was: s.Spec().Version, Spec: s.Spec().WithRemoving(m, true)})
		return err == nil && res.Applied
	})
}

// Five servers become three, the leader among those that go: nobody who stays loses its
// lease, and who goes learns of it and holds nothing.
func TestRealServersTakenOut(t *testing.T) {
	for seed := range uint64(3) {
		bubble(t, seed, 5, rules{}, func(t *testing.T, w *world) {
			w.boot()
			s, _ := w.newest()
			first := w.leader()
			gone := []*node{first}
			for _, name := range w.names() {
				if len(gone) < 2 && name != first.name {
					gone = append(gone, w.alive(name))
				}
			}
			for _, p := range gone {
				began := time.Now()
				w.remove(p.name)
				w.until(rest, string(p.name)+" is gone and knows", func() bool {
					now, _ := w.newest()
					_, in := now.Spec().Servers[p.name]
					_, known := now.Member(p.name)
					phase := p.raft.Phase()
					return !in && !known && !now.HasVote(p.name) && phase.Stage == raftnode.StageRemoved && phase.Removed != 0
				})
				t.Logf("seed %d: %s was gone after %v", seed, p.name, time.Since(began))
			}
			time.Sleep(rest)
			now, _ := w.newest()
			for name := range now.Spec().Servers {
				was, _ := s.Member(name)
				is, _ := now.Member(name)
				if is.Epoch != was.Epoch || !is.Up {
					t.Errorf("seed %d: %s lost its lease: epoch %d, was %d", seed, name, is.Epoch, was.Epoch)
				}
			}
			if len(now.Spec().Servers) != 3 || len(now.Voters().IDs) != 3 {
				t.Errorf("%v", now.Voters())
			}
			for slot := range now.Slots() {
				if _, in := now.Spec().Servers[slot.Owner]; !in || slot.Acquired == 0 || len(slot.Outstanding) > 0 {
					t.Errorf("%+v", slot)
				}
			}
			if v := w.violation(); v != "" {
				t.Error(v)
			}
		})
	}
}
