package sim_test

import (
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// staleLeader commits an entry on n2 and n1 while n3 is cut off, kills both,
// empties n1 and starts it again on the same address: n3, which lacks the entry,
// would need n1's vote. It answers with the process that leads then; nil: none.
func (w *world) staleLeader() *node {
	w.boot()
	if p := w.leader(); p.name == "n3" {
		if err := p.raft.StepDown(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
	w.net.set(true, w.apart("n3")...)
	// The entry: n3 is called down.
	down := func(m fsm.MemberID) bool {
		s, _ := w.alive(m).raft.View()
		n3, _ := s.Member("n3")
		return !n3.Up
	}
	w.until(rest, "n3's Down is applied on n1 and n2", func() bool { return down("n1") && down("n2") })
	if down("n3") {
		w.t.Fatal("n3 has read the entry that it must lack")
	}
	w.halt(w.alive("n2"))
	w.halt(w.alive("n1"))
	w.event("wipe n1")
	w.wipe("n1")
	w.start("n1")
	w.net.heal()
	if w.within(rest, func() bool { p := w.alive("n3"); name, _ := p.raft.Leader(); return name == "n3" }) {
		return w.alive("n3")
	}
	for _, p := range w.running() {
		if name, _ := p.raft.Leader(); name == p.name {
			return p
		}
	}
	return nil
}

// A voter whose disk was wiped has forgotten its votes and what it stored: it
// cannot help to elect a leader that lacks what was committed with its help.
// Control: without the check of the instance at the other end it does.
func TestRealWipedVoterElectsNobody(t *testing.T) {
	bubble(t, 11, 3, rules{}, func(t *testing.T, w *world) {
		if p := w.staleLeader(); p != nil {
			t.Fatalf("%s leads with the vote of a wiped disk", p.id())
		}
		w.start("n2")
		w.until(2*rest, "the wiped voter is taken in again as another instance", w.settled)
		s, _ := w.newest()
		if len(s.Voters().IDs) != 3 {
			t.Errorf("voters %v", s.Voters().IDs)
		}
	})
	bubble(t, 11, 3, rules{gullible: true}, func(t *testing.T, w *world) {
		p := w.staleLeader()
		if p == nil {
			t.Fatal("the check of the instance is left out, and n3 was not elected")
		}
		// It goes on without the entry; the other replica has it.
		w.start("n2")
		if !w.within(rest, func() bool { return w.violation() != "" }) {
			t.Error("a committed entry is lost and nothing shows it")
		}
	})
}

// A voter wiped while the others run comes back as a new instance, and gets its
// vote and its items back.
func TestRealWipedVoterComesBack(t *testing.T) {
	for _, leads := range []bool{false, true} {
		bubble(t, 12, 3, rules{}, func(t *testing.T, w *world) {
			w.boot()
			var victim *node
			for _, p := range w.running() {
				if (p == w.leader()) == leads {
					victim = p
				}
			}
			w.halt(victim)
			w.wipe(victim.name)
			began := time.Now()
			fresh := w.start(victim.name)
			w.until(2*rest, "it is taken in again", func() bool {
				s, _ := w.newest()
				return s.Voters().Has(fresh.id()) && w.settled()
			})
			t.Logf("leader %v: back after %v", leads, time.Since(began))
			s, _ := w.newest()
			if s.Voters().Has(victim.id()) {
				t.Errorf("the old instance still votes: %v", s.Voters().IDs)
			}
		})
	}
}
