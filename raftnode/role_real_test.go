package raftnode

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// A voter becomes an agent and a voter again: nothing moves, its epoch goes on, and
// Raft has it only while it votes.
func TestVoterAgentVoter(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		leader := w.leader()
		term := leader.raft.Load().CurrentTerm()
		victim := other(nodes, leader)
		name := victim.cfg.Self
		owners, epoch := leader.owners(), w.epoch(name)
		w.respec(inRole(fsm.RoleAgent, name))
		w.until(time.Second, "it has no vote", func() bool {
			w.unmoved(owners)
			return leader.voters() == 2
		})
		listed := func() bool { return strings.Contains(peersOf(leader), string(name)) }
		w.until(200*time.Millisecond, "the leader's status names it no more", func() bool { return !listed() })
		w.never(6*time.Second, "it is greeted", listed)
		if leader.Hello(victim.hello()); listed() {
			t.Error("its greetings are kept")
		}
		w.demoted(victim, time.Second)
		w.never(5*time.Second, "it comes back, or disturbs the others", func() bool {
			w.unmoved(owners)
			return leader.voters() != 2 || leader != w.leader() || leader.raft.Load().CurrentTerm() != term
		})
		w.respec(inRole(fsm.RoleVoter, name))
		w.never(time.Second, "it has a vote before it is there", func() bool { return leader.voters() != 2 })
		back := w.promoted(name, victim.disk)
		w.until(5*time.Second, "its vote", func() bool {
			w.unmoved(owners)
			if p := back.Phase(); p.Stage == StageAgent || p.Stage == StageRemoved {
				t.Fatalf("it believes its old log: %+v", p)
			}
			return leader.voters() == 3 && back.voters() == 3
		})
		w.never(time.Second, "it registers anew", func() bool { return w.epoch(name) != epoch })
		if back.self != victim.self {
			t.Errorf("%s became %s", victim.self, back.self)
		}
	})
}

func TestDemoteLeader(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.three()
		old := w.leader()
		name, owners := old.cfg.Self, old.owners()
		epoch := w.epoch(name)
		w.respec(inRole(fsm.RoleAgent, name))
		began := time.Now()
		w.until(5*time.Second, "another one leads, without it", func() bool {
			w.unmoved(owners)
			if p := old.Phase(); p.Stage == StageRemoved {
				t.Fatalf("it believes that it was removed: %+v", p)
			}
			l := w.leader()
			return l != nil && l != old && l.voters() == 2
		})
		t.Logf("the leader had no vote after %v", time.Since(began))
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("that took %v", took)
		}
		w.demoted(old, 2*time.Second)
		w.never(5*time.Second, "anything moves", func() bool { w.unmoved(owners); return w.epoch(name) != epoch })
	})
}

// The newcomer's vote comes before the other one goes: there are never fewer than three.
func TestPromoteWhileAnotherIsRemoved(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		w.respec(func(s fsm.Spec) fsm.Spec { return withAgents(s, "n4") })
		w.agent("n4", nil)
		w.until(time.Second, "the agent is there", func() bool { w.register(); return w.epoch("n4") != 0 })
		leader := w.leader()
		if leader.voters() != 3 {
			t.Fatalf("the agent votes: %s", w.describe())
		}
		victim := other(nodes, leader).cfg.Self
		stay := []fsm.MemberID{leader.cfg.Self, other(nodes, leader, nodes[victim]).cfg.Self}
		epoch := w.epoch("n4")
		w.respec(inRole(fsm.RoleVoter, "n4"))
		w.respec(removing(victim))
		n4 := w.promoted("n4", newDisk())
		w.swept(20*time.Second, "one for the other", stay, func() bool {
			if leader.voters() < 3 {
				t.Fatalf("only %d voters", leader.voters())
			}
			return w.gone(victim) && n4.voters() == 3 && leader.assigned()
		})
		if w.epoch("n4") != epoch {
			t.Error("it registered anew")
		}
	})
}

