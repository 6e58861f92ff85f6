package raftnode

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/wake"
	"github.com/flip-ha/flip/placement"
)

// watchLeadership runs lead while this node is leader; one ends before the next
// begins. Raft drops values of LeaderCh: a repeated true means lost and
// regained, so lead is ended and begun anew.
func watchLeadership(ctx context.Context, leaderCh <-chan bool, lead func(context.Context)) {
	stop := func() {}
	defer func() { stop() }()
	for {
		select {
		case <-ctx.Done():
			return
		case leads := <-leaderCh:
			stop()
			stop = func() {}
			if !leads {
				continue
			}
			term, cancel := context.WithCancel(ctx)
			done := make(chan struct{})
			go func() {
				defer close(done)
				lead(term)
			}()
			stop = func() {
				cancel()
				<-done
			}
		}
	}
}

// lead is one leadership: Barrier first, then the loop and what goes with it.
func (n *Node) lead(ctx context.Context, r *raft.Raft) {
	var parts sync.WaitGroup
	defer parts.Wait()
	n.committed()
	parts.Go(func() { n.probe(ctx, r) })
	for {
		err := n.barrier(ctx, r)
		if err == nil {
			break
		}
		// A failed transfer of leadership leaves this node leader.
		if ctx.Err() != nil || !wake.Pause(ctx, 50*time.Millisecond, nil, nil, nil) {
			return
		}
		n.log.Debug().Err(err).Msg("Barrier of the new leader failed, trying again")
	}
	n.log.Info().Str("voter", string(n.self)).Uint64("term", r.CurrentTerm()).Msg("this node leads")
	n.setLeading(true)
	defer func() {
		n.setLeading(false)
		n.log.Info().Msg("this node does not lead any more")
	}()
	parts.Go(func() { n.nudge(ctx, r) })
	parts.Go(func() { n.takeIn(ctx, r) })
	n.decide(ctx)
}

func (n *Node) barrier(ctx context.Context, r *raft.Raft) error {
	_, err := await(ctx, n, func() (struct{}, error) { return struct{}{}, r.Barrier(enqueueWait).Error() })
	if err == nil {
		n.committed()
	}
	return err
}

// nudge issues a Barrier after each Apply, one for all that came meanwhile: the
// followers learn of a commit with the next entry only, and Raft's own timer is
// ten times slower.
func (n *Node) nudge(ctx context.Context, r *raft.Raft) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.nudges:
		}
		if err := n.barrier(ctx, r); err != nil && ctx.Err() == nil {
			n.log.Debug().Err(err).Msg("Barrier failed")
		}
	}
}

// The leader's watch over itself: DESIGN.md 4 of the project.
const (
	probeEvery  = 500 * time.Millisecond // without another commit
	probeMisses = 4                      // ticks of probeEvery that one probe may take
)

func (n *Node) committed() { n.lastCommit.Store(int64(time.Since(n.started))) }

// probe commits an entry whenever nothing else did for a while. When one takes
// too long this leader gives up: with a hung disk it would go on sending
// heartbeats, and keep its followers from electing another leader for ever.
//
// It counts ticks and not time, so that a process that was stopped for a while
// is not taken for one whose disk hangs.
func (n *Node) probe(ctx context.Context, r *raft.Raft) {
	cmd := fsm.Encode(fsm.Probe{})
	ticks := time.NewTicker(probeEvery)
	defer ticks.Stop()
	var done chan error
	misses := 0
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-done:
			done, misses = nil, 0
			if err == nil {
				n.committed()
			}
		case <-ticks.C:
			if done != nil {
				misses++
				if misses >= probeMisses && r.State() == raft.Leader {
					n.die(ErrStalled)
					return
				}
				continue
			}
			// Half of it: the last probe itself committed a moment after its tick.
			if time.Since(n.started)-time.Duration(n.lastCommit.Load()) < probeEvery/2 {
				continue
			}
			done = make(chan error, 1)
			n.sendProbe(ctx, r, cmd, done)
		}
	}
}

func (n *Node) sendProbe(ctx context.Context, r *raft.Raft, cmd []byte, done chan<- error) {
	if !n.futures.begin() {
		return
	}
	go func() {
		defer n.futures.end()
		// No bound on the wait for Raft's main loop: that it does not take the
		// entry is the same symptom.
		err := r.Apply(cmd, 0).Error()
		select {
		case done <- err:
		case <-ctx.Done():
		}
	}()
}

// setLeading shows the Detector at once whether this node leads.
func (n *Node) setLeading(leads bool) {
	n.readMu.Lock()
	n.leading = leads
	n.readMu.Unlock()
	n.read()
}

