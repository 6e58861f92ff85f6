package raftnode

import (
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/flip-ha/flip/fsm"
)

// staff is a cluster whose servers come, go and change their roles, with Raft's
// configuration as nextChange makes it.
type staff struct {
	*history
	rt     *rapid.T
	a      *Agenda
	now    time.Duration
	conf   raft.Configuration
	self   fsm.VoterID
	silent map[fsm.MemberID]bool // who is up in the log, and does not answer
	may    bool
}

var staffed = []fsm.MemberID{"n1", "n2", "n3", "n4", "n5"}

func newStaff(t *rapid.T) *staff {
	spec := specOf(staffed...)
	spec.Quorum = 1
	agents := rapid.IntRange(0, 3).Draw(t, "agents")
	spec = inRole(fsm.RoleAgent, staffed[5-agents:]...)(spec)
	s := &staff{rt: t, a: &Agenda{}, now: time.Second, self: "n1/i", silent: map[fsm.MemberID]bool{}, may: true}
	s.history = founded(t, spec, staffed[:5-agents]...)
	for _, n := range staffed {
		s.register(n, "b")
	}
	for _, n := range staffed[:5-agents] {
		s.conf.Servers = append(s.conf.Servers, raft.Server{ID: raft.ServerID(fsm.NewVoterID(n, "i")), Address: "x"})
	}
	s.settle(s.a, s.now)
	return s
}

// step makes one change of Raft's configuration, if there is one to be made.
func (s *staff) step() bool {
	w := newcomers{
		state: s.state, index: s.at, conf: s.conf.Clone(), self: s.self, mayChange: s.may,
		met: map[fsm.MemberID]Finding{},
	}
	for id, m := range s.state.Members() {
		if m.Up && !s.silent[id] {
			w.met[id] = Finding{Name: id, Hello: &Hello{Name: id, Instance: "i", Cluster: "c", Applied: s.at, Hears: true, Running: time.Hour}}
		}
	}
	c, ok := nextChange(w)
	if !ok {
		return false
	}
	s.check(w, c)
	at := slices.IndexFunc(s.conf.Servers, func(o raft.Server) bool { return o.ID == c.id })
	switch c.kind {
	case removeOld:
	case addLearner:
		s.conf.Servers = append(s.conf.Servers, raft.Server{ID: c.id, Address: c.addr, Suffrage: raft.Nonvoter})
	case giveVote:
		s.conf.Servers[at].Suffrage = raft.Voter
	case letGo:
		s.conf.Servers = slices.Delete(s.conf.Servers, at, at+1)
	case handOver:
		s.self = fsm.VoterID(c.id)
	}
	var voters []fsm.MemberID
	for _, id := range votersOf(s.conf) {
		voters = append(voters, id.Member())
	}
	if c.kind != addLearner && c.kind != handOver {
		s.voters(voters...)
	}
	return true
}

// check is what no change may do, whatever led to it.
func (s *staff) check(w newcomers, c confChange) {
	name := fsm.VoterID(c.id).Member()
	server, in := s.state.Spec().Servers[name]
	wanted := in && server.Votes() && !server.Removing
	have := serverOf(s.conf, name)
	vote := have != nil && have.Suffrage == raft.Voter
	switch c.kind {
	case removeOld:
		s.rt.Fatalf("nobody came back as another: %+v", c)
	case addLearner, giveVote, handOver:
		if !wanted {
			s.rt.Fatalf("%s is no voter that stays: %+v", name, c)
		}
	case letGo:
		switch {
		case wanted:
			s.rt.Fatalf("%s stays, with a vote: %+v", name, c)
		case in && server.Role != fsm.RoleAgent && !s.state.Drained(name):
			s.rt.Fatalf("%s has something still: %+v", name, c)
		case fsm.VoterID(c.id) == s.self:
			s.rt.Fatalf("the leader lets go of itself: %+v", c)
		}
	}
	spaced := c.kind == giveVote || c.kind == letGo && vote
	if spaced && !s.may {
		s.rt.Fatalf("too early: %+v", c)
	}
	if c.kind == letGo && vote {
		left, there := 0, 0
		for _, id := range votersOf(s.conf) {
			if id.Member() == name {
				continue
			}
			left++
			if _, ok := w.met[id.Member()]; ok {
				there++
			}
		}
		if there <= left/2 {
			s.rt.Fatalf("only %d of %d would answer: %+v", there, left, c)
		}
	}
}

// event is one thing that happens to the servers.
func (s *staff) event() {
	t, spec := s.rt, s.state.Spec()
	name := rapid.SampledFrom(staffed).Draw(t, "server")
	server, listed := spec.Servers[name]
	m, _ := s.state.Member(name)
	lead := s.self.Member()
	switch rapid.IntRange(0, 8).Draw(t, "event") {
	case 0:
		if listed && !m.Up {
			s.register(name, "b")
		}
	case 1:
		if name != lead {
			s.settle(s.a, s.now, name)
		}
	case 2:
		if name != lead {
			s.silent[name] = !s.silent[name]
		}
	case 3:
		s.may = !s.may
	case 4:
		s.apply(fsm.SetSpec{Was: spec.Version, Spec: spec.WithRole(name, fsm.RoleAgent)}) // the last one is refused
	case 5:
		s.apply(fsm.SetSpec{Was: spec.Version, Spec: spec.WithRole(name, fsm.RoleVoter)})
	case 6:
		s.apply(fsm.SetSpec{Was: spec.Version, Spec: spec.WithRemoving(name, !server.Removing)})
	case 7:
		s.release(name)
	case 8:
		s.settle(s.a, s.now)
	}
	s.now += 100 * time.Millisecond
}

// Whatever becomes of the servers, no change takes or gives a vote that it must not;
// and once all is well again exactly those have one that are to have one, and what is
// to be a member, with a vote or without, is one.
func TestRolesComeToRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newStaff(t)
		for range rapid.IntRange(1, 25).Draw(t, "events") {
			s.event()
			for range rapid.IntRange(0, 2).Draw(t, "changes") {
				s.step()
			}
		}
		s.may, s.silent = true, map[fsm.MemberID]bool{}
		want := s.state.Spec().Staying()
		members := 0
		for _, server := range s.state.Spec().Servers {
			if !server.Removing {
				members++
			}
		}
		for range 100 {
			for id := range s.state.Spec().Servers {
				if m, _ := s.state.Member(id); !m.Up {
					s.register(id, "b")
				}
				s.release(id)
			}
			s.now += time.Hour
			cmds, _ := s.settle(s.a, s.now)
			if !s.step() && len(cmds) == 0 {
				break
			}
		}
		var got []fsm.MemberID
		for _, o := range s.conf.Servers {
			if o.Suffrage != raft.Voter {
				t.Fatalf("%s is left without a vote: %+v", o.ID, s.conf)
			}
			got = append(got, fsm.VoterID(o.ID).Member())
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("%v have a vote, want %v", got, want)
		}
		if n := len(s.state.Spec().Servers); n != members {
			t.Fatalf("%d members, want %d", n, members)
		}
		for id := range s.state.Spec().Servers {
			if waits := s.state.Waits(id); len(waits) > 0 {
				t.Fatalf("%s waits: %v", id, waits)
			}
		}
	})
}
