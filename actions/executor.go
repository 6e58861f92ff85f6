package actions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

// Driver makes one item true on the machine, or untrue. Both calls are
// idempotent, ask Permitted before each of their steps, end soon after their
// context does, and may be made for different slots at the same time. One that is also an io.Closer is closed at the end of
// Run.
type Driver interface {
	Acquire(ctx context.Context, job fsm.Job) error
	Release(ctx context.Context, job fsm.Job) error
}

// Adopter is a Driver that wants to know of what is held on under a newer
// decision, for which no effect is needed: another token, another epoch, or other
// settings of how addresses are announced and watched. It is told outside the Executor's
// locks, one call at a time and before the item's next effect; it may not block.
// The permit of the item's Acquire (Permit) follows the newer decision.
type Adopter interface {
	Adopted(job fsm.Job)
}

// Awaiter is a Driver that wants to know of a job that will be acquired as soon
// as others have let go of it, if nothing else changes. It is told like an
// Adopter, once for each token, and may not block.
type Awaiter interface {
	Awaited(job fsm.Job)
}

// Beginner is a Driver that wants to know in which order its effects begin, which run
// in goroutines of their own: it is told of each right before that, under the
// Executor's lock. It may not block, nor call the Executor.
type Beginner interface {
	Begins(e Effect)
}

const (
	// MinInterval between two sendings of the same report: heartbeats may come
	// every 10 ms, and a report is a command in the log.
	MinInterval = 100 * time.Millisecond
	// DefaultTimeout bounds an effect whose job names none.
	DefaultTimeout = 30 * time.Second
	// reportTimeout bounds one call of report, so that a leader that does not
	// answer does not keep newer reports back.
	reportTimeout = 5 * time.Second
)

// Config is what an Executor is made of.
type Config struct {
	Core     CoreConfig
	Drivers  map[fsm.Action]Driver
	Interval time.Duration        // between two sendings of the same report; at least MinInterval
	Ledger   Ledger               // nil: nobody outlives this process
	Clock    func() time.Duration // this machine's monotonic clock, the lease's; nil: since New
	// Changed is told, outside the Executor's locks, after each Step: Clear, Held
	// and Status may answer otherwise. It may not block; nil: nobody is told.
	Changed func()
	Log     zerolog.Logger
}

// Executor makes the machine hold what it is told and reports what is true. It
// is a Core with goroutines around it; its methods may be called from any.
type Executor struct {
	cfg  Config
	wake chan struct{} // capacity 1: the loop looks again

	inputs sync.Mutex // guards what Set and the others leave for the loop
	slice  *fsm.Slice
	lease  func() (time.Duration, bool)
	clean  []fsm.Job
	adopt  []fsm.Job
	sweep  []fsm.Job
	// recheck: what is unfit is to be asked anew.
	recheck bool
	retry   []fsm.Key

	mu     sync.Mutex // guards the rest; taken before inputs
	core   *Core
	leased func() (time.Duration, bool) // the lease of the core's slice
	cancel map[uint64]context.CancelCauseFunc
	// permits are those of the last Acquire of each item that may be up.
	permits map[fsm.Key]*permit
	change  chan struct{} // closed and replaced when the core may have changed
}

// errUnwanted ends an acquire that the newest decision does not want.
var errUnwanted = errors.New("no longer wanted")

// New makes an Executor; Run starts it.
func New(cfg Config) *Executor {
	if cfg.Interval < MinInterval {
		cfg.Interval = MinInterval
	}
	if cfg.Clock == nil {
		started := time.Now()
		cfg.Clock = func() time.Duration { return time.Since(started) }
	}
	x := &Executor{
		cfg: cfg, wake: make(chan struct{}, 1), change: make(chan struct{}),
		cancel: map[uint64]context.CancelCauseFunc{}, permits: map[fsm.Key]*permit{},
	}
	if cfg.Core.Note == nil {
		cfg.Core.Note = func(k fsm.Key, t fsm.Token, text string) {
			x.cfg.Log.Info().Str("system", string(k.System)).Str("item", string(k.Item)).
				Uint64("token", uint64(t)).Msg(text)
		}
	}
	x.core = NewCore(cfg.Core)
	return x
}

// Set takes the whole desired slice and the lease to hold it under; the newest
// wins. It never blocks and keeps the slice, which nobody may change any more.
// The lease is asked before each step; it must be that of the slice's epoch:
// not running once another epoch has begun.
func (x *Executor) Set(sl fsm.Slice, lease func() (left time.Duration, ok bool)) {
	x.inputs.Lock()
	x.slice, x.lease = &sl, lease
	x.inputs.Unlock()
	x.Wake()
}

