package guard

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/fsm"
)

const ms = time.Millisecond

var errNotNow = errors.New("not now")

func hook(id uint64, item, run string) ledger.Entry {
	return ledger.Entry{ID: id, Phase: ledger.Up, Run: run, Job: fsm.Job{
		Key: fsm.Key{System: "h", Item: fsm.ItemID(item)}, AtMostOne: true, Action: fsm.ActionHooks, StopTimeout: 300 * ms,
	}}
}

func address(id uint64, item string, gated bool) ledger.Entry {
	return ledger.Entry{ID: id, Phase: ledger.Up, Job: fsm.Job{
		Key: fsm.Key{System: "a", Item: fsm.ItemID(item)}, AtMostOne: true, Gated: gated, Action: fsm.ActionIP,
	}}
}

func watching(entries ...ledger.Entry) *Core {
	c := NewCore(CoreConfig{Heartbeat: 50 * ms, RetryFirst: 100 * ms, RetryMax: 200 * ms})
	for _, e := range entries {
		c.Put(e)
	}
	return c
}

// words tells a row of acts.
func words(acts []Act) string {
	var all []string
	for _, a := range acts {
		w := a.Kind.String()
		for _, e := range a.Entries {
			w += " " + string(e.Job.Item)
		}
		if a.Kind == Goodbye {
			w += "("
			for _, k := range a.Kept {
				w += " " + string(k.Item)
			}
			w += " )"
		}
		all = append(all, w)
	}
	return strings.Join(all, "; ")
}

// When the guard begins to act, and when it does not.
func TestAlarm(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(*Core)
		acts time.Duration // first time at which it does; Never: not
	}{
		{"no lease yet", func(*Core) {}, Never},
		{"an epoch without a lease", func(c *Core) { c.Lease(5, 0) }, Never},
		{"a lease", func(c *Core) { c.Lease(5, 1000*ms) }, 1150 * ms},
		{"a lease of short heartbeats", func(c *Core) { c.SetHeartbeat(10 * ms); c.Lease(5, 1000*ms) }, 1100 * ms},
		{"a lease of long heartbeats", func(c *Core) { c.SetHeartbeat(500 * ms); c.Lease(5, 1000*ms) }, 2500 * ms},
		{"renewed", func(c *Core) { c.Lease(5, 1000*ms); c.Lease(5, 1200*ms) }, 1350 * ms},
		{"shorter now", func(c *Core) { c.Lease(5, 1000*ms); c.Lease(5, 800*ms) }, 950 * ms},
		{"of an older epoch", func(c *Core) { c.Lease(5, 1000*ms); c.Lease(4, 9000*ms) }, 1150 * ms},
		{"the next epoch has none yet", func(c *Core) { c.Lease(5, 1000*ms); c.Lease(6, 0) }, 1150 * ms},
		{"released", func(c *Core) { c.Lease(5, 1000*ms); c.Released() }, Never},
		{"released an earlier one", func(c *Core) { c.Lease(5, 1000*ms); c.Released(); c.Lease(6, 1100*ms) }, 1250 * ms},
		{"releasing", func(c *Core) { c.Lease(5, 1000*ms); c.Releasing(1200 * ms) }, 1200 * ms},
		{"releasing sooner than it must", func(c *Core) { c.Lease(5, 1000*ms); c.Releasing(1010 * ms) }, 1150 * ms},
		{"releasing for ever", func(c *Core) { c.Lease(5, 1000*ms); c.Releasing(time.Hour) }, 3450 * ms}, // + 150 + 300 + 2000
		{"releasing, then released", func(c *Core) { c.Lease(5, 1000*ms); c.Releasing(1200 * ms); c.Released() }, Never},
		{"releasing an earlier one", func(c *Core) { c.Lease(5, 1000*ms); c.Releasing(1200 * ms); c.Lease(5, 1100*ms) }, 1250 * ms},
		{"nothing held", func(c *Core) { c.Lease(5, 1000*ms); c.Drop(1) }, Never},
		{"held at least once", func(c *Core) { e := hook(1, "x", ""); e.Job.AtMostOne = false; c.Put(e); c.Lease(5, 1000*ms) }, Never},
		{"the pipe", func(c *Core) { c.PipeClosed(0) }, 0},
		{"the daemon", func(c *Core) { c.Died(0) }, 0},
		{"left", func(c *Core) { c.Lease(5, 1000*ms); c.Leave() }, Never},
	} {
		c := watching(hook(1, "x", ""))
		tt.do(c)
		if tt.acts > 0 {
			if acts, next := c.Step(min(tt.acts, time.Hour) - 1); len(acts) > 0 || next != tt.acts {
				t.Errorf("%s: too soon: %s, next %v, want %v", tt.name, words(acts), next, tt.acts)
			}
		}
		if tt.acts != Never {
			if acts, _ := c.Step(tt.acts); len(acts) == 0 || c.Why() == "" {
				t.Errorf("%s: nothing at %v", tt.name, tt.acts)
			}
		}
	}
}

