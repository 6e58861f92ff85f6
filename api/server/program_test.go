package server

import (
	"context"
	"net"
	"time"

	"github.com/flip-ha/flip/api"
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
