package actions

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

// stepping is the loop that runs the core.
func (x *Executor) stepping(ctx context.Context, wg *sync.WaitGroup) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-x.wake:
		case <-timer.C:
		}
		if ctx.Err() != nil {
			return // nothing is started any more
		}
		timer.Reset(x.step(ctx, wg))
	}
}

// step runs the core once, tells what follows from it outside the locks, and
// answers with the time until it must run again.
func (x *Executor) step(ctx context.Context, wg *sync.WaitGroup) time.Duration {
	wait, adopted, awaited := x.decide(ctx, wg)
	for i := range adopted {
		if x.cfg.Ledger != nil {
			x.cfg.Ledger.Adopted(adopted[i])
		}
		if a, ok := x.cfg.Drivers[adopted[i].Action].(Adopter); ok {
			a.Adopted(adopted[i])
		}
	}
	for i := range awaited {
		if a, ok := x.cfg.Drivers[awaited[i].Action].(Awaiter); ok {
			a.Awaited(awaited[i])
		}
	}
	if x.cfg.Changed != nil {
		x.cfg.Changed()
	}
	return wait
}

func (x *Executor) decide(ctx context.Context, wg *sync.WaitGroup) (wait time.Duration, adopted, awaited []fsm.Job) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.takeInputs()
	// The lease is read under the lock and nothing slow stands between it and
	// the start: an effect never outlives the decision behind it.
	now := x.cfg.Clock()
	var left time.Duration
	var ok bool
	if x.leased != nil {
		left, ok = x.leased()
		ok = ok && left > 0
	}
	start, cancel, next := x.core.Step(now, ok)
	for _, e := range cancel {
		if end := x.cancel[e.ID]; end != nil {
			x.log(e).Msg("cancelling the acquire: no longer wanted")
			end(errUnwanted)
			x.permit(e.Job.Key, refuse)
		}
	}
	adopted = x.core.Adopted()
	for i := range adopted {
		x.permit(adopted[i].Key, x.terms(&adopted[i]))
	}
	for _, e := range start {
		x.begin(ctx, wg, e)
	}
	close(x.change)
	x.change = make(chan struct{})

	// The interval is the longest sleep: a lease that begins wakes nobody here.
	wait = x.cfg.Interval
	if next != Never {
		wait = min(wait, next-now)
	}
	if ok {
		wait = min(wait, left)
	}
	return max(wait, 0), adopted, x.core.Awaited()
}

// terms is what a job may be held under now: for an at-most-one item the lease
// of the core's slice. x.mu is held.
func (x *Executor) terms(j *fsm.Job) func() error {
	leased := x.leased
	if !j.AtMostOne || leased == nil {
		return nil
	}
	return func() error {
		if left, ok := leased(); !ok || left <= 0 {
			return errLeaseOver
		}
		return nil
	}
}

// permit changes what the item's last Acquire is permitted; x.mu is held.
func (x *Executor) permit(k fsm.Key, ask func() error) {
	if p := x.permits[k]; p != nil {
		p.set(ask)
	}
}

// begin starts one effect; x.mu is held.
func (x *Executor) begin(ctx context.Context, wg *sync.WaitGroup, e Effect) {
	do, limit, verb := x.acquire, e.Job.StartTimeout, "acquiring"
	if e.Kind == Release {
		do, limit, verb = x.release, e.Job.StopTimeout, "releasing"
	}
	if limit <= 0 {
		limit = DefaultTimeout
	}
	ctx, end := context.WithCancelCause(ctx)
	x.cancel[e.ID] = end
	if e.Kind == Acquire {
		p := &permit{}
		p.set(x.terms(&e.Job))
		x.permits[e.Job.Key] = p
		ctx = withPermit(ctx, p.may)
	} else {
		x.permit(e.Job.Key, refuse)
		delete(x.permits, e.Job.Key)
	}
	if b, ok := x.cfg.Drivers[e.Job.Action].(Beginner); ok {
		b.Begins(e)
	}
	wg.Go(func() {
		// Not under the lock: a thousand lines take as long as plumbing does.
		x.log(e).Str("reason", e.Job.Reason).Msg(verb)
		started := time.Now()
		ctx, stop := context.WithTimeout(ctx, limit)
		err := x.carryOut(ctx, e, do)
		stop()
		x.finish(e, err, time.Since(started))
	})
}

