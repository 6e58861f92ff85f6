package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

const (
	// fenceFirst is the pause after a fence hook's first failure; it doubles.
	fenceFirst = time.Second
	// fenceMax is the longest pause: somebody may be mending the BMC.
	fenceMax = 30 * time.Second
)

// fencer has machines switched off whose holds nobody has confirmed to be gone.
// Only the leader's node does so: it is a survivor, and there is but one.
type fencer struct {
	run  func(context.Context, fsm.Fencing) error // the hook
	tell func(context.Context, fsm.Fencing) error // the log; nil: it knows
	// delay is how long the machine is given to let go by itself, asked once.
	delay func(fsm.Fencing) time.Duration
	log   zerolog.Logger

	mu    sync.Mutex
	tried map[victim]*attempt
	ended chan struct{} // capacity 1
	wg    sync.WaitGroup
}

// victim is one machine of a member. Systems that want it off take turns.
type victim struct {
	member  fsm.MemberID
	machine string
}

// attempt is what is known of fencing one machine.
type attempt struct {
	wanted []fsm.Fencing
	end    context.CancelFunc // of the hook that runs; nil: none does
	fails  int
	err    error
	again  time.Time
}

func newFencer(run, tell func(context.Context, fsm.Fencing) error, delay func(fsm.Fencing) time.Duration, log zerolog.Logger) *fencer {
	return &fencer{run: run, tell: tell, delay: delay, log: log, tried: map[victim]*attempt{}, ended: make(chan struct{}, 1)}
}

// step starts what is due of what is wanted, ends what is wanted no longer, and
// says when to look again; zero: when something changes.
func (f *fencer) step(ctx context.Context, wanted []fsm.Fencing, now time.Time) (next time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	groups := map[victim][]fsm.Fencing{}
	for _, w := range wanted {
		v := victim{w.Member, w.Host.Machine}
		groups[v] = append(groups[v], w)
	}
	for v, a := range f.tried {
		// It has come back, or somebody else has cleared it: a machine that answers
		// must not be switched off a moment later.
		if len(groups[v]) == 0 {
			if a.end != nil {
				a.end()
			}
			delete(f.tried, v)
		}
	}
	for v, group := range groups {
		a := f.tried[v]
		if a == nil {
			a = &attempt{again: now.Add(f.delay(group[0]))}
			f.tried[v] = a
		}
		a.wanted = group
		switch {
		case a.end != nil:
		case !a.again.After(now):
			f.start(ctx, a, group[a.fails%len(group)])
		case next.IsZero() || a.again.Before(next):
			next = a.again
		}
	}
	return next
}

// start runs one hook; f.mu is held.
func (f *fencer) start(ctx context.Context, a *attempt, w fsm.Fencing) {
	hook, end := context.WithCancel(ctx)
	a.end = end
	f.line(f.log.Warn(), w).Int("try", a.fails+1).Dur("fence_timeout", w.Timeout).Msg("fencing: running the hook that switches it off")
	f.wg.Go(func() {
		defer end()
		began := time.Now()
		timed, stop := context.WithTimeout(hook, w.Timeout)
		err := f.run(timed, w)
		stop()
		if err == nil {
			f.line(f.log.Info(), w).Dur("took", time.Since(began)).Msg("fenced: its hook says that it is off")
			if err = f.tell(hook, w); err != nil {
				err = fmt.Errorf("have it agreed on that %s is off: %w", w.Member, err)
			}
		}
		f.over(a, w, err, hook.Err() != nil)
	})
}

// over takes in how a hook ended.
func (f *fencer) over(a *attempt, w fsm.Fencing, err error, cancelled bool) {
	f.mu.Lock()
	a.end = nil
	if err != nil && !cancelled {
		a.err = err
		pause := fenceMax
		if a.fails < 5 { // 1, 2, 4, 8, 16 s
			pause = fenceFirst << a.fails
		}
		a.fails++
		a.again = time.Now().Add(pause)
		f.line(f.log.Error(), w).Err(err).Int("fails", a.fails).Dur("again_in", pause).Msg("fencing failed: what it may hold stays where it is")
	} else {
		// The log will show it soon; a hook that is run once more does no harm.
		a.again = time.Now().Add(fenceFirst)
	}
	f.mu.Unlock()
	poke(f.ended)
}

func (f *fencer) line(ev *zerolog.Event, w fsm.Fencing) *zerolog.Event {
	return ev.Str("member", string(w.Member)).Uint64("epoch", uint64(w.UpTo)).Str("machine", w.Host.Machine).
		Str("system", string(w.System)).Str("hook", w.Command)
}

// alarms says what is being fenced, and what cannot be.
func (f *fencer) alarms() []api.Alarm {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []api.Alarm
	for v, a := range f.tried {
		if a.err == nil {
			out = append(out, api.Alarm{
				Severity: api.Warning, What: fmt.Sprintf("%s is being fenced: it may still hold %s", v.member, held(a.wanted)),
				Do: "nothing: the takeover follows when its fence hook says that it is off",
			})
			continue
		}
		out = append(out, api.Alarm{
			Severity: api.Critical,
			What:     fmt.Sprintf("%s cannot be fenced (%d tries): %v; it may still hold %s", v.member, a.fails, a.err, held(a.wanted)),
			Do: fmt.Sprintf("mend the fence hook, it is tried again by itself; or see to it that %s is off and say so: flip item release SYSTEM ITEM --force",
				v.member),
		})
	}
	slices.SortFunc(out, func(a, b api.Alarm) int { return cmp.Compare(a.What, b.What) })
	return out
}

// held names a few of the items that wait for a fence.
func held(wanted []fsm.Fencing) string {
	const few = 3
	count, names := 0, ""
	for _, w := range wanted {
		for _, item := range w.Items {
			if count++; count <= few {
				if names != "" {
					names += ", "
				}
				names += string(w.System) + "/" + string(item)
			}
		}
	}
	if count > few {
		names += fmt.Sprintf(" and %d more", count-few)
	}
	return names
}

// fence runs fence hooks for as long as this node leads.
func (d *daemon) fence(ctx context.Context) error {
	defer d.fencer.wg.Wait()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		state, at := d.node.View()
		var wanted []fsm.Fencing
		if leader, _ := d.node.Leader(); leader == d.self.Name {
			wanted = state.Fencings()
		}
		wait := time.Second // who leads may change without a change of the State
		if next := d.fencer.step(ctx, wanted, time.Now()); !next.IsZero() {
			wait = min(wait, time.Until(next))
		}
		timer.Reset(max(wait, 0))
		select {
		case <-ctx.Done():
			return nil
		case <-d.node.Changed(at):
		case <-d.fencer.ended:
		case <-timer.C:
		}
	}
}

// fenced has the log clear what a machine that is off may have held.
func (d *daemon) fenced(ctx context.Context, w fsm.Fencing) error {
	res, err := d.node.Propose(ctx, fsm.Fence{Member: w.Member, Host: w.Host, UpTo: w.UpTo})
	if err == nil && !res.Applied {
		err = errors.New(res.Why)
	}
	return err
}

// fenceDelay spares a machine whose daemon or guard has said goodbye, and so still
// runs `down` for what it named: for as long as that may take.
func (d *daemon) fenceDelay(w fsm.Fencing) time.Duration {
	state, _ := d.node.View()
	if m, _ := state.Member(w.Member); !m.Goodbye || m.Host.Machine != w.Host.Machine {
		return 0
	}
	return state.Spec().Systems[w.System].StopTimeout + actions.DefaultGrace
}
