package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

const (
	// leaveWait bounds the commit of Leave: a commit takes milliseconds where
	// there is a quorum, and without one nothing can be handed over.
	leaveWait = 2 * time.Second
	// goodbyeWait bounds the goodbye: one round trip and one commit.
	goodbyeWait = time.Second
	// stepDownWait bounds the transfer of leadership, which can hang with the disk.
	stepDownWait = time.Second
	// leastStopWait is for a node whose systems stop in no time.
	leastStopWait = time.Second
)

// stop is the order of DESIGN.md 8: announce it, hand over, release, say
// goodbye, hand leadership over. Each step is bounded, and none is needed for
// the next.
func (d *daemon) stop(ctx context.Context) {
	if d.spec().RemoveOnFailure {
		d.handOver(ctx)
		d.release(ctx, true)
		d.sayGoodbye(ctx)
	} else {
		d.log.Info().Msg("remove_on_failure is off: what this node holds stays as it is")
	}
	ctx, cancel := context.WithTimeout(ctx, stepDownWait)
	defer cancel()
	if err := d.node.StepDown(ctx); err != nil {
		d.log.Warn().Err(err).Msg("leadership not handed over: the others elect anew")
	}
}

// abandon is what a process does that cannot go on: at-most-one items must not
// stay up with nobody to end them. At-least-one items stay as they are, as they
// would at a crash; the next start sorts them out.
func (d *daemon) abandon(ctx context.Context) {
	d.release(ctx, false)
	d.sayGoodbye(ctx)
}

// stopWait is the largest stop_timeout of the systems that this node serves.
func (d *daemon) stopWait() time.Duration {
	spec, longest := d.spec(), leastStopWait
	for _, id := range spec.Servers[d.self.Name].Systems {
		longest = max(longest, spec.Systems[id].StopTimeout)
	}
	return longest
}

// handOver has the leader move everything away, and waits until the others
// have it.
func (d *daemon) handOver(ctx context.Context) {
	epoch := d.beat.Epoch()
	leader, _ := d.node.Leader()
	if epoch == 0 || leader == "" {
		d.log.Warn().Msg("there is no leader: nothing can be handed over")
		return
	}
	limit := d.stopWait()
	leave, cancel := context.WithTimeout(ctx, min(leaveWait, limit/2))
	defer cancel()
	res, err := d.node.Propose(leave, fsm.Leave{Member: d.self.Name, Epoch: epoch, At: time.Now().UnixMilli()})
	if err != nil || !res.Applied {
		d.log.Warn().Err(err).Str("why", res.Why).Msg("the stop cannot be announced: nothing is handed over")
		return
	}
	state, at := d.node.View()
	mine := heldBy(state, d.self.Name)
	began := time.Now()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for left := mine; len(left) > 0; {
		select {
		case <-d.node.Changed(at):
		case <-timer.C:
			d.log.Warn().Int("items", len(left)).Dur("waited", time.Since(began)).Msg("not everything could be handed over in time")
			return
		case <-ctx.Done():
			return
		}
		state, at = d.node.View()
		left = slices.DeleteFunc(left, func(k fsm.Key) bool { return handedOver(state, d.self.Name, k) })
	}
	d.log.Info().Int("items", len(mine)).Dur("took", time.Since(began)).Msg("everything is handed over")
}

// heldBy lists the slots that m owns or may still hold and that another member
// could take.
func heldBy(s *fsm.State, m fsm.MemberID) []fsm.Key {
	var keys []fsm.Key
	for slot := range s.Slots() {
		if !handedOver(s, m, slot.Key) && hasHeir(s, m, slot.System) {
			keys = append(keys, slot.Key)
		}
	}
	return keys
}

// handedOver reports whether m has nothing to do with a slot any more and its
// new owner has it.
func handedOver(s *fsm.State, m fsm.MemberID, k fsm.Key) bool {
	slot, known := s.Slot(k)
	if !known {
		return true
	}
	if slot.Owner == m || slices.ContainsFunc(slot.Outstanding, func(e fsm.Entry) bool { return e.Member == m && !e.Void }) {
		return false
	}
	return slot.Owner == "" || slot.Acquired != 0
}

// hasHeir reports whether another member of a system runs and stays.
func hasHeir(s *fsm.State, m fsm.MemberID, system fsm.SystemID) bool {
	for name, server := range s.Spec().Servers {
		other, known := s.Member(name)
		if name != m && known && other.Up && !other.Leaving && serves(server, system) {
			return true
		}
	}
	return false
}

// release lets go of what is still held here.
func (d *daemon) release(ctx context.Context, atLeastOneToo bool) {
	ctx, cancel := context.WithTimeout(ctx, d.stopWait())
	defer cancel()
	if err := d.exec.ReleaseAll(ctx, atLeastOneToo); err != nil {
		d.log.Error().Err(err).Msg("not everything could be released")
	}
}

// sayGoodbye lets the leader call this node down at once.
func (d *daemon) sayGoodbye(ctx context.Context) {
	leader, _ := d.node.Leader()
	if d.beat.Epoch() == 0 || leader == "" {
		return // nobody could have it agreed on
	}
	d.beat.Goodbye(d.exec.Kept())
	timer := time.NewTimer(goodbyeWait)
	defer timer.Stop()
	for !d.beat.GoodbyeDone() {
		select {
		case <-d.news.stop:
		case <-timer.C:
			d.log.Warn().Msg("no answer to the goodbye: the others will notice by the silence")
			return
		case <-ctx.Done():
			return
		}
	}
}

// errSuperseded ends a daemon whose name another machine has taken.
var errSuperseded = errors.New("another machine has registered under this member's name")

// keepName ends this daemon once another machine has taken its name: it lets go
// of everything, has that agreed on, and never registers again (LEASES.md, L6).
func (d *daemon) keepName(ctx context.Context) error {
	for !d.beat.Superseded() {
		select {
		case <-ctx.Done():
			return nil
		case <-d.news.name:
		}
	}
	d.log.Error().Err(errSuperseded).Msg("releasing everything and ending")
	d.release(ctx, true)
	d.untilReported(ctx)
	return hinted{errSuperseded, "two machines run flip with the same id and key: stop one, or give it its own id in the file"}
}

// untilReported waits, for a bounded time, until the log holds nothing against
// this process's machine any more.
func (d *daemon) untilReported(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, d.stopWait())
	defer cancel()
	for {
		state, at := d.node.View()
		if !d.isOutstanding(state) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-d.node.Changed(at):
		}
	}
}

func (d *daemon) isOutstanding(s *fsm.State) bool {
	for slot := range s.Slots() {
		if slices.ContainsFunc(slot.Outstanding, func(e fsm.Entry) bool {
			return e.Member == d.self.Name && e.Host == d.host && !e.Void
		}) {
			return true
		}
	}
	return false
}
