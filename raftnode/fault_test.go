package raftnode

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

func TestHungDiskEndsTheLeader(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		spec := specOf("n1", "n2", "n3")
		stores := map[fsm.MemberID]*faultyStore{}
		nodes := map[fsm.MemberID]*testNode{}
		for name := range spec.Servers {
			d := newDisk()
			stores[name] = &faultyStore{InmemStore: d.store}
			d.logs, d.stable = stores[name], stores[name]
			nodes[name] = w.start(name, spec, d)
		}
		w.until(10*time.Second, "a working cluster", func() bool { return w.leader() != nil && w.leader().assigned() && w.leader().voters() == 3 })
		leader := w.leader()
		name := leader.cfg.Self
		hang := make(chan struct{})
		stores[name].mu.Lock()
		stores[name].hang = hang
		stores[name].mu.Unlock()
		began := time.Now()
		<-leader.ended
		if !errors.Is(leader.err, ErrStalled) {
			t.Errorf("Run returned %v", leader.err)
		}
		if took := time.Since(began); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
		w.until(3*time.Second, "another one leads", func() bool {
			l := w.leader()
			return l != nil && l.cfg.Self != name
		})
		close(hang)
	})
}

func TestFullDiskEndsTheNode(t *testing.T) {
	for _, who := range []string{"leader", "follower"} {
		bubble(t, func(t *testing.T, w *world) {
			spec := specOf("n1", "n2", "n3")
			stores := map[fsm.MemberID]*faultyStore{}
			for name := range spec.Servers {
				d := newDisk()
				stores[name] = &faultyStore{InmemStore: d.store}
				d.logs, d.stable = stores[name], stores[name]
				w.start(name, spec, d)
			}
			w.until(10*time.Second, "a working cluster", func() bool { return w.leader() != nil && w.leader().assigned() && w.leader().voters() == 3 })
			victim := w.leader()
			for _, n := range w.nodes {
				if who == "follower" && n != w.leader() {
					victim = n
				}
			}
			s := stores[victim.cfg.Self]
			s.mu.Lock()
			s.full = true
			s.mu.Unlock()
			<-victim.ended
			if !errors.Is(victim.err, errDiskFull) {
				t.Errorf("%s: Run returned %v", who, victim.err)
			}
			w.until(3*time.Second, "the others go on", func() bool {
				l := w.leader()
				return l != nil && l != victim
			})
		})
	}
}

func TestFullDiskAtTheStart(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		d := newDisk()
		s := &faultyStore{InmemStore: d.store, full: true}
		d.logs, d.stable = s, s
		n := w.start("n1", specOf("n1", "n2", "n3"), d)
		<-n.ended
		if !errors.Is(n.err, errDiskFull) || !strings.Contains(n.err.Error(), "/data/n1") {
			t.Errorf("Run returned %v", n.err)
		}
	})
}

func TestUnknownCommandStopsTheNode(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, _ := w.three()
		leader := w.leader()
		_, before := leader.View()
		r := leader.raft.Load()
		go r.Apply([]byte{0x7f, 0x80}, time.Second)
		// The last one may never learn that the entry is committed: it lost its
		// majority.
		ended := func() (out []*testNode) {
			for _, n := range nodes {
				select {
				case <-n.ended:
					out = append(out, n)
				default:
				}
			}
			return out
		}
		w.until(10*time.Second, "two of three have ended", func() bool { return len(ended()) >= 2 })
		for _, n := range nodes {
			if _, at := n.View(); at > before+1 {
				t.Errorf("applied went to %d, the unknown entry is about %d", at, before+1)
			}
		}
		for _, n := range ended() {
			if !errors.Is(n.err, fsm.ErrUnknownCommand) || !strings.Contains(n.err.Error(), "newer flip") {
				t.Errorf("Run returned %v", n.err)
			}
		}
	})
}