// A promoted one gets its vote when its voter's side has run for slack, however long its
// Raft has.
func TestPromotedVotesAfterSlack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.three()
		w.respec(func(s fsm.Spec) fsm.Spec { return withAgents(s, "n4") })
		w.respec(inRole(fsm.RoleVoter, "n4"))
		s, _ := w.leader().View()
		d := newDisk()
		d.cluster = s.Cluster()
		var side atomic.Pointer[time.Time]
		w.start("n4", *s.Spec(), d, func(c *Config, _ *Deps) {
			c.Running = func() time.Duration {
				if since := side.Load(); since != nil {
					return time.Since(*since)
				}
				return 0
			}
		})
		w.never(5*time.Second, "it votes before its voter's side runs", func() bool { return w.leader().voters() != 3 })
		began := time.Now()
		side.Store(&began)
		w.until(2*time.Second, "its vote", func() bool { return w.leader().voters() == 4 })
		if took := time.Since(began); took < fsm.Slack(lan.Lease) {
			t.Errorf("its vote came after %v", took)
		}
	})
}

// A dead one loses its vote although its hooks may hold something: it stays a member.
func TestDemoteDead(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, spec := w.three()
		leader := w.leader()
		victim := other(nodes, leader)
		name := victim.cfg.Self
		if err := w.halt(victim); err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			n.live.set(func() { n.live.dead[name] = true })
		}
		w.respec(inRole(fsm.RoleAgent, name))
		w.until(2*time.Second, "it has no vote, and nothing", func() bool {
			return leader.voters() == 2 && !strings.Contains(leader.owners(), string(name))
		})
		s, _ := leader.View()
		if m, known := s.Member(name); !known || m.Up || s.Drained(name) {
			t.Errorf("known %v: %+v", known, m)
		}
		// Started again it takes itself for a voter, until others tell it.
		term := leader.raft.Load().CurrentTerm()
		for _, n := range nodes {
			n.live.set(func() { delete(n.live.dead, name) })
		}
		back := w.start(name, spec, victim.disk)
		w.demoted(back, 2*time.Second)
		w.until(2*time.Second, "it is there as an agent", func() bool {
			w.register()
			w.sweep()
			s, _ := leader.View()
			m, _ := s.Member(name)
			return m.Up
		})
		w.never(5*time.Second, "it disturbs the others", func() bool {
			return w.leader() != leader || leader.raft.Load().CurrentTerm() != term || leader.voters() != 2
		})
	})
}

// Who was cut off meanwhile does not believe that it was removed.
func TestDemotedWhileCutOff(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		leader := w.leader()
		victim := other(nodes, leader)
		w.cut(victim, true)
		w.respec(inRole(fsm.RoleAgent, victim.cfg.Self))
		w.until(5*time.Second, "it has no vote", func() bool { return leader.voters() == 2 })
		w.never(10*time.Second, "it believes anything without a word of others", func() bool {
			stage := victim.Phase().Stage
			return stage == StageAgent || stage == StageRemoved
		})
		term := leader.raft.Load().CurrentTerm()
		w.cut(victim, false)
		w.until(10*time.Second, "it knows", func() bool {
			if removed(victim) {
				t.Fatalf("it believes that it was removed: %+v", victim.Phase())
			}
			return victim.Phase().Stage == StageAgent
		})
		if w.leader() != leader || leader.raft.Load().CurrentTerm() != term {
			t.Error("it disturbed the others")
		}
	})
}

// An agent that is removed later, and was a voter once, does not believe its old log.
func TestDemotedAndRemoved(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, spec := w.three()
		leader := w.leader()
		victim := other(nodes, leader)
		name := victim.cfg.Self
		w.respec(inRole(fsm.RoleAgent, name))
		w.demoted(victim, 2*time.Second)
		w.respec(removing(name))
		w.until(5*time.Second, "it is gone", func() bool { w.sweep(); return w.gone(name) })
		w.unagent(name)
		back := w.start(name, spec, victim.disk)
		w.never(10*time.Second, "it takes itself for an agent, or works", func() bool {
			stage := back.Phase().Stage
			return stage == StageAgent || stage == StageRunning
		})
	})
}

