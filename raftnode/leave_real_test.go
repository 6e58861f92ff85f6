package raftnode

import (
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

func TestFiveVotersAndBackToThree(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.three()
		three := []fsm.MemberID{"n1", "n2", "n3"}
		leader, term := w.leader(), w.leader().raft.Load().CurrentTerm()
		w.respec(adding("n4", "n5"))
		n4, n5 := w.join("n4", newDisk()), w.join("n5", newDisk())
		took := w.swept(20*time.Second, "five voters, the newcomers with their share", three, func() bool {
			owners := leader.owners()
			return leader.voters() == 5 && n4.voters() == 5 && n5.voters() == 5 && leader.assigned() &&
				(strings.Contains(owners, "n4") || strings.Contains(owners, "n5")) // four items on five servers
		})
		t.Logf("five voters after %v: %s", took, leader.owners())
		if s, _ := leader.View(); s.Spec().VotesNeeded(s.Voters()) != 3 {
			t.Errorf("%d votes call a member down", s.Spec().VotesNeeded(s.Voters()))
		}
		w.respec(removing("n4", "n5"))
		took = w.swept(10*time.Second, "three voters again", three, func() bool { return w.gone("n4", "n5") })
		t.Logf("three voters again after %v", took)
		if took > 2*time.Second {
			t.Errorf("that took %v", took)
		}
		w.swept(time.Second, "both know it", three, func() bool { return removed(n4) && removed(n5) })
		w.swept(time.Second, "all is with those that stay", three, func() bool {
			return leader.assigned() && !strings.Contains(leader.owners(), "n4") && !strings.Contains(leader.owners(), "n5")
		})
		w.never(20*time.Second, "anything is disturbed by who was taken out", func() bool {
			return w.leader() != leader || leader.raft.Load().CurrentTerm() != term || !w.gone("n4", "n5") || !removed(n4)
		})
		if got := peersOf(leader); strings.Contains(got, "n4") || strings.Contains(got, "n5") {
			t.Errorf("it lists %s", got)
		}
	})
}

func TestRemoveLeader(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		old := w.leader()
		name := old.cfg.Self
		var stay []fsm.MemberID
		for n := range nodes {
			if n != name {
				stay = append(stay, n)
			}
		}
		w.respec(removing(name))
		took := w.swept(10*time.Second, "the leader is gone", stay, func() bool { return w.gone(name) && w.leader() != old })
		w.swept(time.Second, "it knows", stay, func() bool { return removed(old) })
		t.Logf("the leader was gone after %v, %s leads", took, w.leader().cfg.Self)
		if took > 2*time.Second {
			t.Errorf("that took %v", took)
		}
		if err := w.halt(old); err != nil {
			t.Fatal(err)
		}
		w.never(5*time.Second, "those that stay lose what they have", func() bool { return !w.leader().assigned() })
	})
}

// Two of three go, one of them the leader: who is left works alone.
func TestRemoveAllButOne(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		leader := w.leader().cfg.Self
		var last fsm.MemberID
		var others []fsm.MemberID
		for n := range nodes {
			if n != leader && last == "" {
				last = n
			} else {
				others = append(others, n)
			}
		}
		w.respec(removing(others...))
		w.swept(20*time.Second, "one is left", []fsm.MemberID{last}, func() bool {
			l := w.leader()
			return l == nodes[last] && w.gone(others...) && l.voters() == 1
		})
		s, _ := nodes[last].View()
		res, err := nodes[last].Propose(t.Context(), fsm.SetSpec{Was: s.Spec().Version, Spec: removing(last)(*s.Spec())})
		if err != nil || res.Applied || !strings.Contains(res.Why, "no voter would be left") {
			t.Errorf("%v %+v", err, res)
		}
	})
}

