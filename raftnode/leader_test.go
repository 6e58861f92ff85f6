package raftnode

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
)

func TestLeaderLossNewLeaderPlans(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		lost := w.leader()
		name := lost.cfg.Self
		began := time.Now()
		if err := w.halt(lost); err != nil {
			t.Fatal(err)
		}
		delete(nodes, name)
		for _, n := range nodes {
			n.live.set(func() { n.live.dead[name] = true })
		}
		w.until(2*time.Second, "the items of the lost leader have moved", func() bool {
			for _, n := range nodes {
				if strings.Contains(n.owners(), string(name)) || !n.assigned() {
					return false
				}
			}
			return true
		})
		t.Logf("election and moves took %v", time.Since(began))
		s, _ := w.leader().View()
		if m, _ := s.Member(name); m.Up {
			t.Error("the lost leader is still up in the log")
		}
	})
}

func TestDownMovesInOneCommand(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		leader := w.leader()
		var victim *testNode
		for _, n := range nodes {
			if n != leader {
				victim = n
			}
		}
		name := victim.cfg.Self
		_, before := leader.View()
		leader.live.set(func() { leader.live.dead[name] = true })
		victim.live.set(func() { victim.live.mute = true })
		w.until(time.Second, "the member is down", func() bool {
			s, _ := leader.View()
			m, _ := s.Member(name)
			return !m.Up
		})
		// The moves have the same index as the Down.
		s, _ := leader.View()
		var downAt fsm.Index
		for _, e := range s.Journal() {
			if e.Kind == fsm.KindDown && e.Index > before {
				downAt = e.Index
			}
		}
		for slot := range s.Slots() {
			if slot.Owner == name {
				t.Errorf("%v is still on %s", slot.Key, name)
			}
			if slot.Previous == name && fsm.Index(slot.Token) != downAt {
				t.Errorf("%v moved at %d, Down was %d", slot.Key, slot.Token, downAt)
			}
		}
	})
}

func TestWatchLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := make(chan bool)
		var mu sync.Mutex
		var trace []string
		say := func(s string) {
			mu.Lock()
			defer mu.Unlock()
			trace = append(trace, s)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			watchLeadership(ctx, ch, func(ctx context.Context) {
				say("begin")
				<-ctx.Done()
				time.Sleep(time.Second) // the end takes its time
				say("end")
			})
		}()
		for _, v := range []bool{true, true, false, false, true} {
			ch <- v
			synctest.Wait()
		}
		time.Sleep(5 * time.Second)
		cancel()
		<-done
		if got, want := strings.Join(trace, " "), "begin end begin end begin end"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestLostAndRegainedShowsTheDetector(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.three()
		leader := w.leader()
		led := leader.live.led
		w.cut(leader, true)
		w.until(5*time.Second, "the leader that is cut off knows it", func() bool {
			leader.live.mu.Lock()
			defer leader.live.mu.Unlock()
			return !leader.live.leading
		})
		w.until(5*time.Second, "another one leads", func() bool { l := w.leader(); return l != nil && l != leader })
		w.cut(leader, false)
		if err := w.leader().StepDown(t.Context()); err != nil {
			t.Logf("step down: %v", err)
		}
		w.until(5*time.Second, "somebody leads", func() bool { return w.leader() != nil })
		if leader.live.led != led && w.leader() != leader {
			t.Errorf("led %d times", leader.live.led)
		}
	})
}

func TestCutLeaderIsNotStalled(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.three()
		leader := w.leader()
		w.cut(leader, true)
		w.never(30*time.Second, "a leader that is only cut off gives up", func() bool {
			select {
			case <-leader.ended:
				return true
			default:
				return false
			}
		})
		w.cut(leader, false)
		w.until(5*time.Second, "it follows again", func() bool {
			_, at := leader.View()
			l := w.leader()
			if l == nil {
				return false
			}
			_, most := l.View()
			return at+3 >= most
		})
	})
}

func TestFollowersLearnAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		leader := w.leader()
		for range 20 {
			time.Sleep(70 * time.Millisecond)
			res, err := leader.Propose(t.Context(), fsm.Leave{Member: "nobody"})
			if err != nil {
				t.Fatal(err, res)
			}
			_, at := leader.View()
			began := time.Now()
			for _, n := range nodes {
				<-n.Changed(at - 1)
			}
			// In the bubble only timers take time: without the Barrier it would be
			// CommitTimeout.
			if took := time.Since(began); took > time.Millisecond {
				t.Fatalf("the last follower learned of it %v later", took)
			}
		}
	})
}

func TestProbesGoOnWhenIdle(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.three()
		leader := w.leader()
		time.Sleep(2 * time.Second)
		_, from := leader.View()
		time.Sleep(20 * time.Second)
		_, to := leader.View()
		// A probe and nothing else: no Barrier follows it.
		if n := to - from; n < 35 || n > 41 {
			t.Errorf("%d entries in 20 s", n)
		}
	})
}

func TestBadBytesAreNotProposed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.three()
		leader := w.leader()
		inner := fsm.Encode(fsm.Batch{Commands: [][]byte{fsm.Encode(fsm.Probe{})}})
		for _, cmd := range [][]byte{
			nil,
			{0x7f},
			{fsm.TypeDown, 0xc1},
			fsm.Encode(fsm.Batch{Commands: [][]byte{{0x7f}}}),
			fsm.Encode(fsm.Batch{Commands: [][]byte{inner}}),
		} {
			if _, err := leader.ProposeBytes(t.Context(), cmd); !errors.Is(err, ErrBadCommand) {
				t.Errorf("%x: %v", cmd, err)
			}
		}
	})
}

func TestRestartKeepsState(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, spec := w.three()
		cluster := nodes["n1"].disk.cluster
		before := nodes["n1"].owners()
		for _, n := range nodes {
			if err := w.halt(n); err != nil {
				t.Fatal(err)
			}
		}
		for name, n := range nodes {
			nodes[name] = w.start(name, spec, n.disk)
			if nodes[name].Hello(Hello{}).Empty {
				t.Errorf("%s calls itself empty", name)
			}
		}
		w.until(10*time.Second, "all registered again", func() bool {
			for _, n := range nodes {
				s, _ := n.View()
				if m, ok := s.Member(n.cfg.Self); !ok || m.Nonce != n.live.nonce {
					return false
				}
			}
			return true
		})
		for name, n := range nodes {
			if s, _ := n.View(); n.owners() != before || s.Cluster() != cluster {
				t.Errorf("%s: owners %q, before %q, cluster %s", name, n.owners(), before, s.Cluster())
			}
		}
	})
}

func TestAnotherClustersLogEndsTheNode(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, spec := w.three()
		d := nodes["n2"].disk
		if err := w.halt(nodes["n2"]); err != nil {
			t.Fatal(err)
		}
		d.cluster = "other"
		n := w.start("n2", spec, d)
		<-n.ended
		if n.err == nil || !strings.Contains(n.err.Error(), "other") || !strings.Contains(n.err.Error(), nodes["n1"].disk.cluster) {
			t.Errorf("Run returned %v", n.err)
		}
	})
}

func TestTakeOver(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		old := w.leader()
		var next *testNode
		for _, n := range nodes {
			if n != old {
				next = n
			}
		}
		began := time.Now()
		next.live.set(func() { next.live.takesOver = true })
		w.until(time.Second, "it leads", func() bool { return w.leader() == next })
		next.live.set(func() { next.live.takesOver = false })
		if took := time.Since(began); took > 50*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

func TestRemovedServerSaysSo(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		leader := w.leader()
		var victim *testNode
		for _, n := range nodes {
			if n != leader {
				victim = n
			}
		}
		// Nobody can greet it: the leader would take it in again at once.
		w.mute(victim, true)
		if err := leader.raft.Load().RemoveServer(raft.ServerID(victim.self), 0, 0).Error(); err != nil {
			t.Fatal(err)
		}
		w.until(time.Second, "it says so", func() bool { return victim.Phase().Stage == StageRemoved })
		w.mute(victim, false)
		w.until(20*time.Second, "it is taken in again with its old log", func() bool {
			s, _ := leader.View()
			return s.Voters().Has(victim.self)
		})
	})
}
