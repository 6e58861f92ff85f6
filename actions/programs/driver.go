package programs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
)

// killWait is how long a killed program is waited for: a thread of it may be in the
// kernel.
const killWait = 5 * time.Second

// Process is a program as seen from outside. It stands for one run of it: its number
// may come to name another one, this does not.
type Process interface {
	ID() ProcessID
	// Wait returns nil when the program has ended, or why nobody knows.
	Wait(context.Context) error
	Kill() error
	Close() error
}

// Config is what a Driver is made of.
type Config struct {
	Self     fsm.MemberID
	Register *Register
	// Lease is the daemon's.
	Lease func() (left time.Duration, ok bool)
	// Slot is what has been agreed of a slot by now: who has it next, and why.
	Slot func(fsm.Key) (fsm.Slot, bool)
	// Changed is told, outside the Driver's locks, when Absent or Systems may answer
	// otherwise. It may not block.
	Changed func()
	// Freed is told, outside the Driver's locks, of what a program has no more for which
	// a Release has waited in vain: the next one need not wait. It may not block.
	Freed func([]fsm.Key)
	Log   zerolog.Logger
}

// Driver is the actions.Driver of systems whose action is a program. Run must run.
type Driver struct {
	cfg Config

	mu      sync.Mutex
	systems map[fsm.SystemID]*system
	waiting []*holder     // to be watched by Run
	wake    chan struct{} // capacity 1: there is somebody to watch
	notice  bool          // Changed is to be told
	freed   []fsm.Key     // Freed is to be told of
}

var (
	_ actions.Driver   = (*Driver)(nil)
	_ actions.Adopter  = (*Driver)(nil)
	_ actions.Beginner = (*Driver)(nil)
)

// system is what is known of one system.
type system struct {
	id     fsm.SystemID
	holder *holder // nil: nobody has claimed it
	slots  map[fsm.Key]*slot
	// coming are releases that have begun and of which no event is there yet: what
	// is to be taken is not told before them.
	coming map[fsm.Key]bool
	behind []*event // acquires that wait for these
}

// phase is how far a program is with a slot.
type phase uint8

const (
	nowhere   phase = iota // it does not have it
	maybe                  // it got it from a former daemon: it has not said yet whether it has it
	acquiring              // it was told to take it, or is to be told
	held
	releasing // it was told to let go of it, or is to be told
)

// slot is what a program has of one slot.
type slot struct {
	phase phase
	token fsm.Token
	// atMostOne is of token, as the program was last told.
	atMostOne bool
	given     uint64 // the event by which it took it, or is to
	event     *event // not acknowledged; nil: nothing is awaited
	// believed: the Executor counts it as held. lost: wrongly so.
	believed, lost bool
	overdue        bool          // a Release has waited for it in vain
	settled        chan struct{} // closed and replaced when phase changes
}

// free notes that a program has a slot no more.
func (d *Driver) free(k fsm.Key, s *slot) {
	s.lost = s.believed
	if s.overdue {
		d.freed = append(d.freed, k)
	}
	s.overdue = false
	s.turn(nowhere)
}

func (s *slot) turn(p phase) {
	s.phase = p
	close(s.settled)
	s.settled = make(chan struct{})
}

// New makes a Driver.
func New(cfg Config) *Driver {
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	if cfg.Freed == nil {
		cfg.Freed = func([]fsm.Key) {}
	}
	return &Driver{cfg: cfg, systems: map[fsm.SystemID]*system{}, wake: make(chan struct{}, 1)}
}

// unlock ends a change, and tells of it.
func (d *Driver) unlock() {
	notice, freed := d.notice, d.freed
	d.notice, d.freed = false, nil
	d.mu.Unlock()
	if notice {
		d.cfg.Changed()
	}
	if len(freed) > 0 {
		d.cfg.Freed(freed)
	}
}

func (d *Driver) system(id fsm.SystemID) *system {
	s := d.systems[id]
	if s == nil {
		s = &system{id: id, slots: map[fsm.Key]*slot{}, coming: map[fsm.Key]bool{}}
		d.systems[id] = s
	}
	return s
}

func (y *system) slot(k fsm.Key) *slot {
	s := y.slots[k]
	if s == nil {
		s = &slot{settled: make(chan struct{})}
		y.slots[k] = s
	}
	return s
}

