package actions

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

// What would hold an item and is not there is no failure: the item goes, nothing is
// reported but what is true, and it is taken again as soon as that is back.
func TestCoreAbsent(t *testing.T) {
	for _, maintained := range []bool{false, true} {
		absent := ""
		c := NewCore(CoreConfig{Self: "n1", Absent: func(*fsm.Job) string { return absent }})
		k := fsm.Key{System: "s", Item: "a"}
		slice := fsm.Slice{At: 12, Epoch: 10, Want: []fsm.Job{{
			Key: k, Token: 11, AtMostOne: true, Action: fsm.ActionClient, Maintained: maintained,
		}}}
		c.Set(slice)
		one := func(kind Kind) Effect {
			t.Helper()
			start, _, _ := c.Step(0, true)
			if len(start) != 1 || start[0].Kind != kind {
				t.Fatalf("begun: %+v, want one %v", start, kind)
			}
			return start[0]
		}
		c.Done(0, one(Acquire), nil)
		c.Step(0, true)
		if r := c.Report(); len(r.Acquired) != 1 || len(r.Failed) != 0 {
			t.Fatalf("report %+v", r)
		}
		absent = "no program"
		c.Recheck()
		c.Done(0, one(Release), nil)
		c.Step(time.Second, true)
		if r := c.Report(); !empty(r) {
			t.Errorf("the log is told %+v", r)
		}
		if st := c.Status(); len(st) != 1 || st[0].Phase != PhaseWaiting || st[0].Why != absent {
			t.Errorf("status %+v", st)
		}
		absent = ""
		c.Recheck()
		c.Done(0, one(Acquire), nil)
		c.Step(time.Second, true)
		if held := c.Held(); len(held) != 1 {
			t.Errorf("held: %v", held)
		}
	}
}

// What could not be let go of waits before it is tried again, unless what kept it is
// known to be gone.
func TestCoreRetries(t *testing.T) {
	c := NewCore(CoreConfig{Self: "n1", RetryFirst: time.Minute})
	k := fsm.Key{System: "s", Item: "a"}
	c.Set(fsm.Slice{At: 12, Epoch: 10, Want: []fsm.Job{{Key: k, Token: 11, Action: fsm.ActionClient}}})
	start, _, _ := c.Step(0, true)
	c.Done(0, start[0], nil)
	c.Set(fsm.Slice{At: 13, Epoch: 10})
	start, _, _ = c.Step(0, true)
	c.Done(0, start[0], errors.New("it has not let go of it"))
	if start, _, next := c.Step(time.Second, true); len(start) != 0 || next != time.Minute {
		t.Fatalf("begun: %v, next at %v", start, next)
	}
	c.Retry([]fsm.Key{k, {System: "s", Item: "nothing"}})
	if start, _, _ = c.Step(2*time.Second, true); len(start) != 1 || start[0].Kind != Release {
		t.Errorf("begun: %v", start)
	}
}

// beginner notes in which order effects begin.
type beginner struct {
	fakeDriver
	order []Kind
}

func (b *beginner) Begins(e Effect) { b.order = append(b.order, e.Kind) }

// Releases begin before the acquires that are decided with them, and a driver that
// wants to know their order is told of it.
func TestExecutorTellsInWhichOrderEffectsBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &beginner{fakeDriver: fakeDriver{up: map[fsm.Key]bool{}}}
		x := New(Config{Core: CoreConfig{Self: "n1"}, Drivers: map[fsm.Action]Driver{fsm.ActionHooks: d}, Log: zerolog.Nop()})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- x.Run(ctx, func(context.Context, fsm.Report) error { return nil }) }()
		set := func(at fsm.Index, jobs ...fsm.Job) {
			x.Set(fsm.Slice{At: at, Epoch: 5, Want: jobs}, func() (time.Duration, bool) { return time.Hour, true })
			synctest.Wait()
		}
		set(10, item("b", 7, true), item("c", 7, true))
		set(11, item("a", 8, true), item("d", 8, true))
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if want := []Kind{Acquire, Acquire, Release, Release, Acquire, Acquire}; !slices.Equal(d.order, want) {
			t.Errorf("begun: %v, want %v", d.order, want)
		}
	})
}