// The mark is taken back before and after the vote is gone.
func TestDemotionTakenBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		leader := w.leader()
		name := other(nodes, leader).cfg.Self
		owners := leader.owners()
		may := func(may bool) {
			for _, n := range nodes {
				n.live.set(func() { n.live.unspaced = may })
			}
		}
		may(false)
		w.respec(inRole(fsm.RoleAgent, name))
		w.never(3*time.Second, "a vote is taken too early", func() bool { w.unmoved(owners); return leader.voters() != 3 })
		if p := nodes[name].Phase(); p.Stage != StageRunning || !strings.Contains(p.Words, "is to be an agent: it still has its vote") {
			t.Errorf("%+v", p)
		}
		w.respec(inRole(fsm.RoleVoter, name))
		may(true)
		w.never(3*time.Second, "it is taken all the same", func() bool { w.unmoved(owners); return leader.voters() != 3 })
		w.respec(inRole(fsm.RoleAgent, name))
		w.until(time.Second, "it is taken", func() bool { return leader.voters() == 2 })
		w.respec(inRole(fsm.RoleVoter, name))
		w.until(5*time.Second, "it is given back", func() bool { w.unmoved(owners); return leader.voters() == 3 })
		w.until(time.Second, "it runs", func() bool { return nodes[name].Phase().Stage == StageRunning })
	})
}

// Not below what the others can carry: with one of the two others down no vote is taken.
func TestDemotionKeepsAMajority(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, spec := w.three()
		leader := w.leader()
		victim := other(nodes, leader)
		dead := other(nodes, leader, victim)
		if err := w.halt(dead); err != nil {
			t.Fatal(err)
		}
		w.respec(inRole(fsm.RoleAgent, victim.cfg.Self))
		w.never(10*time.Second, "the vote is taken, or it believes so", func() bool {
			return leader.voters() != 3 || w.leader() != leader || victim.Phase().Stage != StageRunning
		})
		w.start(dead.cfg.Self, spec, dead.disk)
		w.until(5*time.Second, "with the other one back it is", func() bool { return leader.voters() == 2 })
	})
}

// Agents in the file: founding waits for them as for all servers, 2 x slack at most, and
// none of them is ever in Raft.
func TestFoundingWithAgents(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		spec := withAgents(specOf("n1", "n2", "n3"), "a0", "a1")
		if digest(spec) != digest(specOf("n1", "n2", "n3")) {
			t.Error("agents change the digest")
		}
		nodes := map[fsm.MemberID]*testNode{}
		for _, name := range []fsm.MemberID{"n1", "n2", "n3"} {
			nodes[name] = w.start(name, spec, newDisk())
		}
		w.until(5*time.Second, "three voters", func() bool { return nodes["n1"].voters() == 3 })
		w.never(200*time.Millisecond, "anything is assigned before the agents had a moment", func() bool {
			return strings.TrimSpace(nodes["n1"].owners()) != ""
		})
		w.agent("a0", nil)
		w.agent("a1", nil)
		took := time.Now()
		w.until(2*time.Second, "the agents have their share", func() bool { w.register(); return nodes["n2"].assigned() })
		if got := nodes["n1"].owners(); !strings.Contains(got, "a0") || !strings.Contains(got, "a1") {
			t.Errorf("owners %s", got)
		}
		if d := time.Since(took); d >= 2*fsm.Slack(spec.Timing.Lease) {
			t.Errorf("it was not noticed that all are there: %v", d)
		}
		w.never(10*time.Second, "an agent is in Raft, or greeted", func() bool {
			return len(nodes["n1"].raft.Load().GetConfiguration().Configuration().Servers) != 3 || strings.Contains(peersOf(nodes["n1"]), "a")
		})
	})
}

// An agent that is away holds nothing up for ever.
func TestFoundingWithoutItsAgents(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		spec := withAgents(specOf("n1", "n2", "n3"), "a0", "a1", "a2", "a3")
		for _, name := range []fsm.MemberID{"n1", "n2", "n3"} {
			w.start(name, spec, newDisk())
		}
		w.until(5*time.Second, "all assigned to those that are there", func() bool { l := w.leader(); return l != nil && l.assigned() })
		old, owners := w.leader(), w.leader().owners()
		if err := old.StepDown(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.until(5*time.Second, "another one leads", func() bool { l := w.leader(); return l != nil && l != old })
		w.never(2*time.Second, "anything moves", func() bool { l := w.leader(); return l != nil && l.owners() != owners })
	})
}
