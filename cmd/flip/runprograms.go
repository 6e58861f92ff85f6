package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/flip-ha/flip/actions/programs"
	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/api/server"
	"github.com/flip-ha/flip/fsm"
)

// programsSuffix is of the list of programs that may have something, beside that of
// what the node may hold.
const programsSuffix = ".programs"

func programsPath(list string) string { return strings.TrimSuffix(list, listSuffix) + programsSuffix }

// openPrograms makes ready what speaks with programs, and finds those again that a
// former process of this node has told of something.
func (d *daemon) openPrograms() error {
	register, former, err := programs.OpenRegister(programsPath(d.listPath()), d.host.Boot, d.self.Name)
	if err != nil {
		return hinted{err, "what such a program has it keeps: end it, then remove the list"}
	}
	d.programs = programs.New(programs.Config{
		Self: d.self.Name, Register: register, Lease: d.beat.Lease,
		Slot: func(k fsm.Key) (fsm.Slot, bool) {
			state, _ := d.node.View()
			return state.Slot(k)
		},
		Changed: d.programsChanged, Freed: func(keys []fsm.Key) { d.exec.Retry(keys) }, Log: d.log,
	})
	d.programs.Inherit(former, d.left.held, d.left.gone)
	return nil
}

// programsChanged has the executor ask again, and the log told.
func (d *daemon) programsChanged() {
	d.recheck()
	select {
	case d.claims <- struct{}{}:
	default:
	}
}

// absent is why what would hold a job is not there.
func (d *daemon) absent(job *fsm.Job) string { return d.programs.Absent(job) }

// reportPrograms keeps the log informed of the systems that programs on this node
// have claimed: it repeats what the log does not show, in each epoch anew.
func (d *daemon) reportPrograms(ctx context.Context) error {
	var again <-chan time.Time
	for {
		state, at := d.node.View()
		epoch, claimed := d.beat.Epoch(), d.programs.Systems()
		claimed = slices.DeleteFunc(claimed, func(id fsm.SystemID) bool { return state.Spec().Systems[id].Action != fsm.ActionClient })
		me, _ := state.Member(d.self.Name)
		if again == nil && epoch != 0 && me.Epoch == epoch && me.Up && !slices.Equal(me.Programs, claimed) {
			if err := d.report(ctx, fsm.Report{Member: d.self.Name, Epoch: epoch, Programs: &fsm.Programs{Systems: claimed}}); err != nil && ctx.Err() == nil {
				d.log.Debug().Err(err).Msg("the claims of programs are not reported yet")
			}
			again = time.After(max(d.spec().Timing.Heartbeat, leastReport))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.node.Changed(at):
		case <-d.claims:
			again = nil
		case <-again:
			again = nil
		case <-d.news.programs:
		}
	}
}

// leastReport is the least time between two reports of the same.
const leastReport = 100 * time.Millisecond

// programServer answers the programs of this machine.
type programServer struct {
	self   fsm.MemberID
	driver *programs.Driver
	spec   func() *fsm.Spec
	lease  func() (time.Duration, bool)
}

var _ server.Programs = programServer{}

// Claim implements server.Programs.
func (s programServer) Claim(conn net.Conn, c api.ProgramClaim) (server.ProgramStream, error) {
	unclaimable := s.claimable(c.System)
	proc, err := programs.Peer(conn)
	if err != nil {
		return nil, forbidden(err)
	}
	claim := programs.Claim{System: c.System, Session: c.Session, Name: c.Name, Read: c.Seq, Items: claimedItems(c.Items)}
	claim.Again = unclaimable != nil // it is still to be told what to let go of
	stream, err := s.driver.Claim(proc, claim)
	if err != nil {
		_ = proc.Close() // nobody watches it
		if unclaimable != nil {
			err = unclaimable
		}
		return nil, claimRefused(err)
	}
	return &programStream{
		Stream: stream, lease: s.lease,
		session: api.ProgramEvent{Kind: api.ProgramSession, Session: c.Session, Member: s.self},
	}, nil
}

