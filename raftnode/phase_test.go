package raftnode

import (
	"testing"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
)

// What a log says by itself of a server's being taken out.
func TestRemovedIn(t *testing.T) {
	h := working(t, nil)
	conf := func(ids ...raft.ServerID) (out []raft.Server) {
		for _, id := range ids {
			out = append(out, raft.Server{ID: id})
		}
		return out
	}
	for _, tc := range []struct {
		name string
		self fsm.VoterID
		conf []raft.Server
		want bool
		at   bool
	}{
		{"nothing yet", "n1/i", nil, false, false},
		{"on the list", "n1/i", conf("n1/i", "n2/i"), false, false},
		{"not on the newest list, but on the committed one", "n1/i", conf("n2/i"), true, false},
		{"on none", "n4/i", conf("n2/i"), true, true},
	} {
		got, at := removedIn(h.state, tc.self, tc.conf)
		if got != tc.want || (at != 0) != tc.at {
			t.Errorf("%s: %v %d", tc.name, got, at)
		}
	}
}

func TestVerdict(t *testing.T) {
	without := word{asked: true, says: 9}
	tests := []struct {
		name string
		k    known
		out  bool
		at   fsm.Index
	}{
		{"nothing", known{member: true}, false, 0},
		{"its log says so, nobody answers", known{member: true, out: true, at: 7}, true, 0},
		{"both say so", known{member: true, out: true, at: 7, word: without}, true, 7},
		{"its log does not know yet that it is committed", known{member: true, out: true, word: without}, true, 9},
		{"its log knows nothing of it", known{member: true, word: without}, true, 9},
		{"added again since", known{member: true, out: true, at: 7, word: word{asked: true, named: true, says: 9}}, false, 0},
		{"no log yet", known{word: without}, false, 0},
		{"who answers is behind its joining", known{member: true, word: without, since: 12}, false, 0},
	}
	for _, tt := range tests {
		if out, at := tt.k.verdict(); out != tt.out || at != tt.at {
			t.Errorf("%s: %v %d", tt.name, out, at)
		}
	}
}

func TestIsAgent(t *testing.T) {
	heard := func(agent bool, says fsm.Index) word { return word{asked: true, named: true, agent: agent, says: says} }
	for _, tc := range []struct {
		name  string
		own   bool
		since fsm.Index
		w     word
		want  bool
	}{
		{"nobody says anything", false, 0, word{}, false},
		{"its own log", true, 0, word{}, true},
		{"another one", false, 0, heard(true, 9), true},
		{"a voter again", true, 0, heard(false, 9), false},
		{"removed meanwhile", true, 0, word{asked: true, says: 9}, false},
		{"promoted, and the other one has not read it yet", false, 12, heard(true, 9), false},
	} {
		if got := isAgent(tc.own, tc.since, tc.w); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

// An old log may be of a time when the server was an agent: the configuration that it was
// started with is newer.
func TestOldLogOfAnAgent(t *testing.T) {
	h := working(t, nil)
	h.role(fsm.RoleAgent, "n3")
	h.voters("n1", "n2")
	for _, tc := range []struct {
		since fsm.Index
		want  bool
	}{{0, true}, {h.state.Spec().Version, true}, {h.state.Spec().Version + 1, false}} {
		n := &Node{cfg: Config{Self: "n3", Seed: fsm.Spec{Version: tc.since}}}
		var p Phase
		if got := n.agentPhase(&p, view{state: h.state, index: h.at}, word{}); got != tc.want || got != (p.Stage == StageAgent) {
			t.Errorf("started with %d: %v, %+v", tc.since, got, p)
		}
	}
}

func TestNewestWord(t *testing.T) {
	mine := Hello{Name: "n3", Cluster: "c", Applied: 10}
	with := func(cluster string, applied fsm.Index, names ...string) Finding {
		return Finding{Hello: &Hello{Cluster: cluster, Applied: applied, VoterList: names}}
	}
	agent := func(f Finding, vote bool) Finding {
		f.Hello.Yours = Standing{Agent: true, Vote: vote}
		return f
	}
	tests := []struct {
		name  string
		peers []Finding
		want  word
	}{
		{"nobody", nil, word{}},
		{"nobody answers", []Finding{{}}, word{}},
		{"one knows less", []Finding{with("c", 9, "n1 x")}, word{}},
		{"one names it", []Finding{with("c", 10, "n1 x", "n3 y")}, word{asked: true, named: true, says: 10}},
		{"one does not", []Finding{with("c", 12, "n1 x", "n33 y")}, word{asked: true, says: 12}},
		{"another cluster", []Finding{with("d", 12, "n1 x")}, word{}},
		{"the newest counts", []Finding{with("c", 12, "n1 x"), with("c", 14, "n3 x"), with("c", 13, "n1 x")}, word{asked: true, named: true, says: 14}},
		{"an agent", []Finding{agent(with("c", 12, "n1 x"), false)}, word{asked: true, named: true, agent: true, says: 12}},
		{"an agent that votes still", []Finding{agent(with("c", 12, "n1 x"), true)}, word{asked: true, named: true, says: 12}},
		{"a voter again", []Finding{agent(with("c", 12, "n1 x"), false), with("c", 14, "n3 x")}, word{asked: true, named: true, says: 14}},
		{"an agent no more", []Finding{agent(with("c", 12, "n1 x"), false), with("c", 14, "n1 x")}, word{asked: true, says: 14}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := newest(mine, tt.peers); got != tt.want {
				t.Errorf("%+v", got)
			}
		})
	}
}
