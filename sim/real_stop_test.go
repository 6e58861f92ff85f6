package sim_test

import (
	"context"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// The bounds of a stop's steps, as cmd/flip has them; the largest stop_timeout
// of these tests is below its least.
const (
	leaveWait    = 500 * time.Millisecond
	leaveAgain   = 50 * time.Millisecond
	goodbyeWait  = time.Second
	stepDownWait = time.Second
	stopWait     = time.Second
)

// stop is the order of a stop, as in cmd/flip: announce it, hand over, release,
// say goodbye, hand leadership over.
func (p *node) stop(ctx context.Context) {
	p.w.event("stop %s", p.id())
	handed := p.w.rules.abrupt || p.handOver(ctx)
	p.w.mu.Lock()
	p.excused = !handed
	p.w.mu.Unlock()
	p.release(ctx)
	p.sayGoodbye(ctx)
	ctx, cancel := context.WithTimeout(ctx, stepDownWait)
	defer cancel()
	if err := p.raft.StepDown(ctx); err != nil {
		p.w.event("%s: %v", p.name, err)
	}
}

// handOver has the leader move everything away, and says whether the others have
// it. A new epoch announces the stop again.
func (p *node) handOver(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	for ctx.Err() == nil {
		state, at := p.raft.View()
		me, _ := state.Member(p.name)
		epoch := p.beat.Epoch()
		leader, _ := p.raft.Leader()
		switch {
		case epoch == 0 || leader == "":
			return false
		case me.Leaving && me.Epoch == epoch:
			if p.handedAll(state) {
				return heirs(state, p.name)
			}
		default:
			p.leave(ctx, epoch)
		}
		timer := time.NewTimer(leaveAgain)
		select {
		case <-p.raft.Changed(at):
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	p.w.event("%s: not everything is handed over", p.name)
	return false
}

func (p *node) leave(ctx context.Context, epoch fsm.Epoch) {
	ctx, cancel := context.WithTimeout(ctx, leaveWait)
	defer cancel()
	res, err := p.raft.Propose(ctx, fsm.Leave{Member: p.name, Epoch: epoch, At: time.Now().UnixMilli()})
	if err != nil || !res.Applied {
		p.w.event("%s: cannot leave: %v %s", p.name, err, res.Why)
	}
}

func (p *node) handedAll(s *fsm.State) bool {
	for slot := range s.Slots() {
		if !handedOver(s, p.name, slot.Key) {
			return false
		}
	}
	return true
}

// handedOver reports whether m has nothing to do with a slot any more and its
// new owner has it, or nobody else can.
func handedOver(s *fsm.State, m fsm.MemberID, k fsm.Key) bool {
	slot, _ := s.Slot(k)
	if !heirs(s, m) {
		return true
	}
	mine := func(e fsm.Entry) bool { return e.Member == m && !e.Void }
	if slot.Owner == m || slices.ContainsFunc(slot.Outstanding, mine) {
		return false
	}
	return slot.Owner == "" || slot.Acquired != 0
}

func (p *node) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	if err := p.exec.ReleaseAll(ctx, true); err != nil {
		p.w.event("%s: %v", p.name, err)
	}
}

func (p *node) sayGoodbye(ctx context.Context) {
	if p.beat.Epoch() == 0 {
		return
	}
	kept, of := p.exec.Kept()
	if of == 0 {
		return // what a former process left here is not known yet
	}
	// What is kept behind the gate is nobody's any more before this is said: the
	// goodbye ends the epoch at once.
	p.w.mu.Lock()
	p.farewell = true
	p.machine.shut()
	p.w.mu.Unlock()
	p.beat.Goodbye(kept)
	timer := time.NewTimer(goodbyeWait)
	defer timer.Stop()
	for !p.beat.GoodbyeDone() {
		if leader, _ := p.raft.Leader(); leader == "" {
			return
		}
		select {
		case <-p.beat.feed:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
