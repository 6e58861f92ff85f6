package main

import (
	"context"
	"errors"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/raftnode"
)

// proposer has commands agreed on for this machine's operators.
type proposer struct {
	node interface {
		Propose(context.Context, fsm.Command) (fsm.Result, error)
		View() (*fsm.State, fsm.Index)
		Changed(after fsm.Index) <-chan struct{}
	}
	newest func() fsm.Index // what a leader has read that has answered this node
}

// Propose implements server.Proposer.
func (p proposer) Propose(ctx context.Context, c fsm.Command) (fsm.Result, error) {
	res, err := p.node.Propose(ctx, c)
	switch {
	case err == nil:
		return res, p.read(ctx)
	case errors.Is(err, raftnode.ErrUncertain):
		return res, uncertain(err)
	case errors.Is(err, raftnode.ErrNoLeader), ctx.Err() != nil:
		return res, api.NoLeader("nobody has a majority of the votes, or it cannot be reached from here")
	case api.CodeOf(err) == "": // the way to the leader broke
		return res, uncertain(err)
	default:
		return res, err
	}
}

func uncertain(err error) error {
	return &api.Error{
		Code: api.CodeUncertain, Message: "it may or may not have been done: " + err.Error(),
		Hint: "see whether it was: `flip status`, `flip assign`; to do it again does no harm",
	}
}

// read waits until this node has read what the leader had when it answered.
func (p proposer) read(ctx context.Context) error {
	for {
		_, at := p.node.View()
		if at >= p.newest() {
			return nil
		}
		select {
		case <-p.node.Changed(at):
		case <-ctx.Done():
			return &api.Error{
				Code: api.CodeTimeout, Message: "it was agreed on, but this node has not read it yet",
				Hint: "`flip status --consistent` asks the leader",
			}
		}
	}
}

// Verify implements server.Verifier: it commits a probe.
func (p proposer) Verify(ctx context.Context) error {
	_, err := p.Propose(ctx, fsm.Probe{})
	if api.CodeOf(err) == api.CodeUncertain {
		return api.NoLeader("it lost its leadership meanwhile")
	}
	return err
}
