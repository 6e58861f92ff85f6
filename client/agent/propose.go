package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/enroll"
	"github.com/flip-ha/flip/liveness/wake"
)

const (
	// forwardWait bounds the wait for the leader's answer: twice what a leader may
	// take for a commit before it gives up.
	forwardWait = 5 * time.Second
	// lookAgain: a leader that has just died is still named for an election's length.
	lookAgain = 25 * time.Millisecond
	// maxHints is how many hints are followed at once: who leads may change while one
	// asks, and two that each name the other must not be asked without end.
	maxHints = 2
	// defaultElection stands in for an election timeout that is not known yet.
	defaultElection = 100 * time.Millisecond
)

// Propose has c agreed upon by way of the leader. It waits for a leader a bounded time
// and then says enroll.ErrNoLeader. A command that may or may not have entered the log
// is not sent again: enroll.ErrUncertain.
func (n *Node) Propose(ctx context.Context, c fsm.Command) (fsm.Result, error) {
	cmd := fsm.Encode(c)
	deadline := time.Now().Add(n.leaderWait())
	var last error
	for {
		if n.isOver() {
			return fsm.Result{}, fmt.Errorf("%w: this node has stopped", enroll.ErrNoLeader)
		}
		moved := n.moved.Next()
		res, asked, err := n.ask(ctx, cmd, moved)
		if err == nil || asked && !notProposed(err) {
			return res, err
		}
		if asked {
			last = err
		}
		left := time.Until(deadline)
		if left <= 0 {
			if last != nil {
				return fsm.Result{}, fmt.Errorf("%w: the last one tried: %w", enroll.ErrNoLeader, last)
			}
			return fsm.Result{}, enroll.ErrNoLeader
		}
		if !wake.Pause(ctx, min(left, lookAgain), moved, n.over, nil) {
			return fsm.Result{}, fmt.Errorf("wait for a leader: %w", ctx.Err())
		}
	}
}

// ask asks the leader as it is known now, and whom those that do not lead name
// instead; asked: there was anybody.
func (n *Node) ask(ctx context.Context, cmd []byte, moved <-chan struct{}) (res fsm.Result, asked bool, err error) {
	to := n.leads()
	for range 1 + maxHints {
		if to.name == "" || to.addr == "" {
			break
		}
		asked = true
		if res, err = n.forward(ctx, to, cmd, moved); err == nil || !notProposed(err) {
			return res, true, err
		}
		name, addr, hinted := api.LeaderIn(err)
		next := leader{fsm.MemberID(name), addr}
		if !hinted || next == to {
			break
		}
		to = next
	}
	if !asked {
		err = enroll.ErrNoLeader
	}
	return res, asked, err
}

// forward hands a command to the leader. One that is no longer the leader may never
// answer, and its answer is worth no more than a moment's wait: a registration that
// hangs on a dead link for seconds is a member called down.
func (n *Node) forward(ctx context.Context, to leader, cmd []byte, moved <-chan struct{}) (fsm.Result, error) {
	var watch sync.WaitGroup
	defer watch.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch.Go(func() {
		if wake.Pause(ctx, forwardWait, moved, nil, nil) && wake.Pause(ctx, n.election(), nil, nil, nil) {
			cancel()
		}
	})
	target := client.Target{Addr: to.addr, Name: to.name, Instance: voterOf(n.view().state, to.name).Instance()}
	res, err := n.cfg.Peers.Propose(ctx, target, cmd)
	if err != nil && !notProposed(err) && !refused(err) {
		err = fmt.Errorf("%w: %w", enroll.ErrUncertain, err)
	}
	return res, err
}

// notProposed reports whether a command surely did not get into the log, and another
// node may be asked.
func notProposed(err error) bool {
	switch api.CodeOf(err) {
	case api.CodeNotLeader, api.CodeNoLeader:
		return true
	default:
		return errors.Is(err, client.ErrNotSent)
	}
}

// refused reports whether the leader has looked at a command and will not have it.
func refused(err error) bool {
	switch api.CodeOf(err) {
	case api.CodeBadRequest, api.CodeTooLarge, api.CodeForbidden, api.CodeMethod, api.CodeNotFound, api.CodeRefused:
		return true
	default:
		return false
	}
}

func (n *Node) isOver() bool {
	select {
	case <-n.over:
		return true
	default:
		return false
	}
}

func (n *Node) election() time.Duration {
	if e := n.spec().Timing.RaftElection; e > 0 {
		return e
	}
	return defaultElection
}

func (n *Node) leaderWait() time.Duration {
	if n.cfg.LeaderWait > 0 {
		return n.cfg.LeaderWait
	}
	return max(time.Second, 6*n.election())
}
