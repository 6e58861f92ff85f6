package raftnode

import (
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

func TestFoundingInAnyOrder(t *testing.T) {
	orders := [][]fsm.MemberID{
		{"n1", "n2", "n3"}, {"n1", "n3", "n2"}, {"n2", "n1", "n3"}, {"n2", "n3", "n1"}, {"n3", "n1", "n2"}, {"n3", "n2", "n1"},
	}
	for _, order := range orders {
		bubble(t, func(t *testing.T, w *world) {
			spec := specOf("n1", "n2", "n3")
			disks := map[fsm.MemberID]*disk{}
			for i, name := range order {
				disks[name] = newDisk()
				w.start(name, spec, disks[name])
				if i < 2 {
					time.Sleep(3 * time.Second)
				}
			}
			w.until(10*time.Second, "three voters and all items assigned", func() bool {
				for _, n := range w.nodes {
					s, _ := n.View()
					if len(s.Voters().IDs) != 3 || !n.assigned() || n.Phase().Stage != StageRunning {
						return false
					}
				}
				return true
			})
			cluster := disks["n1"].cluster
			for name, d := range disks {
				if d.cluster == "" || d.cluster != cluster {
					t.Errorf("%v: %s noted cluster %q, n1 %q", order, name, d.cluster, cluster)
				}
			}
			if got := w.nodes["n1"].owners(); got != "n1 n2 n3 n1" {
				t.Errorf("%v: owners %q", order, got)
			}
		})
	}
}

func TestFoundingTakesLittleTime(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		began := time.Now()
		w.three()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("from the start to the last assignment %v", took)
		}
	})
}

func TestFounderAloneWaits(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		n := w.start("n1", specOf("n1", "n2", "n3"), newDisk())
		w.never(time.Minute, "a founding by one of three", func() bool {
			_, at := n.View()
			return at > 0
		})
		p := n.Phase()
		if p.Stage != StageFounding || !strings.Contains(p.Words, "2 of the 3") {
			t.Errorf("phase %+v", p)
		}
		if len(p.Peers) != 2 || p.Peers[0].Trouble != TroubleRefused {
			t.Errorf("peers %+v", p.Peers)
		}
	})
}

func TestNobodyElseFounds(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		spec := specOf("n1", "n2", "n3")
		n2 := w.start("n2", spec, newDisk())
		n3 := w.start("n3", spec, newDisk())
		w.never(time.Minute, "a founding without the first voter", func() bool {
			_, at2 := n2.View()
			_, at3 := n3.View()
			return at2+at3 > 0
		})
		if p := n2.Phase(); p.Stage != StageWaiting || !strings.Contains(p.Words, "n1") || !strings.Contains(p.Hint, "n1") {
			t.Errorf("phase %+v", p)
		}
	})
}

func TestOneMissingAtFounding(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		spec := specOf("n1", "n2", "n3")
		n1 := w.start("n1", spec, newDisk())
		w.start("n2", spec, newDisk())
		w.until(5*time.Second, "all assigned to the two that are there", func() bool { return n1.assigned() })
		if got := n1.owners(); strings.Contains(got, "n3") {
			t.Errorf("owners %q", got)
		}
		w.start("n3", spec, newDisk())
		w.until(10*time.Second, "n3 has its vote and its share", func() bool {
			s, _ := n1.View()
			return len(s.Voters().IDs) == 3 && n1.owners() == "n1 n2 n3 n1"
		})
	})
}

func TestFirstAssignmentWaits(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		spec := specOf("n1", "n2", "n3")
		n1 := w.start("n1", spec, newDisk())
		n2 := w.start("n2", spec, newDisk())
		n2.live.set(func() { n2.live.mute = true })
		var majority time.Time
		w.until(5*time.Second, "two voters", func() bool {
			s, _ := n1.View()
			majority = time.Now()
			return len(s.Voters().IDs) == 2
		})
		wait := 2 * fsm.Slack(spec.Timing.Lease)
		w.never(wait-20*time.Millisecond, "an early assignment", func() bool { return n1.owners() != "" && strings.TrimSpace(n1.owners()) != "" })
		w.until(time.Second, "the assignment afterwards", func() bool { return n1.assigned() })
		if took := time.Since(majority); took < wait {
			t.Errorf("assigned %v after the majority, want at least %v", took, wait)
		}
	})
}

func TestOtherListOfVoters(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		n1 := w.start("n1", specOf("n1", "n2", "n3"), newDisk())
		n2 := w.start("n2", specOf("n1", "n2", "n4"), newDisk())
		w.never(10*time.Second, "a founding with two lists", func() bool {
			_, at := n1.View()
			return at > 0
		})
		for _, f := range n1.Phase().Peers {
			if f.Name != "n2" {
				continue
			}
			if f.Trouble != TroubleVoters || !strings.Contains(f.Words, "n4 n4:1") || !strings.Contains(f.Words, "n3 n3:1") {
				t.Errorf("finding %+v", f)
			}
		}
		if h := n1.Phase().Hint; !strings.Contains(h, "n2") {
			t.Errorf("hint %q", h)
		}
		// n3 agrees with n1: those two are enough, and n2 stays outside.
		w.start("n3", specOf("n1", "n2", "n3"), newDisk())
		w.until(5*time.Second, "n1 and n3 found", func() bool {
			s, _ := n1.View()
			return len(s.Voters().IDs) == 2 && n1.assigned()
		})
		w.never(10*time.Second, "n2 taken in in spite of its list", func() bool {
			_, at := n2.View()
			return at > 0
		})
	})
}

