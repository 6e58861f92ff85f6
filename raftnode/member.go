package raftnode

import (
	"context"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Times of the member's loop.
const (
	memberPoll    = time.Second // at least this often, in case a signal was lost
	memberTimeout = 2 * time.Second
	retryFirst    = 50 * time.Millisecond
	retryMost     = time.Second
)

// member proposes this process's registrations, and that it has settled, as
// they fall due. A registration is asked for only while a leader is known: the
// time within which its first lease must begin counts from then. One that got
// no answer is sent again as the Registrar gives it, that is with the same
// nonce: committed twice it counts once.
func (n *Node) member(ctx context.Context) {
	retry := retryFirst
	for {
		moved := n.leaderMoved.next()
		v := n.machine.view()
		if leader, _ := n.leader(); leader != "" {
			switch n.memberStep(ctx) {
			case stepDone:
				retry = retryFirst
				continue
			case stepFailed:
				// Nothing but another leader makes the wait shorter.
				if !pause(ctx, retry, moved, nil, nil) {
					return
				}
				retry = min(2*retry, retryMost)
				continue
			case stepIdle:
				retry = retryFirst
			}
		}
		if !pause(ctx, memberPoll, moved, n.wakeMember, n.machine.after(v.index)) {
			return
		}
	}
}

// step is what came of one look at what is due.
type step int

const (
	stepIdle step = iota
	stepDone
	stepFailed
)

func (n *Node) memberStep(ctx context.Context) step {
	if reg, due := n.deps.Registrar.Register(); due {
		reg.At = time.Now().UnixMilli()
		res, ok := n.proposeOwn(ctx, reg, "registration")
		if !ok {
			return stepFailed
		}
		n.log.Info().Uint64("epoch", uint64(res.Epoch)).Uint64("replaces", uint64(reg.Replaces)).Msg("registered")
		return n.seeIt(ctx, fsm.Index(res.Epoch))
	}
	if s, due := n.deps.Registrar.Settled(); due {
		if _, ok := n.proposeOwn(ctx, s, "settling"); !ok {
			return stepFailed
		}
		n.log.Info().Uint64("epoch", uint64(s.Epoch)).Msg("settled")
		return n.seeIt(ctx, 0)
	}
	return stepIdle
}

// seeIt waits until this node's own log shows what was committed, at an index or
// (0) with its next State: before, the Registrar would ask for the same once
// more.
func (n *Node) seeIt(ctx context.Context, at fsm.Index) step {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	v := n.machine.view()
	if at == 0 {
		at = v.index + 1
	}
	for ; v.index < at; v = n.machine.view() {
		if !pause(ctx, memberPoll, n.machine.after(v.index), nil, nil) {
			return stepFailed
		}
	}
	n.read()
	return stepDone
}

func (n *Node) proposeOwn(ctx context.Context, c fsm.Command, what string) (fsm.Result, bool) {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	res, err := n.Propose(ctx, c)
	switch {
	case err != nil:
		n.log.Debug().Err(err).Msg(what + " got no answer, trying again")
		return res, false
	case !res.Applied:
		n.log.Info().Str("why", res.Why).Msg(what + " refused, trying again")
		return res, false
	}
	return res, true
}