// Clean asks for one release of each of these jobs unless it is wanted by then.
func (x *Executor) Clean(jobs []fsm.Job) {
	x.inputs.Lock()
	x.clean = append(x.clean, jobs...)
	x.inputs.Unlock()
	x.Wake()
}

// Adopt says what a former process has left up and can be held on, before the
// first Set: see Core.Adopt.
func (x *Executor) Adopt(jobs []fsm.Job) {
	x.inputs.Lock()
	x.adopt = append(x.adopt, jobs...)
	x.inputs.Unlock()
	x.Wake()
}

// Sweep says what else a former process has left, before the first Set: see
// Core.Sweep. Its hooks must have ended.
func (x *Executor) Sweep(jobs []fsm.Job) {
	x.inputs.Lock()
	x.sweep = append(x.sweep, jobs...)
	x.inputs.Unlock()
	x.Wake()
}

// Wake makes the executor look again: the lease may have begun or ended.
func (x *Executor) Wake() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// Recheck makes the executor ask anew what is unfit (CoreConfig.Unfit). It takes
// no lock that is held while Unfit is called, and never blocks.
func (x *Executor) Recheck() {
	x.inputs.Lock()
	x.recheck = true
	x.inputs.Unlock()
	x.Wake()
}

// Retry has what could not be let go of tried again at once: what kept it may be gone.
// It never blocks.
func (x *Executor) Retry(keys []fsm.Key) {
	x.inputs.Lock()
	x.retry = append(x.retry, keys...)
	x.inputs.Unlock()
	x.Wake()
}

// Clear says whether the kernel gate may open, and for which epoch: see
// Core.Clear.
func (x *Executor) Clear() (fsm.Epoch, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.takeInputs()
	return x.core.Clear()
}

// Kept are the at-most-one items not known to be released, and the epoch for
// which that is complete: 0 while nothing can be said, see Core.Kept.
func (x *Executor) Kept() ([]fsm.Key, fsm.Epoch) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.takeInputs()
	return x.core.Kept()
}

// Held are the jobs that are held now.
func (x *Executor) Held() []fsm.Job {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.core.Held()
}

// Status is what is true of every slot that matters here.
func (x *Executor) Status() []SlotStatus {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.takeInputs()
	return x.core.Status()
}

// ReleaseAll lets go of every at-most-one item, and with atLeastOneToo of all
// others, for good: nothing is acquired any more. It returns when all are
// released, or with an error that names those that are not when ctx ends. Run
// must be running.
func (x *Executor) ReleaseAll(ctx context.Context, atLeastOneToo bool) error {
	x.mu.Lock()
	x.takeInputs()
	x.core.Stop(atLeastOneToo)
	x.mu.Unlock()
	x.Wake()
	for {
		x.mu.Lock()
		left, changed := x.core.left(atLeastOneToo), x.change
		x.mu.Unlock()
		if len(left) == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("release all: %w; not released: %s", context.Cause(ctx), strings.Join(left, ", "))
		}
	}
}

// Run works until ctx ends, then ends what is still in flight and returns when
// all it started has ended. What is held stays held. Run is called once.
//
// report is called with what the log does not know, one call at a time: at each
// change, and again each interval until the slice shows it. It returns an error
// if the report did not reach the log.
func (x *Executor) Run(ctx context.Context, report func(context.Context, fsm.Report) error) error {
	var wg sync.WaitGroup
	wg.Go(func() { x.reporting(ctx, report) })
	x.stepping(ctx, &wg)
	wg.Wait()
	var errs []error
	for action, d := range x.cfg.Drivers {
		if c, ok := d.(io.Closer); ok {
			if err := c.Close(); err != nil {
				errs = append(errs, fmt.Errorf("close the driver of %v: %w", action, err))
			}
		}
	}
	return errors.Join(errs...)
}

// takeInputs hands the core what was left for it; x.mu is held.
func (x *Executor) takeInputs() {
	x.inputs.Lock()
	slice, lease, clean, recheck := x.slice, x.lease, x.clean, x.recheck
	adopt, sweep, retry := x.adopt, x.sweep, x.retry
	x.slice, x.clean, x.recheck, x.adopt, x.sweep, x.retry = nil, nil, false, nil, nil, nil
	x.inputs.Unlock()
	if adopt != nil {
		x.core.Adopt(adopt)
	}
	if sweep != nil {
		x.core.Sweep(sweep)
	}
	if slice != nil && x.core.Set(*slice) {
		x.leased = lease
	}
	if clean != nil {
		x.core.Clean(clean)
	}
	if recheck {
		x.core.Recheck()
	}
	x.core.Retry(retry)
}