func TestLeaveEndsWithTheDaemon(t *testing.T) {
	c := watching(hook(1, "x", ""))
	c.Leave()
	c.PipeClosed(0)
	if acts, _ := c.Step(0); words(acts) != "exit" {
		t.Errorf("got %s", words(acts))
	}
}

// script drives a Core by hand: it does nothing by itself, and answers each act
// only when told to.
type script struct {
	t   *testing.T
	c   *Core
	now time.Duration
	out map[Kind]Act // not answered yet
}

func (s *script) step(want string) {
	s.t.Helper()
	acts, _ := s.c.Step(s.now)
	for _, a := range acts {
		s.out[a.Kind] = a
	}
	if got := words(acts); got != want {
		s.t.Errorf("at %v: %q, want %q", s.now, got, want)
	}
}

func (s *script) done(k Kind, err error) {
	s.t.Helper()
	a, ok := s.out[k]
	if !ok {
		s.t.Errorf("at %v: no %s to answer", s.now, k)
	}
	delete(s.out, k)
	s.c.Done(s.now, a, err)
}

// The whole order, for a daemon that stands still and is stuck in the kernel.
func TestOrder(t *testing.T) {
	s := &script{t: t, now: 2000 * ms, out: map[Kind]Act{}, c: watching(hook(1, "run", "r1"), hook(2, "idle", ""), address(3, "gated", true), address(4, "bare", false))}
	s.c.Lease(5, 1000*ms)
	s.step("kill; shut")
	s.done(Kill, nil)
	s.done(Shut, nil)
	s.now += 99 * ms
	s.step("")
	s.now += ms // it has been waited for long enough
	s.step("remove gated bare; end-runs run; down idle")
	s.done(Remove, nil)
	// What is bare may land again as long as the daemon is not gone.
	s.step("goodbye( bare idle run )")
	s.done(Down, nil)
	s.step("goodbye( bare run )")
	s.done(EndRuns, nil)
	s.step("down run")
	s.done(Down, nil)
	s.c.Acked(s.now, 2)
	s.step("")
	// The last thread of it has ended, and so has the child that held its pipe.
	s.c.Died(s.now)
	s.step("")
	s.c.PipeClosed(s.now)
	s.step("remove gated bare; end-runs run")
	s.done(Remove, nil)
	s.step("goodbye( run )")
	s.done(EndRuns, nil)
	s.step("down run")
	s.done(Down, errNotNow)
	s.step("unlock") // the next daemon may see to it
	s.c.Acked(s.now, 1)
	s.now += 50 * ms
	s.step("look")
	s.done(Look, nil)
	s.now += 50 * ms
	s.step("lock")
	s.done(Lock, nil)
	s.step("end-runs run")
	s.done(EndRuns, errNotNow) // it may still be at work: `down` is not enough
	s.step("down run")
	s.done(Down, nil)
	s.step("unlock")
	s.now += 200 * ms
	s.step("lock")
	s.done(Lock, nil)
	s.step("end-runs run")
	s.done(EndRuns, nil)
	s.step("down run")
	s.done(Down, nil)
	s.step("goodbye( ); unlock")
	s.now += 50 * ms
	s.step("goodbye( ); look")
	s.done(Look, nil)
	s.c.Acked(s.now, 0)
	s.step("exit")
	s.step("")
}