// claimable is why programs on this node may not claim a system.
func (s programServer) claimable(id fsm.SystemID) error {
	spec := s.spec()
	sys, known := spec.Systems[id]
	switch {
	case !known:
		names := make([]string, 0, len(spec.Systems))
		for name, other := range spec.Systems {
			if other.Action == fsm.ActionClient {
				names = append(names, string(name))
			}
		}
		slices.Sort(names)
		hint := "no system has `\"action\": \"client\"`"
		if len(names) > 0 {
			hint = "systems that programs claim: " + strings.Join(names, ", ")
		}
		return &api.Error{Code: api.CodeNotFound, Message: "no system " + string(id), Hint: hint}
	case sys.Action != fsm.ActionClient:
		return &api.Error{
			Code: api.CodeRefused, Message: fmt.Sprintf("%s is no system that a program claims", id),
			Hint: "give it `\"action\": \"client\"` in place of its hooks, and `flip apply`",
		}
	case !serves(spec.Servers[s.self], id):
		return &api.Error{
			Code: api.CodeRefused, Message: fmt.Sprintf("%s does not serve %s", s.self, id),
			Hint: "name the system among the `systems` of this server",
		}
	}
	return nil
}

// Ack implements server.Programs.
func (s programServer) Ack(conn net.Conn, a api.ProgramAck) (api.ProgramAcked, error) {
	from, err := programs.PeerID(conn)
	if err != nil {
		return api.ProgramAcked{}, forbidden(err)
	}
	got, err := s.driver.Ack(from, programs.Ack{Session: a.Session, Seqs: a.Seqs, Gone: claimedItems(a.Gone), Leave: a.Leave})
	if err != nil {
		return api.ProgramAcked{}, claimRefused(err)
	}
	return api.ProgramAcked{LeaseMS: got.Lease.Milliseconds(), AgainMS: max(got.Again.Milliseconds(), 1)}, nil
}

func forbidden(err error) error {
	return &api.Error{Code: api.CodeForbidden, Message: err.Error(), Hint: "a program claims on the unix socket of the daemon of its own machine, and in its PID namespace"}
}

func claimRefused(err error) error {
	var taken *programs.Taken
	switch {
	case errors.As(err, &taken) && taken.Self:
		return &api.Error{Code: api.CodeClaimed, Message: err.Error(), Hint: "close the other claim first"}
	case errors.As(err, &taken):
		return &api.Error{Code: api.CodeClaimed, Message: err.Error(), Hint: "one program on a node has a system: it is free when that one has ended"}
	case errors.Is(err, programs.ErrNoClaim):
		return &api.Error{Code: api.CodeNotFound, Message: err.Error(), Hint: "claim it (again)"}
	default:
		return err
	}
}

func claimedItems(items []api.ProgramItem) []programs.Item {
	out := make([]programs.Item, 0, len(items))
	for _, it := range items {
		out = append(out, programs.Item{ID: it.Item, Rank: it.Rank, Token: it.Token, Given: it.Seq, Taken: it.Taken, Told: it.Told})
	}
	return out
}

// programStream is what a program is told, as it travels.
type programStream struct {
	*programs.Stream
	session api.ProgramEvent
	lease   func() (time.Duration, bool)
}

// Next implements server.ProgramStream.
func (s *programStream) Next(ctx context.Context) ([]api.ProgramEvent, error) {
	events, err := s.Stream.Next(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]api.ProgramEvent, 0, len(events))
	for i := range events {
		out = append(out, s.wire(&events[i]))
	}
	return out, nil
}

var wireKinds = map[programs.Kind]string{
	programs.Acquire: api.ProgramAcquire, programs.Release: api.ProgramRelease, programs.Token: api.ProgramToken,
}

func (s *programStream) wire(e *programs.Event) api.ProgramEvent {
	switch e.Kind { //nolint:exhaustive // of all others below
	case programs.Session:
		return s.session
	case programs.Beat:
		out := api.ProgramEvent{Kind: api.ProgramLease}
		if left, ok := s.lease(); ok {
			out.LeaseMS = left.Milliseconds()
		}
		return out
	}
	out := api.ProgramEvent{
		Kind: wireKinds[e.Kind], Seq: e.Seq, Item: e.Key.Item, Rank: e.Key.Rank, From: e.From, To: e.To,
		Token: e.Token, AtMostOne: e.AtMostOne, Stays: e.Stays, Reason: e.Reason,
	}
	if e.Cause != fsm.CauseNone {
		out.Cause = e.Cause.String()
	}
	return out
}