// Begins implements actions.Beginner: releases are told before the acquires that
// begin with them or after them.
func (d *Driver) Begins(e actions.Effect) {
	if e.Kind != actions.Release {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.system(e.Job.System).coming[e.Job.Key] = true
}

// come takes note that a release has been told of, or needs no telling.
func (d *Driver) come(y *system, k fsm.Key) {
	delete(y.coming, k)
	if len(y.coming) > 0 || len(y.behind) == 0 {
		return
	}
	behind := y.behind
	y.behind = nil
	if y.holder != nil {
		y.holder.tell(behind...)
	}
}

// errNobody: see Absent, which keeps an acquire from being begun.
var errNobody = errors.New("no program on this node has claimed the system")

// Acquire implements actions.Driver: it returns when the program has acknowledged.
func (d *Driver) Acquire(ctx context.Context, job fsm.Job) error {
	d.mu.Lock()
	defer d.unlock()
	y := d.system(job.System)
	s := y.slot(job.Key)
	for told := false; ; {
		h := y.holder
		switch {
		case h == nil:
			return errNobody
		case s.phase == held:
			s.believed, s.lost = true, false
			d.renew(y, s, &job)
			return nil
		case s.phase == nowhere && told:
			return errors.New("the program has let go of it by itself")
		case s.phase == nowhere:
			if err := actions.Permitted(ctx); err != nil {
				return err
			}
			told = true
			s.token, s.atMostOne, s.given, s.event = job.Token, job.AtMostOne, 0, d.acquireEvent(&job, s)
			s.turn(acquiring)
			if len(y.coming) > 0 {
				y.behind = append(y.behind, s.event)
			} else {
				h.tell(s.event)
			}
		}
		if err := d.wait(ctx, s, h); err != nil {
			return fmt.Errorf("%s has not taken it%s: %w", h, inTime(err, "start_timeout"), err)
		}
		if y.holder != h {
			return fmt.Errorf("%s has ended", h)
		}
	}
}

// inTime names the key that a deadline comes from.
func inTime(err error, key string) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return " within its " + key
	}
	return ""
}

// wait waits for a slot to turn, without the lock.
func (d *Driver) wait(ctx context.Context, s *slot, h *holder) error {
	settled, news := s.settled, h.over
	d.unlock()
	defer d.mu.Lock()
	select {
	case <-settled:
		return nil
	case <-news:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Release implements actions.Driver: it returns when the program has acknowledged,
// has ended, or never had it. At the end of its time the item is still with the
// program, unless that is to be killed for it.
func (d *Driver) Release(ctx context.Context, job fsm.Job) error {
	d.mu.Lock()
	defer d.unlock()
	y := d.system(job.System)
	s := y.slot(job.Key)
	s.overdue = false
	defer d.come(y, job.Key)
	for {
		h := y.holder
		if h == nil && s.phase == maybe { // nobody lives who could have it
			s.turn(nowhere)
		}
		switch {
		case s.phase == nowhere:
			y.dropped(job.Key)
			return nil
		case s.phase == acquiring && s.event != nil && y.retract(s.event):
			s.event = nil
			s.turn(nowhere)
			continue
		case s.phase == acquiring, s.phase == held:
			s.event = d.releaseEvent(&job, s)
			s.turn(releasing)
			h.tell(s.event)
		}
		d.come(y, job.Key)
		if err := d.wait(ctx, s, h); err != nil {
			s.overdue = true
			return d.overdue(&job, h, err)
		}
	}
}

// overdue is what becomes of a program that has not let go in its time. The lock is
// held, and given up meanwhile.
func (d *Driver) overdue(job *fsm.Job, h *holder, err error) error {
	err = fmt.Errorf("%s has not let go of it%s: %w", h, inTime(err, "stop_timeout"), err)
	if !errors.Is(err, context.DeadlineExceeded) || !job.KillOnTimeout || h == nil {
		return err
	}
	d.unlock()
	defer d.mu.Lock()
	d.cfg.Log.Error().Str("system", string(job.System)).Str("item", string(job.Item)).Stringer("program", h).Msg("the program has not let go within stop_timeout: killing it")
	if killed := h.proc.Kill(); killed != nil {
		return errors.Join(err, fmt.Errorf("kill it: %w", killed))
	}
	timer := time.NewTimer(killWait)
	defer timer.Stop()
	select {
	case <-h.over:
		return nil
	case <-timer.C:
		return fmt.Errorf("%w; nor does SIGKILL end it", err)
	}
}

// dropped forgets a slot that nobody has.
func (y *system) dropped(k fsm.Key) { delete(y.slots, k) }

// retract takes back an event that the program has not been sent.
func (y *system) retract(e *event) bool {
	if i := slices.Index(y.behind, e); i >= 0 {
		y.behind = slices.Delete(y.behind, i, i+1)
		return true
	}
	return y.holder != nil && y.holder.retract(e)
}

// Adopted implements actions.Adopter: what is held counts under a newer token.
func (d *Driver) Adopted(job fsm.Job) {
	d.mu.Lock()
	defer d.unlock()
	y := d.systems[job.System]
	if y == nil || y.slots[job.Key] == nil {
		return
	}
	d.renew(y, y.slots[job.Key], &job)
}

// renew tells the program of a newer token of what it has.
func (d *Driver) renew(y *system, s *slot, job *fsm.Job) {
	if job.Token <= s.token {
		return
	}
	s.token, s.atMostOne = job.Token, job.AtMostOne
	if s.phase != held || y.holder == nil {
		return
	}
	if s.event != nil && y.holder.retract(s.event) {
		s.event = nil
	}
	s.event = d.tokenEvent(job, s)
	y.holder.tell(s.event)
}

// Absent says why nobody can be told about a job now, or why what the Executor counts
// as held is not; "" if there is no reason.
func (d *Driver) Absent(job *fsm.Job) string {
	if job.Action != fsm.ActionClient {
		return ""
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	y := d.systems[job.System]
	if y == nil || y.holder == nil {
		return errNobody.Error()
	}
	if s := y.slots[job.Key]; s != nil && s.lost {
		return "the program that had it has let go of it"
	}
	return ""
}

// Systems are those that a program has claimed, sorted.
func (d *Driver) Systems() []fsm.SystemID {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []fsm.SystemID
	for id, y := range d.systems {
		if y.holder != nil {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}
