package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

const (
	// leaveWait bounds the commit of Leave: a commit takes milliseconds where
	// there is a quorum, and without one nothing can be handed over.
	leaveWait = 2 * time.Second
	// leaveAgain is the pause before an announcement that did not count is
	// repeated.
	leaveAgain = 50 * time.Millisecond
	// goodbyeWait bounds the goodbye: one round trip and one commit.
	goodbyeWait = time.Second
	// stepDownWait bounds the transfer of leadership, which can hang with the disk.
	stepDownWait = time.Second
	// leastStopWait is for a node whose systems stop in no time.
	leastStopWait = time.Second
)

// stop is the order of DESIGN.md 8: announce it, hand over, release, say
// goodbye, hand leadership over. Each step is bounded, and none is needed for
// the next. Handing over ends early with running, when a part fails; the rest
// needs heartbeats and effects alone. The error names what is not released.
func (d *daemon) stop(running, last context.Context) error {
	if !d.spec().RemoveOnFailure {
		d.log.Info().Msg("remove_on_failure is off: what this node holds stays as it is")
		d.stepDown(running)
		return nil
	}
	d.handOver(running)
	err := d.release(last, true)
	shut := d.shutGate()
	if leader, _ := d.node.Leader(); leader != "" { // else nobody could have it agreed on
		d.sayGoodbye(last, shut)
	}
	d.stepDown(running)
	return err
}

func (d *daemon) stepDown(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stepDownWait)
	defer cancel()
	if err := d.node.StepDown(ctx); err != nil {
		d.log.Warn().Err(err).Msg("leadership not handed over: the others elect anew")
	}
}

// abandon is what a process does that cannot go on: at-most-one items must not
// stay up with nobody to end them. At-least-one items stay as they are, as they
// would at a crash; the next start sorts them out. The goodbye goes to every
// voter, whatever this node's own log still knows of a leader.
func (d *daemon) abandon(last context.Context) error {
	d.tellStopping("a part has failed: releasing all at-most-one items")
	shut := d.shutGate() // what the kernel gates is let go of by this alone
	err := d.release(last, false)
	d.sayGoodbye(last, shut)
	return err
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
// have it. It looks at each State anew: a process that loses its lease meanwhile
// registers anew, has to announce its stop again, and may have been given
// something back.
func (d *daemon) handOver(ctx context.Context) {
	began, limit := time.Now(), d.stopWait()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	before, at := d.node.View()
	for state := before; ; state, at = d.node.View() {
		left, announced := d.toHandOver(before, state)
		switch {
		case announced && left == 0:
			d.log.Info().Dur("took", time.Since(began)).Msg("everything is handed over")
			return
		case announced:
		case !d.announce(ctx, min(leaveWait, limit/2)):
			return
		}
		timer := time.NewTimer(leaveAgain)
		select {
		case <-d.node.Changed(at):
		case <-timer.C:
		case <-ctx.Done():
			d.log.Warn().Int("items", left).Dur("waited", time.Since(began)).Msg("not everything could be handed over in time")
			return
		}
		timer.Stop()
	}
}

// toHandOver counts what is still to be handed over, and reports whether the log
// shows that this process's newest epoch is leaving.
func (d *daemon) toHandOver(before, now *fsm.State) (left int, announced bool) {
	for _, k := range heldBy(before, now, d.self.Name) {
		if !handedOver(now, d.self.Name, k) {
			left++
		}
	}
	me, _ := now.Member(d.self.Name)
	return left, me.Leaving && me.Epoch == d.beat.Epoch()
}

// announce proposes Leave; false: there is nobody to hand anything over to.
func (d *daemon) announce(ctx context.Context, limit time.Duration) bool {
	epoch := d.beat.Epoch()
	leader, _ := d.node.Leader()
	if epoch == 0 || leader == "" {
		d.log.Warn().Msg("there is no leader: nothing can be handed over")
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	res, err := d.node.Propose(ctx, fsm.Leave{Member: d.self.Name, Epoch: epoch, At: time.Now().UnixMilli()})
	if err != nil {
		d.log.Warn().Err(err).Msg("the stop cannot be announced: nothing is handed over")
		return false
	}
	if !res.Applied { // its epoch has been replaced in this moment
		d.log.Info().Str("why", res.Why).Msg("announcing the stop again")
	}
	return true
}

// heldBy lists the slots that m had before it announced its stop, or may still
// hold, and that another member could take and is to take.
func heldBy(before, now *fsm.State, m fsm.MemberID) []fsm.Key {
	var keys []fsm.Key
	for slot := range now.Slots() {
		was, _ := before.Slot(slot.Key)
		if (was.Owner == m || slot.Owner == m || mayHold(slot, m)) && now.HeirOf(m, slot.Key) && !now.Maintained(slot.System) {
			keys = append(keys, slot.Key)
		}
	}
	return keys
}

func mayHold(slot fsm.Slot, m fsm.MemberID) bool {
	return slices.ContainsFunc(slot.Outstanding, func(e fsm.Entry) bool { return e.Member == m && !e.Void })
}

// handedOver reports whether m has nothing to do with a slot any more and its
// new owner has it.
func handedOver(s *fsm.State, m fsm.MemberID, k fsm.Key) bool {
	slot, known := s.Slot(k)
	if !known {
		return true
	}
	if slot.Owner == m || mayHold(slot, m) {
		return false
	}
	return slot.Owner == "" || slot.Acquired != 0
}

// release lets go of what is still held here.
func (d *daemon) release(ctx context.Context, atLeastOneToo bool) error {
	ctx, cancel := context.WithTimeout(ctx, d.stopWait())
	defer cancel()
	if err := d.exec.ReleaseAll(ctx, atLeastOneToo); err != nil {
		d.log.Error().Err(err).Msg("not everything could be released")
		return hinted{fmt.Errorf("release everything: %w", err), "what `down` has to undo may still be in effect here: look at the log above"}
	}
	return nil
}

// sayGoodbye lets the leader call this node down at once, and names what could
// not be released. It says nothing as long as this process does not know what an
// earlier one may have left.
//
// With a gate that could not be shut nothing may be kept: a goodbye says of all
// that is gated that it does not answer any more.
func (d *daemon) sayGoodbye(ctx context.Context, shut bool) {
	kept, of := d.exec.Kept()
	if of == 0 || !shut && len(kept) > 0 {
		return
	}
	d.beat.Goodbye(kept)
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
		kept, _ = d.exec.Kept() // `down` is tried again meanwhile
		d.beat.Goodbye(kept)
	}
	if len(kept) > 0 {
		d.log.Error().Int("items", len(kept)).Msg("stopping with items that could not be released: they wait for this node's return")
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
	d.tellStopping("another machine has this node's name: releasing everything")
	if err := d.release(ctx, true); err == nil {
		d.untilReported(ctx)
	}
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