// carryOut does one effect, between two lines of the ledger.
func (x *Executor) carryOut(ctx context.Context, e Effect, do func(context.Context, fsm.Job) error) error {
	if err := Permitted(ctx); err != nil {
		return err
	}
	if x.cfg.Ledger == nil {
		return do(ctx, e.Job)
	}
	run, err := x.cfg.Ledger.Begin(e)
	if err != nil && e.Kind == Acquire {
		return fmt.Errorf("list it before it is done: %w", err)
	}
	if err != nil {
		x.event(x.cfg.Log.Warn(), e).Err(err).Msg("released without being listed")
	}
	err = do(WithRun(ctx, run), e.Job)
	x.cfg.Ledger.End(e, err)
	return err
}

// finish takes in how an effect ended.
func (x *Executor) finish(e Effect, err error, took time.Duration) {
	x.mu.Lock()
	x.cancel[e.ID](nil)
	delete(x.cancel, e.ID)
	x.core.Done(x.cfg.Clock(), e, err)
	x.mu.Unlock()
	x.Wake()

	past := map[Kind]string{Acquire: "acquired", Release: "released"}[e.Kind]
	switch {
	case err == nil:
		x.log(e).Int64("ms", took.Milliseconds()).Msg(past)
	case withdrawn(err):
		x.log(e).Int64("ms", took.Milliseconds()).Err(err).Msg("acquire cancelled")
	default:
		x.event(x.cfg.Log.Error(), e).Int64("ms", took.Milliseconds()).Err(err).Msg("failed to " + e.Kind.String())
	}
}

func (x *Executor) log(e Effect) *zerolog.Event { return x.event(x.cfg.Log.Info(), e) }

func (x *Executor) event(ev *zerolog.Event, e Effect) *zerolog.Event {
	return ev.Str("system", string(e.Job.System)).Str("item", string(e.Job.Item)).
		Uint64("token", uint64(e.Job.Token))
}

// reporting calls report at each change and each interval while the truth and
// the log differ.
func (x *Executor) reporting(ctx context.Context, report func(context.Context, fsm.Report) error) {
	var last fsm.Report
	var due time.Time // when last is to be sent again
	failing := false
	for ctx.Err() == nil {
		x.mu.Lock()
		r, changed := x.core.Report(), x.change
		x.mu.Unlock()
		var again <-chan time.Time
		if !empty(r) {
			if wait := time.Until(due); wait > 0 && reflect.DeepEqual(r, last) {
				again = time.After(wait)
			} else {
				last, due = r, time.Now().Add(x.cfg.Interval)
				failing = x.send(ctx, report, r, failing)
				continue
			}
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-again:
		}
	}
}

// send makes one call of report and answers whether it failed; only the first
// failure in a row is logged, since the call is repeated each interval.
func (x *Executor) send(ctx context.Context, report func(context.Context, fsm.Report) error, r fsm.Report, failing bool) bool {
	ctx, stop := context.WithTimeout(ctx, reportTimeout)
	defer stop()
	err := report(ctx, r)
	switch {
	case err == nil && failing:
		x.cfg.Log.Info().Msg("reports reach the log again")
	case err != nil && !failing && ctx.Err() == nil:
		x.cfg.Log.Warn().Err(err).Dur("interval", x.cfg.Interval).Msg("report not delivered; trying again each interval")
	}
	return err != nil
}

// errNoDriver is what an item of an action ends with that this build cannot do.
var errNoDriver = errors.New("no driver for this action")

func (x *Executor) acquire(ctx context.Context, job fsm.Job) error {
	if d := x.cfg.Drivers[job.Action]; d != nil {
		return d.Acquire(ctx, job)
	}
	return fmt.Errorf("acquire by %v: %w", job.Action, errNoDriver)
}

func (x *Executor) release(ctx context.Context, job fsm.Job) error {
	if d := x.cfg.Drivers[job.Action]; d != nil {
		return d.Release(ctx, job)
	}
	return fmt.Errorf("release by %v: %w", job.Action, errNoDriver)
}
