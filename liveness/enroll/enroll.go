// Package enroll has a process's registrations agreed on as they fall due. Whether
// the process is one of Raft's servers or reads the log from a stream is its
// Node's affair.
package enroll

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/wake"
)

// Errors of a Node's Propose that callers tell apart.
var (
	// ErrNotLeader means that whoever was asked did not propose the command,
	// because it is not the leader: it is safe to send it to another one.
	ErrNotLeader = errors.New("not the leader")
	// ErrNoLeader means that no leader was known for as long as Propose waits.
	ErrNoLeader = errors.New("no leader")
	// ErrUncertain means that leadership, or the way to the leader, was lost while
	// the command was on its way: it may or may not enter the log.
	ErrUncertain = errors.New("leadership was lost while the command was on its way: it may or may not take effect")
)

const (
	poll       = time.Second // at least this often, in case a signal was lost
	timeout    = 2 * time.Second
	retryFirst = 50 * time.Millisecond
	retryMost  = time.Second
)

// Node is the log as this process reads it and writes to it.
type Node interface {
	View() (*fsm.State, fsm.Index)
	// Changed is closed once View's index is above after.
	Changed(after fsm.Index) <-chan struct{}
	// Leads reports whether a leader is known. The channel is closed when another
	// one leads, or none.
	Leads() (known bool, moved <-chan struct{})
	Propose(context.Context, fsm.Command) (fsm.Result, error)
}

// Registrar is the member's side of liveness.
type Registrar interface {
	// Register is asked only while a leader is known: the first sending counts
	// from it (LEASES.md, L6). It answers with the same nonce until that one has
	// committed or is overdue.
	Register() (fsm.Register, bool)
	Settled() (fsm.Settle, bool)
}

// Loop proposes this process's registrations, and that it has settled.
type Loop struct {
	Node      Node
	Registrar Registrar
	// Show shows the Registrar what View says by now: until then it would ask for
	// the same once more.
	Show func()
	// Wake receives when what the Registrar answers may have changed.
	Wake <-chan struct{}
	Log  zerolog.Logger
}

// Run proposes what falls due until ctx ends. A registration is asked for only
// while a leader is known: the time within which its first lease must begin counts
// from then. One that got no answer is sent again as the Registrar gives it, that
// is with the same nonce: committed twice it counts once.
func (l *Loop) Run(ctx context.Context) {
	retry := retryFirst
	for {
		known, moved := l.Node.Leads()
		_, at := l.Node.View()
		if known {
			switch l.step(ctx) {
			case done:
				retry = retryFirst
				continue
			case failed:
				// Nothing but another leader makes the wait shorter.
				if !wake.Pause(ctx, retry, moved, nil, nil) {
					return
				}
				retry = min(2*retry, retryMost)
				continue
			case idle:
				retry = retryFirst
			}
		}
		if !wake.Pause(ctx, poll, moved, l.Wake, l.Node.Changed(at)) {
			return
		}
	}
}

// outcome is what came of one look at what is due.
type outcome int

const (
	idle outcome = iota
	done
	failed
)

func (l *Loop) step(ctx context.Context) outcome {
	if reg, due := l.Registrar.Register(); due {
		reg.At = time.Now().UnixMilli()
		res, ok := l.propose(ctx, reg, "registration")
		if !ok {
			return failed
		}
		l.Log.Info().Uint64("epoch", uint64(res.Epoch)).Uint64("replaces", uint64(reg.Replaces)).Msg("registered")
		return l.seeIt(ctx, fsm.Index(res.Epoch))
	}
	if s, due := l.Registrar.Settled(); due {
		_, at := l.Node.View()
		if _, ok := l.propose(ctx, s, "settling"); !ok {
			return failed
		}
		l.Log.Info().Uint64("epoch", uint64(s.Epoch)).Msg("settled")
		return l.seeIt(ctx, at+1)
	}
	return idle
}

// seeIt waits until this process's own reading has come to an index, with which it
// shows what was committed.
func (l *Loop) seeIt(ctx context.Context, until fsm.Index) outcome {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for _, at := l.Node.View(); at < until; _, at = l.Node.View() {
		if !wake.Pause(ctx, poll, l.Node.Changed(at), nil, nil) {
			return failed
		}
	}
	l.Show()
	return done
}

func (l *Loop) propose(ctx context.Context, c fsm.Command, what string) (fsm.Result, bool) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	res, err := l.Node.Propose(ctx, c)
	switch {
	case err != nil:
		l.Log.Debug().Err(err).Msg(what + " got no answer, trying again")
		return res, false
	case !res.Applied:
		l.Log.Info().Str("why", res.Why).Msg(what + " refused, trying again")
		return res, false
	}
	return res, true
}
