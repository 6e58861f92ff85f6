package raftnode

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
)

func TestNextChange(t *testing.T) {
	h := working(t, nil) // voters n1/i n2/i n3/i, all assigned
	cluster := h.state.Cluster()
	server := func(id raft.ServerID, s raft.ServerSuffrage) raft.Server {
		return raft.Server{ID: id, Address: Address(string(fsm.VoterID(id).Member())+":1", fsm.VoterID(id)), Suffrage: s}
	}
	lead := server("n1/i", raft.Voter)
	n2 := server("n2/i", raft.Voter)
	learner := server("n3/new", raft.Nonvoter)
	dead := server("n3/i", raft.Voter)
	ready := Hello{Name: "n3", Instance: "new", Cluster: cluster, Applied: h.at, Running: time.Minute, Hears: true}
	with := func(change func(*Hello)) Hello {
		r := ready
		change(&r)
		return r
	}
	fresh := Hello{Name: "n3", Instance: "new", Empty: true}
	tests := []struct {
		name   string
		conf   []raft.Server
		hello  Hello
		spaced bool // not yet time for a change
		want   changeKind
		id     raft.ServerID
		pace   bool
	}{
		{"unknown and empty", []raft.Server{lead, n2}, fresh, false, addLearner, "n3/new", false},
		{"unknown and empty: no vote, no spacing", []raft.Server{lead, n2}, fresh, true, addLearner, "n3/new", false},
		{"unknown, of this cluster", []raft.Server{lead, n2}, ready, false, addLearner, "n3/new", false},
		{"unknown, what a lost leader sent", []raft.Server{lead, n2}, Hello{Name: "n3", Instance: "new"}, false, addLearner, "n3/new", false},
		{"unknown, has a log of nobody's", []raft.Server{lead, n2}, Hello{Name: "n3", Instance: "new", Applied: 1}, false, 0, "", false},
		{"wiped", []raft.Server{lead, n2, dead}, fresh, false, removeOld, "n3/i", false},
		{"wiped, too early", []raft.Server{lead, n2, dead}, fresh, true, 0, "", false},
		{"wiped while it had no vote", []raft.Server{lead, n2, server("n3/i", raft.Nonvoter)}, fresh, true, removeOld, "n3/i", false},
		{"another instance, not empty", []raft.Server{lead, n2, dead}, ready, false, 0, "", false},
		{"ready", []raft.Server{lead, n2, learner}, ready, false, giveVote, "n3/new", false},
		{"ready, too early", []raft.Server{lead, n2, learner}, ready, true, 0, "", true},
		{"far behind", []raft.Server{lead, n2, learner}, with(func(h *Hello) { h.Applied = 0; h.Cluster = "" }), false, 0, "", true},
		{"has just started", []raft.Server{lead, n2, learner}, with(func(h *Hello) { h.Running = slack - 1 }), false, 0, "", true},
		{"does not hear all", []raft.Server{lead, n2, learner}, with(func(h *Hello) { h.Hears = false }), false, 0, "", true},
		{"a voter already", []raft.Server{lead, n2, server("n3/new", raft.Voter)}, ready, false, 0, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mine := Hello{Name: "n1", Instance: "i", Cluster: cluster}
			c, ok := nextChange(newcomers{
				state: h.state, index: h.at, conf: raft.Configuration{Servers: tt.conf}, self: "n1/i", mayChange: !tt.spaced,
				met: map[fsm.MemberID]Finding{"n3": judge(mine, tt.hello, h.state.Spec().Servers["n3"])},
			})
			if ok != (tt.want != 0) || c.kind != tt.want || c.id != tt.id || c.catchingUp != tt.pace {
				t.Errorf("%v, %+v", ok, c)
			}
		})
	}
}

// Votes come before learners: who has caught up must not wait for who has not.
func TestNextChangeOrder(t *testing.T) {
	h := founded(t, specOf("n1", "n2", "n3"), "n1")
	mine := Hello{Name: "n1", Cluster: "c"}
	w := newcomers{
		state: h.state, index: h.at, self: "n1/i",
		conf: raft.Configuration{Servers: []raft.Server{{ID: "n1/i"}, {ID: "n3/i", Suffrage: raft.Nonvoter}}},
		met: map[fsm.MemberID]Finding{
			"n2": judge(mine, Hello{Name: "n2", Instance: "i", Empty: true}, h.state.Spec().Servers["n2"]),
			"n3": judge(mine, Hello{Name: "n3", Instance: "i", Cluster: "c", Applied: h.at}, h.state.Spec().Servers["n3"]),
		},
	}
	if c, ok := nextChange(w); !ok || c.kind != giveVote || c.id != "n3/i" || c.addr != "n3:1/n3/i" {
		t.Errorf("%v %+v", ok, c)
	}
	w.met["n3"] = judge(mine, Hello{Name: "n3", Instance: "i"}, h.state.Spec().Servers["n3"])
	if c, ok := nextChange(w); !ok || c.kind != addLearner || c.id != "n2/i" {
		t.Errorf("%v %+v", ok, c)
	}
}

func TestMissing(t *testing.T) {
	spec := specOf("n1", "n2", "n3", "n4")
	conf := raft.Configuration{Servers: []raft.Server{
		{ID: "n1/a"},
		{ID: "n2/a"},
		{ID: "n3/a", Suffrage: raft.Nonvoter},
	}}
	got := func(said map[fsm.MemberID]string) (names string) {
		for _, s := range missing(spec, conf, "n1/a", said) {
			names += string(s.Name) + " "
		}
		return names
	}
	if g := got(nil); g != "n3 n4 " {
		t.Error(g)
	}
	if g := got(map[fsm.MemberID]string{"n2": "a"}); g != "n3 n4 " {
		t.Error(g)
	}
	if g := got(map[fsm.MemberID]string{"n2": "b"}); g != "n2 n3 n4 " {
		t.Error(g)
	}
}
