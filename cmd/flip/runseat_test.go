package main

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/flip-ha/flip/fsm"
)

// told is a place where what is agreed can be read, and set.
type told struct {
	mu    sync.Mutex
	state *fsm.State
	at    fsm.Index
	news  chan struct{}
	name  fsm.MemberID
}

func newTold(name fsm.MemberID, at fsm.Index) *told {
	return &told{state: fsm.New(), at: at, news: make(chan struct{}), name: name}
}

func (f *told) View() (*fsm.State, fsm.Index) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state, f.at
}

func (f *told) Changed(after fsm.Index) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at > after {
		c := make(chan struct{})
		close(c)
		return c
	}
	return f.news
}

func (f *told) Leader() (fsm.MemberID, string) { return f.name, "" }

func (f *told) Propose(context.Context, fsm.Command) (fsm.Result, error) {
	return fsm.Result{Why: string(f.name)}, nil
}

func (f *told) set(at fsm.Index) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = at
	close(f.news)
	f.news = make(chan struct{})
}

// fires reports whether a channel is closed once all else is still.
func fires(c <-chan struct{}) bool {
	synctest.Wait()
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestASeatTellsOfEachChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, b := newSeat("n1"), newTold("a", 3), newTold("b", 5)
		if state, at := s.View(); state == nil || at != 0 || s.Age() >= 0 {
			t.Error("before anybody sits there")
		}
		s.turn(a)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		if !fires(s.Changed(2)) {
			t.Error("3 is above 2")
		}
		waits := s.Changed(3)
		if fires(waits) {
			t.Error("3 is not above 3")
		}
		a.set(4)
		if !fires(waits) {
			t.Error("4 is above 3")
		}
		waits = s.Changed(4)
		s.turn(b)
		if _, at := s.View(); !fires(waits) || at != 5 {
			t.Errorf("who waits is not told of a new seat, at %d", at)
		}
		waits = s.Changed(5)
		a.set(9)
		if _, at := s.View(); fires(waits) || at != 5 {
			t.Error("who does not count is listened to")
		}
		b.set(6)
		if name, _ := s.Leader(); !fires(waits) || name != "b" {
			t.Error("who counts is not")
		}
		if res, _ := s.Propose(ctx, fsm.Probe{}); res.Why != "b" {
			t.Errorf("%+v", res)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAStageShowsNothingOlder(t *testing.T) {
	var shown []string
	s := &stage{self: "n1", to: func(_ *fsm.State, at fsm.Index, _ bool, leader fsm.VoterID) { shown = append(shown, string(leader)) }}
	raft, agent := &reader{stage: s}, &reader{stage: s}
	read := func(r *reader, at fsm.Index, words fsm.VoterID) { r.Read(nil, at, false, words) }
	s.turn(agent)
	read(agent, 5, "agent at 5")
	read(raft, 3, "raft at 3")
	s.turn(raft)
	read(raft, 4, "raft at 4")
	read(agent, 6, "agent at 6")
	read(raft, 5, "raft at 5")
	read(raft, 5, "raft at 5 again")
	s.turn(agent)
	raft.forget()
	s.turn(raft)
	read(raft, 6, "raft at 6")
	if want := []string{"agent at 5", "raft at 5", "raft at 5 again", "agent at 6", "raft at 6"}; !slices.Equal(shown, want) {
		t.Errorf("shown %q", shown)
	}
	if _, due := agent.Register(); due {
		t.Error("one who is not on the stage registers")
	}
	if _, due := agent.Settled(); due {
		t.Error("or settles")
	}
}

func TestDoorsOpenAgain(t *testing.T) {
	port := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	d := newDoors(port)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	refused := func() {
		t.Helper()
		here, there := net.Pipe()
		port.conns <- there
		if _, err := here.Read(make([]byte, 1)); err == nil {
			t.Error("nobody is there, and somebody answers")
		}
	}
	refused()
	for range 2 {
		door := d.next()
		_, there := net.Pipe()
		port.conns <- there
		if c, err := door.Accept(); err != nil || c != there {
			t.Errorf("%v, %v", c, err)
		}
		if err := door.Close(); err != nil {
			t.Error(err)
		}
		if _, err := door.Accept(); err == nil {
			t.Error("it is closed")
		}
		refused()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// pipes is a listener of made connections.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func TestAddrsOfVoters(t *testing.T) {
	spec := &fsm.Spec{Servers: map[fsm.MemberID]fsm.Server{
		"n1": {Addr: "1", Role: fsm.RoleVoter}, "n2": {Addr: "2", Role: fsm.RoleVoter}, "n3": {Addr: "3", Role: fsm.RoleArbiter},
		"a1": {Addr: "4", Role: fsm.RoleAgent},
	}}
	voting := fsm.New().WithVoters(fsm.Voters{Index: 1, IDs: []fsm.VoterID{"n2/x", "n3/y", "gone/z"}})
	for name, tt := range map[string]struct {
		state      *fsm.State
		but, first fsm.MemberID
		want       []string
	}{
		"before founding":       {fsm.New(), "a1", "", []string{"1", "2", "3"}},
		"those on the list":     {voting, "a1", "", []string{"2", "3"}},
		"whom it reads from":    {voting, "a1", "n3", []string{"3", "2"}},
		"not itself":            {voting, "n2", "", []string{"3"}},
		"whom nobody knows":     {voting, "a1", "n9", []string{"2", "3"}},
		"nobody reads from n1":  {voting, "n1", "n1", []string{"2", "3"}},
		"a voter before voting": {fsm.New(), "n1", "", []string{"2", "3"}},
	} {
		if got := addrsOf(tt.state, spec, tt.but, tt.first); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