// decide is the reconcile loop: look, propose one command, look again.
func (n *Node) decide(ctx context.Context) {
	agenda := Agenda{drafts: drafts{begin: n.planAside, after: time.After}}
	defer n.outlook.Store(nil)
	for ctx.Err() == nil {
		v := n.read()
		if v.state.Spec().Version == 0 {
			n.seed(ctx, v)
			continue
		}
		now := n.clock()
		n.seen.Leases(now, n.cfg.Leased)
		cmd, again := Next(&agenda, Look{
			State: v.state, Now: now, Unix: time.Now().UnixMilli(),
			Downs: n.deps.Detector.Downs(), Goodbyes: n.goodbyes(), Leased: n.cfg.Leased, Seen: &n.seen,
		})
		shown := agenda.Outlook()
		n.outlook.Store(&shown)
		if cmd != nil && n.carryOut(ctx, cmd) {
			continue
		}
		// A refused or failed command is not repeated in a tight loop.
		wait := time.Second
		if cmd != nil {
			wait = 20 * time.Millisecond
		} else if again > now {
			wait = min(wait, again-now)
		}
		if !wake.Pause(ctx, wait, n.machine.after(v.index), n.wakeLoop, nil) {
			return
		}
	}
}

func (n *Node) goodbyes() []fsm.Goodbye {
	if n.deps.Farewells == nil {
		return nil
	}
	return n.deps.Farewells.Goodbyes()
}

// carryOut proposes what Next decided and reports whether it was applied.
func (n *Node) carryOut(ctx context.Context, cmd fsm.Command) bool {
	res, err := n.apply(ctx, fsm.Encode(cmd))
	for _, each := range res.Each { // a batch is applied whatever becomes of its parts
		if !each.Applied && res.Applied {
			res.Applied, res.Why = false, each.Why
		}
	}
	e := n.log.Info()
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		e = n.log.Warn().Err(err)
	case !res.Applied:
		e = n.log.Warn().Str("why", res.Why)
	}
	switch c := cmd.(type) {
	case fsm.Down:
		e = e.Str("member", string(c.Member)).Uint64("epoch", uint64(c.Epoch)).
			Int("votes", len(c.Evidence)).Bool("goodbye", c.Goodbye != nil).Int("moves", len(c.Moves))
	case fsm.Assign:
		e = e.Int("moves", len(c.Moves))
	case fsm.Goodbye:
		e = e.Str("member", string(c.Member)).Int("kept", len(c.Kept))
	case fsm.RemoveMember:
		e = e.Str("member", string(c.Member))
	case fsm.KeyGo:
		e = e.Str("ended", c.Phase.String())
	}
	if len(res.Dropped) > 0 {
		e = e.Int("dropped", len(res.Dropped))
	}
	e.Str("command", fmt.Sprintf("%T", cmd)).Msg("the leader proposed")
	if a, planned := cmd.(fsm.Assign); planned && len(res.Dropped) == len(a.Moves) {
		return false // nothing has changed: the next plan may be the same
	}
	return err == nil && res.Applied
}

// clock is what times of this node are compared by.
func (n *Node) clock() time.Duration { return time.Since(n.started) }

// planAside makes a plan while the leader's loop goes on, and wakes it then.
func (n *Node) planAside(p *placement.Planner, d *draft) <-chan struct{} {
	ready := make(chan struct{})
	n.planning.Go(func() {
		began := time.Now()
		d.result = p.Plan(d.view)
		if n.cfg.Measure.Plan != nil {
			n.cfg.Measure.Plan(time.Since(began))
		}
		close(ready)
		wake.Signal(n.wakeLoop)
	})
	return ready
}

// seed founds the cluster's State from this node's file: the first command of a
// cluster that has just been bootstrapped, also when its founder died before.
func (n *Node) seed(ctx context.Context, v view) {
	var id [16]byte
	rand.Read(id[:]) // never fails: crypto/rand ends the program instead
	cluster := hex.EncodeToString(id[:])
	res, err := n.apply(ctx, fsm.Encode(fsm.SetSpec{
		Was: 0, Cluster: cluster, Spec: n.cfg.Seed, At: time.Now().UnixMilli(),
	}))
	if err == nil && !res.Applied {
		err = errors.New(res.Why)
	}
	if err != nil {
		if ctx.Err() == nil {
			n.log.Warn().Err(err).Msg("cannot give the cluster its configuration")
		}
		wake.Pause(ctx, time.Second, n.machine.after(v.index), nil, nil)
		return
	}
	n.log.Info().Str("cluster", cluster).Msg("the cluster is founded")
}
