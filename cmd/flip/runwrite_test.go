package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/raftnode"
)

// trailing is a node that reads its log one entry at a time.
type trailing struct {
	at, stops fsm.Index
	err       error
}

func (n *trailing) Propose(context.Context, fsm.Command) (fsm.Result, error) {
	return fsm.Result{Applied: true}, n.err
}

func (n *trailing) View() (*fsm.State, fsm.Index) { return fsm.New(), n.at }

func (n *trailing) Changed(fsm.Index) <-chan struct{} {
	ch := make(chan struct{})
	if n.at < n.stops {
		n.at++
		close(ch)
	}
	return ch
}

// What was agreed on elsewhere is answered once this node has read it, so that
// whoever asked sees it here.
func TestAProposalIsReadBeforeItIsAnswered(t *testing.T) {
	newest := func() fsm.Index { return 9 }
	n := &trailing{at: 5, stops: 20}
	if res, err := (proposer{n, newest}).Propose(t.Context(), fsm.Probe{}); err != nil || !res.Applied || n.at != 9 {
		t.Errorf("%+v, %v at %d, want 9", res, err, n.at)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n = &trailing{at: 5, stops: 7}
	if _, err := (proposer{n, newest}).Propose(ctx, fsm.Probe{}); api.CodeOf(err) != api.CodeTimeout {
		t.Errorf("never read: %v", err)
	}
}

func TestWhyAProposalFailed(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name           string
		ctx            context.Context
		err            error
		propose, check string
	}{
		{"no leader", t.Context(), fmt.Errorf("x: %w", raftnode.ErrNoLeader), api.CodeNoLeader, api.CodeNoLeader},
		{"leadership lost", t.Context(), fmt.Errorf("x: %w", raftnode.ErrUncertain), api.CodeUncertain, api.CodeNoLeader},
		{"lost, and the time is up", over, fmt.Errorf("x: %w", raftnode.ErrUncertain), api.CodeUncertain, api.CodeNoLeader},
		{"the time is up", over, errors.New("wait for a leader"), api.CodeNoLeader, api.CodeNoLeader},
		{"the connection broke", t.Context(), errors.New("connection reset"), api.CodeUncertain, api.CodeNoLeader},
		{"the leader refuses", t.Context(), &api.Error{Code: api.CodeBadRequest}, api.CodeBadRequest, api.CodeBadRequest},
	} {
		p := proposer{&trailing{err: tt.err}, func() fsm.Index { return 0 }}
		if _, err := p.Propose(tt.ctx, fsm.Probe{}); api.CodeOf(err) != tt.propose {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.propose)
		}
		if err := p.Verify(tt.ctx); api.CodeOf(err) != tt.check {
			t.Errorf("%s: verify: %v, want %s", tt.name, err, tt.check)
		}
	}
}