func TestWipedVoterComesBackAsAnother(t *testing.T) {
	for _, name := range []fsm.MemberID{"n1", "n3"} {
		bubble(t, func(t *testing.T, w *world) {
			nodes, spec := w.three()
			before := nodes["n2"].owners()
			old := nodes[name].self
			if err := w.halt(nodes[name]); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			back := w.start(name, spec, newDisk())
			w.until(20*time.Second, "the new instance has its vote", func() bool {
				s, _ := nodes["n2"].View()
				return s.Voters().Has(back.self) && !s.Voters().Has(old) && len(s.Voters().IDs) == 3
			})
			w.until(5*time.Second, "the new instance knows all", func() bool { return back.owners() == before })
			if back.disk.cluster != nodes["n2"].disk.cluster {
				t.Errorf("it noted cluster %q", back.disk.cluster)
			}
		})
	}
}

func TestVotersChangeSpaced(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, spec := w.three()
		for _, n := range nodes {
			n.live.set(func() { n.live.unspaced = false })
		}
		if err := w.halt(nodes["n3"]); err != nil {
			t.Fatal(err)
		}
		back := w.start("n3", spec, newDisk())
		w.never(10*time.Second, "a change of voters although it is not time", func() bool {
			s, _ := nodes["n2"].View()
			return len(s.Voters().IDs) != 3 || s.Voters().Has(back.self)
		})
		for _, n := range nodes {
			n.live.set(func() { n.live.unspaced = true })
		}
		w.until(5*time.Second, "then it is taken in", func() bool {
			s, _ := nodes["n2"].View()
			return s.Voters().Has(back.self)
		})
	})
}

func TestNewcomerMustHearTheOthers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, spec := w.three()
		if err := w.halt(nodes["n3"]); err != nil {
			t.Fatal(err)
		}
		hears := make(chan struct{})
		back := w.start("n3", spec, newDisk(), func(c *Config, _ *Deps) {
			c.Hears = func() bool {
				select {
				case <-hears:
					return true
				default:
					return false
				}
			}
		})
		hasVote := func() bool {
			s, _ := nodes["n2"].View()
			return s.Voters().Has(back.self)
		}
		w.never(5*time.Second, "a vote for one that does not hear the others", hasVote)
		close(hears)
		w.until(5*time.Second, "its vote", hasVote)
	})
}

func TestStrangerOfAnotherClusterIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		nodes, spec := w.three()
		if err := w.halt(nodes["n3"]); err != nil {
			t.Fatal(err)
		}
		d := newDisk()
		d.cluster = "another"
		stranger := w.start("n3", spec, d)
		w.never(10*time.Second, "a stranger taken in", func() bool {
			s, _ := nodes["n2"].View()
			return s.Voters().Has(stranger.self)
		})
		for _, f := range stranger.Phase().Peers {
			if f.Trouble != TroubleCluster || !strings.Contains(f.Words, "another") || !strings.Contains(f.Words, nodes["n2"].disk.cluster) {
				t.Errorf("finding %+v", f)
			}
		}
	})
}

func TestMayFound(t *testing.T) {
	seed := specOf("n1", "n2", "n3")
	mine := Hello{Name: "n1", Empty: true, Voters: digest(seed)}
	answers := func(kv ...any) map[fsm.MemberID]Finding {
		out := map[fsm.MemberID]Finding{}
		for i := 0; i < len(kv); i += 2 {
			name, h := fsm.MemberID(kv[i].(string)), kv[i+1].(Hello)
			h.Name = name
			s := seed.Servers[name]
			out[name] = judge(mine, h, s)
		}
		return out
	}
	ok := Hello{Empty: true, Voters: digest(seed)}
	full := Hello{Empty: false, Voters: digest(seed)}
	named := Hello{Empty: true, Voters: digest(seed), Cluster: "c"}
	other := Hello{Empty: true, Voters: [32]byte{1}}
	tests := []struct {
		name string
		mine Hello
		met  map[fsm.MemberID]Finding
		want bool
	}{
		{"alone", mine, nil, false},
		{"a majority", mine, answers("n2", ok), true},
		{"all", mine, answers("n2", ok, "n3", ok), true},
		{"another list", mine, answers("n2", other), false},
		{"another list beside a majority", mine, answers("n2", other, "n3", ok), true},
		{"a full one", mine, answers("n2", ok, "n3", full), false},
		{"one of a cluster", mine, answers("n2", ok, "n3", named), false},
		{"a full one with another list", mine, answers("n2", ok, "n3", Hello{Voters: [32]byte{1}}), false},
		{"not the first", Hello{Name: "n2", Empty: true, Voters: digest(seed)}, answers("n3", ok, "n1", ok), false},
		{"not empty", Hello{Name: "n1", Voters: digest(seed)}, answers("n2", ok), false},
		{"of a cluster", Hello{Name: "n1", Empty: true, Cluster: "c", Voters: digest(seed)}, answers("n2", ok), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := mayFound(tt.mine, seed, tt.met); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