// With nothing gated the others may know at once; with the gate open and the
// addresses there, they may not.
func TestGoodbyeWaitsForTheGate(t *testing.T) {
	for _, shut := range []error{nil, errNotNow} {
		s := &script{t: t, out: map[Kind]Act{}, c: watching(address(1, "x", true))}
		s.c.Lease(5, 1000*ms)
		s.c.Died(0)
		s.c.PipeClosed(0)
		s.step("shut; remove x")
		s.done(Remove, errNotNow)
		s.step("")
		s.done(Shut, shut)
		if shut == nil {
			s.step("goodbye( x ); unlock")
			continue
		}
		s.step("unlock")
		s.now += 50 * ms
		s.step("shut; look")
		s.done(Look, nil)
		s.done(Shut, nil)
		s.step("goodbye( x )")
	}
}

func TestNewDaemonEndsTheGuard(t *testing.T) {
	for _, k := range []Kind{Look, Lock} {
		s := &script{t: t, out: map[Kind]Act{}, c: watching(hook(1, "x", ""))}
		s.c.Lease(5, 1000*ms)
		s.c.Died(0)
		s.c.PipeClosed(0)
		s.step("shut; down x; goodbye( x )")
		s.done(Shut, nil)
		s.done(Down, errNotNow)
		s.step("unlock")
		s.now = 50 * ms
		s.step("goodbye( x ); look")
		if k == Lock {
			s.done(Look, nil)
			s.now = 100 * ms
			s.step("lock; goodbye( x )")
		}
		s.done(k, fmt.Errorf("try: %w", ErrTaken))
		s.step("exit")
	}
}

// What the daemon still did before the signal hit it is undone too.
// A goodbye that only says sooner what the silence says too ends some time.
func TestGoodbyeToNobody(t *testing.T) {
	for _, hook := range []bool{false, true} {
		c := NewCore(CoreConfig{Heartbeat: 50 * time.Millisecond})
		c.Lease(3, time.Second)
		job := fsm.Job{Key: fsm.Key{System: "s", Item: "i"}, AtMostOne: true, Gated: true, Action: fsm.ActionIP, Addrs: []string{"192.0.2.1/32"}}
		if hook {
			job.Gated, job.Action, job.Addrs, job.Down = false, fsm.ActionHooks, nil, "down"
		}
		c.Put(ledger.Entry{ID: 1, Phase: ledger.Up, Job: job})
		c.Died(0)
		c.PipeClosed(0)
		over, said := false, 0
		for now := time.Duration(0); now < 2*goodbyeFor && !over; {
			acts, next := c.Step(now)
			for _, a := range acts {
				over = over || a.Kind == Exit
				if a.Kind == Goodbye {
					said++
				}
				c.Done(now, a, nil)
			}
			if len(acts) == 0 {
				now = max(next, now+1)
			}
		}
		if over == hook || said < 100 {
			t.Errorf("hook %v: over %v after %d goodbyes", hook, over, said)
		}
	}
}

func TestLastWords(t *testing.T) {
	s := &script{t: t, out: map[Kind]Act{}, c: watching(hook(1, "x", ""))}
	s.c.Lease(5, 1000*ms)
	s.now = 1150 * ms
	s.step("kill; shut")
	s.done(Kill, nil)
	s.done(Shut, nil)
	s.c.Put(hook(2, "late", "r")) // was in the pipe
	s.c.Drop(1)
	s.c.Died(s.now)
	s.c.PipeClosed(s.now)
	s.step("end-runs late; goodbye( late )")
	s.c.Put(hook(2, "late", "r2"))
	s.done(EndRuns, nil)
	s.step("end-runs late")
}

// Two ways of bringing one item down never run at once: their hooks name the item
// alone.
func TestOneDownAnItem(t *testing.T) {
	s := &script{t: t, out: map[Kind]Act{}, c: watching(hook(1, "x", ""), hook(2, "x", ""))}
	s.c.Died(0)
	s.c.PipeClosed(0)
	s.step("shut; down x")
	s.done(Shut, nil)
	s.step("")
	s.done(Down, nil)
	s.step("down x")
	s.done(Down, nil)
	s.step("unlock; exit") // without an epoch there is nothing to say
}

// A daemon that could not be killed lives: nothing may be said for it.
func TestNoGoodbyeForTheLiving(t *testing.T) {
	s := &script{t: t, now: 2000 * ms, out: map[Kind]Act{}, c: watching(address(1, "x", false))}
	s.c.Lease(5, 1000*ms)
	s.step("kill; shut")
	s.done(Kill, errNotNow)
	s.now += 100 * ms
	s.step("kill; remove x")
	s.done(Remove, nil)
	s.step("")
	s.done(Kill, nil)
	s.step("goodbye( x )")
}