// A dead server's hooks hold its removal up until somebody vouches for it.
func TestRemoveDead(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		leader := w.leader()
		victim := other(nodes, leader)
		name := victim.cfg.Self
		if err := w.halt(victim); err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			n.live.set(func() { n.live.dead[name] = true })
		}
		w.respec(removing(name))
		w.until(2*time.Second, "it is down and has nothing", func() bool {
			s, _ := leader.View()
			m, _ := s.Member(name)
			return !m.Up && !strings.Contains(leader.owners(), string(name))
		})
		w.never(10*time.Second, "it goes although its hooks may hold something", func() bool {
			s, _ := leader.View()
			return !s.HasVote(name) || w.gone(name)
		})
		s, _ := leader.View()
		if got := strings.Join(s.Waits(name), "; "); !strings.Contains(got, "may still hold ip/") || !strings.Contains(got, "--force") {
			t.Error(got)
		}
		var force fsm.Force
		for slot := range s.Slots() {
			for _, e := range slot.Outstanding {
				force.Claims = append(force.Claims, fsm.Claim{Key: slot.Key, Member: e.Member, Epoch: e.Epoch, Token: e.Token})
			}
		}
		if _, err := leader.Propose(t.Context(), force); err != nil {
			t.Fatal(err)
		}
		w.until(2*time.Second, "it is gone", func() bool { return w.gone(name) })
		w.until(time.Second, "two voters", func() bool { return leader.voters() == 2 })
		// Started once more it learns that it is out, and disturbs nobody.
		term := leader.raft.Load().CurrentTerm()
		back := w.start(name, *s.Spec(), victim.disk)
		w.until(2*time.Second, "it knows", func() bool { return removed(back) })
		w.never(10*time.Second, "it disturbs the others", func() bool {
			return w.leader() != leader || leader.raft.Load().CurrentTerm() != term || !w.gone(name)
		})
	})
}

func other(nodes map[fsm.MemberID]*testNode, than ...*testNode) *testNode {
next:
	for _, name := range []fsm.MemberID{"n1", "n2", "n3"} {
		for _, o := range than {
			if nodes[name] == o {
				continue next
			}
		}
		return nodes[name]
	}
	return nil
}

// Who was cut off while it was taken out learns of it when it is back.
func TestRemovedWhileCutOff(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		leader := w.leader()
		victim := other(nodes, leader)
		name := victim.cfg.Self
		w.respec(removing(name))
		w.until(2*time.Second, "it has nothing", func() bool { return !strings.Contains(leader.owners(), string(name)) })
		w.cut(victim, true)
		// It let go and said so before.
		s, _ := leader.View()
		m, _ := s.Member(name)
		r := fsm.Report{Member: name, Epoch: m.Epoch}
		for slot := range s.Slots() {
			for _, e := range slot.Outstanding {
				r.Released = append(r.Released, fsm.Claim{Key: slot.Key, Member: name, Epoch: e.Epoch, Token: e.Token})
			}
		}
		if _, err := leader.Propose(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		w.until(5*time.Second, "it is gone", func() bool { return w.gone(name) })
		w.never(20*time.Second, "it believes so without a word of others", func() bool { return removed(victim) })
		term := leader.raft.Load().CurrentTerm()
		w.cut(victim, false)
		w.until(10*time.Second, "it knows", func() bool { return removed(victim) })
		w.never(10*time.Second, "it disturbs the others", func() bool {
			return w.leader() != leader || leader.raft.Load().CurrentTerm() != term
		})
	})
}

// The newcomer comes before the other one goes: there are never fewer than three.
func TestReplaceVoter(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		leader := w.leader()
		victim := other(nodes, leader).cfg.Self
		stay := []fsm.MemberID{leader.cfg.Self, other(nodes, leader, nodes[victim]).cfg.Self}
		w.respec(adding("n4"))
		n4 := w.join("n4", newDisk())
		w.respec(removing(victim))
		w.swept(20*time.Second, "one for the other", stay, func() bool {
			if leader.voters() < 3 {
				t.Fatalf("only %d voters", leader.voters())
			}
			return w.gone(victim) && n4.voters() == 3 && leader.assigned()
		})
	})
}

// A vote is not taken when those that are left could not go on.
func TestRemovalKeepsAMajority(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, spec := w.three()
		leader := w.leader()
		victim := other(nodes, leader)
		name := victim.cfg.Self
		dead := other(nodes, leader, victim)
		if err := w.halt(dead); err != nil {
			t.Fatal(err)
		}
		w.respec(removing(name))
		keep := []fsm.MemberID{"n1", "n2", "n3"}
		end := time.Now().Add(10 * time.Second)
		w.swept(11*time.Second, "nothing, for a while", keep, func() bool { return time.Now().After(end) })
		if w.leader() != leader || strings.Contains(leader.owners(), string(name)) {
			t.Errorf("%s", w.describe())
		}
		w.start(dead.cfg.Self, spec, dead.disk)
		w.swept(5*time.Second, "with the other one back it goes", nil, func() bool { return w.gone(name) })
	})
}

