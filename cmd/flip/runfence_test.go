package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

// fencing is a fencer whose hook does as the test says.
type fencing struct {
	*fencer
	hook  func(context.Context, fsm.Fencing) error
	calls []string
	told  []fsm.Epoch
	spare time.Duration
}

func newFencing() *fencing {
	f := &fencing{}
	f.fencer = newFencer(func(ctx context.Context, w fsm.Fencing) error {
		f.calls = append(f.calls, w.Command)
		return f.hook(ctx, w)
	}, func(_ context.Context, w fsm.Fencing) error {
		f.told = append(f.told, w.UpTo)
		return nil
	}, func(fsm.Fencing) time.Duration { return f.spare }, zerolog.Nop())
	return f
}

// look is what the loop does when it wakes; it answers with how long it sleeps.
func (f *fencing) look(t *testing.T, wanted ...fsm.Fencing) time.Duration {
	next := f.step(t.Context(), wanted, time.Now())
	synctest.Wait()
	if next.IsZero() {
		return 0
	}
	return time.Until(next)
}

func off(system, command string) fsm.Fencing {
	return fsm.Fencing{
		System: fsm.SystemID(system), Member: "n2", Host: fsm.Host{Machine: "m2"}, UpTo: 7,
		Command: command, Timeout: 5 * time.Second, Items: []fsm.ItemID{"a", "b"},
	}
}

func TestFenceIsAgreedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFencing()
		f.hook = func(context.Context, fsm.Fencing) error { return nil }
		f.look(t, off("disks", "fence"))
		if !slices.Equal(f.calls, []string{"fence"}) || !slices.Equal(f.told, []fsm.Epoch{7}) {
			t.Errorf("called %v, told %v", f.calls, f.told)
		}
		f.look(t) // the log shows it
		if len(f.alarms()) != 0 {
			t.Error(f.alarms())
		}
	})
}

func TestFenceIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFencing()
		f.hook = func(context.Context, fsm.Fencing) error { return errors.New("no BMC") }
		wanted := []fsm.Fencing{off("disks", "first"), off("jobs", "second")}
		for i, pause := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			f.look(t, wanted...)
			if len(f.calls) != i+1 || len(f.told) != 0 {
				t.Fatalf("try %d: called %v, told %v", i, f.calls, f.told)
			}
			if wait := f.look(t, wanted...); wait != pause*time.Second || len(f.calls) != i+1 {
				t.Errorf("after try %d: waits %v, called %v", i, wait, f.calls)
			}
			time.Sleep(pause * time.Second)
		}
		if !slices.Equal(f.calls[:3], []string{"first", "second", "first"}) {
			t.Errorf("systems do not take turns: %v", f.calls)
		}
		a := f.alarms()
		if len(a) != 1 || !strings.Contains(a[0].What, "no BMC") || !strings.Contains(a[0].What, "disks/a, disks/b, jobs/a and 1 more") {
			t.Errorf("%+v", a)
		}
	})
}

func TestFenceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFencing()
		f.hook = func(ctx context.Context, _ fsm.Fencing) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		f.look(t, off("disks", "fence"))
		if a := f.alarms(); len(a) != 1 || !strings.Contains(a[0].What, "is being fenced") {
			t.Errorf("%+v", a)
		}
		f.look(t) // the machine is back
		f.wg.Wait()
		if len(f.told) != 0 || len(f.alarms()) != 0 {
			t.Errorf("told %v, alarms %v", f.told, f.alarms())
		}

		f.look(t, off("disks", "fence"))
		time.Sleep(5 * time.Second) // fence_timeout
		synctest.Wait()
		if a := f.alarms(); len(a) != 1 || !strings.Contains(a[0].What, "deadline exceeded") {
			t.Errorf("%+v", a)
		}
	})
}

func TestFenceSparesWhoLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFencing()
		f.spare = time.Minute
		f.hook = func(context.Context, fsm.Fencing) error { return nil }
		if wait := f.look(t, off("disks", "fence")); wait != time.Minute || len(f.calls) != 0 {
			t.Fatalf("waits %v, called %v", wait, f.calls)
		}
		time.Sleep(time.Minute)
		f.look(t, off("disks", "fence"))
		if len(f.calls) != 1 {
			t.Errorf("called %v", f.calls)
		}
	})
}
