package server

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// fakePrograms is a daemon that knows every claim but "taken", which another program has, and "b".
type fakePrograms struct{}

func (fakePrograms) Claim(_ net.Conn, c api.ProgramClaim) (ProgramStream, error) {
	if c.Session == "taken" {
		return nil, &api.Error{Code: api.CodeClaimed, Message: "process 7 has claimed " + string(c.System)}
	}
	return &fakeProgram{events: []api.ProgramEvent{
		{Kind: api.ProgramSession, Session: c.Session, Member: "n1"},
		{Kind: api.ProgramAcquire, Seq: 1, Item: "x", Rank: 1, From: "n2", To: "n1", Token: 7, AtMostOne: true, Cause: "down", Reason: "n2 is down"},
	}}, nil
}

func (fakePrograms) Ack(_ net.Conn, a api.ProgramAck) (api.ProgramAcked, error) {
	if a.Session == "b" {
		return api.ProgramAcked{}, &api.Error{Code: api.CodeNotFound, Message: "no such claim"}
	}
	return api.ProgramAcked{LeaseMS: 200, AgainMS: 50}, nil
}

type fakeProgram struct{ events []api.ProgramEvent }

func (p *fakeProgram) Next(ctx context.Context) ([]api.ProgramEvent, error) {
	if events := p.events; len(events) > 0 {
		p.events = nil
		return events, nil
	}
	select {
	case <-time.After(time.Second):
		return []api.ProgramEvent{{Kind: api.ProgramLease, LeaseMS: 100}}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (*fakeProgram) Close() {}

// What a program has is explained as such.
func TestRowsOfPrograms(t *testing.T) {
	w := &writable{world: newWorld(t)}
	s := spec()
	one := s.Systems["one"]
	one.Action, one.Alive, one.Down = fsm.ActionClient, "", ""
	s.Systems["one"] = one
	w.do(fsm.SetSpec{Was: w.s.Spec().Version, Spec: s})
	w.register("n1", "n2", "n3")
	is := func(what, state, why, do string) {
		t.Helper()
		if r := w.row("one", "x"); r.State != state || !strings.Contains(r.Why, why) || !strings.Contains(r.Do, do) {
			t.Errorf("%s: %s: %q, %q", what, r.State, r.Why, r.Do)
		}
	}
	claims := func(m fsm.MemberID, systems ...fsm.SystemID) {
		t.Helper()
		now, _ := w.s.Member(m)
		w.do(fsm.Report{Member: m, Epoch: now.Epoch, Programs: &fsm.Programs{Systems: systems}})
	}
	claims("n1", "one")
	claims("n2", "one")
	for _, sys := range w.status().Systems {
		if sys.Name == "one" && !slices.Equal(sys.Claimed, []fsm.MemberID{"n1", "n2"}) || sys.Name != "one" && sys.Claimed != nil {
			t.Errorf("%s is claimed by %v", sys.Name, sys.Claimed)
		}
	}
	w.move("one", "x", "n1")
	is("told", api.RowStarting, "has not reported it yet", "")
	claims("n1")
	is("nobody there", api.RowStarting, "no program on n1 has claimed one", "start the program of one on n1")
	claims("n1", "one")
	w.fail("n1", "one", "x", "the program (process 7) has not taken it")
	is("not taken", api.RowStarting, "the program on n1 has not taken it", "log of that program")
	w.acquired("one", "x")
	w.move("one", "x", "n2")
	is("letting go", api.RowWaiting, "the program on n1 is letting go of it", "or end it")
	w.down("n1")
	is("its daemon is down", api.RowWaiting, "a program there may still have it", "start flip on n1 again")
}