func TestRemovalIsSpaced(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		victim := other(nodes, w.leader()).cfg.Self
		may := func(may bool) {
			for _, n := range nodes {
				n.live.set(func() { n.live.unspaced = may })
			}
		}
		may(false)
		w.respec(removing(victim))
		end := time.Now().Add(5 * time.Second)
		w.swept(6*time.Second, "no vote is taken too early", []fsm.MemberID{"n1", "n2", "n3"}, func() bool { return time.Now().After(end) })
		may(true)
		w.swept(time.Second, "then it goes at once", nil, func() bool { return w.gone(victim) })
	})
}

// The mark is taken back at any time: also when the vote is gone.
func TestRemovalTakenBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		leader := w.leader()
		name := other(nodes, leader).cfg.Self
		before := leader.owners()
		w.respec(removing(name))
		w.until(2*time.Second, "it owns nothing", func() bool { return !strings.Contains(leader.owners(), string(name)) })
		w.never(2*time.Second, "it goes although it may hold something", func() bool { return w.gone(name) })
		if p := nodes[name].Phase(); p.Stage != StageRunning || !strings.Contains(p.Words, "is to leave the cluster: it has yet to confirm") {
			t.Errorf("%+v", p)
		}
		w.respec(func(s fsm.Spec) fsm.Spec { return s.WithRemoving(name, false) })
		w.swept(2*time.Second, "it has its share again", []fsm.MemberID{"n1", "n2", "n3"}, func() bool {
			return leader.assigned() && strings.Count(leader.owners(), string(name)) == strings.Count(before, string(name))
		})
		w.never(2*time.Second, "it goes all the same", func() bool { return !w.leader().assigned() || w.gone(name) })
	})
}

// Who was taken out may be added again, with its old data, and must not believe its
// old log on the way.
func TestRemovedAndAddedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		leader := w.leader()
		victim := other(nodes, leader)
		name := victim.cfg.Self
		w.respec(removing(name))
		w.swept(10*time.Second, "it is gone and knows", nil, func() bool { return w.gone(name) && removed(victim) })
		if err := w.halt(victim); err != nil {
			t.Fatal(err)
		}
		w.respec(adding(name))
		back := w.join(name, victim.disk)
		w.swept(10*time.Second, "it has its vote and its share", nil, func() bool {
			if removed(back) {
				t.Fatalf("it believes that it was taken out: %+v", back.Phase())
			}
			return back.voters() == 3 && strings.Contains(leader.owners(), string(name))
		})
		// An empty one reads all of the log, also of when it was not there.
		if err := w.halt(back); err != nil {
			t.Fatal(err)
		}
		fresh := w.join(name, newDisk())
		w.swept(20*time.Second, "an empty one too", nil, func() bool {
			if removed(fresh) {
				t.Fatalf("it believes that it was taken out: %+v", fresh.Phase())
			}
			return fresh.voters() == 3 && fresh.self != victim.self
		})
	})
}

// One that comes with a list of servers from before another one was added is taken in
// all the same: it belongs to the cluster, and will read the rest in the log.
func TestJoinWithAnOlderList(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.three()
		w.respec(adding("n4"))
		s, _ := w.leader().View()
		seed, d := *s.Spec(), newDisk()
		d.cluster = s.Cluster()
		w.respec(adding("n5"))
		w.start("n4", seed, d)
		w.until(5*time.Second, "its vote", func() bool { return w.leader().voters() == 4 })
	})
}

// One that was added and never comes changes nothing, for a new leader neither, and can
// be taken out again.
func TestAddedAndNeverThere(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		before := w.leader().owners()
		w.respec(adding("n4", "n5", "n6", "n7"))
		old := w.leader()
		if err := old.StepDown(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.until(5*time.Second, "another one leads", func() bool { l := w.leader(); return l != nil && l != old })
		w.never(5*time.Second, "anything moves", func() bool { l := w.leader(); return l != nil && l.owners() != before })
		name := other(nodes, w.leader()).cfg.Self
		for _, n := range nodes {
			n.live.set(func() { n.live.dead[name] = true })
		}
		nodes[name].live.set(func() { nodes[name].live.mute = true })
		w.until(2*time.Second, "a dead one's items move all the same", func() bool {
			l := w.leader()
			return l != nil && l.assigned() && !strings.Contains(l.owners(), string(name))
		})
		w.respec(removing("n4", "n5", "n6", "n7"))
		w.until(2*time.Second, "they are gone", func() bool { return w.gone("n4", "n5", "n6", "n7") })
	})
}
