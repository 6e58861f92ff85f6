package actions

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

// A hook whose effect was cancelled, or lost its permit, before it began is not
// started at all: its first instructions may already bring the item up.
func TestHooksStartNothingThatIsNotPermitted(t *testing.T) {
	dir := t.TempDir()
	mark := filepath.Join(dir, "ran")
	hook := filepath.Join(dir, "hook")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\ntrap '' TERM\n: > "+mark+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	h := NewHooks(HooksConfig{Self: "n1", Grace: 100 * time.Millisecond, Log: zerolog.Nop()})
	job := fsm.Job{Key: fsm.Key{System: "s", Item: "x"}, Alive: hook, Down: hook, AtMostOne: true}
	cancelled, end := context.WithCancelCause(t.Context())
	end(errUnwanted)
	for _, tc := range []struct {
		name string
		ctx  context.Context
		want error
	}{
		{"cancelled", cancelled, errUnwanted},
		{"the lease is over", withPermit(t.Context(), func() error { return errLeaseOver }), errLeaseOver},
		{"permitted", withPermit(t.Context(), func() error { return nil }), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range 20 { // the hook may be killed before it gets anywhere
				if err := h.Acquire(tc.ctx, job); !errors.Is(err, tc.want) {
					t.Errorf("got %v, want %v", err, tc.want)
				}
			}
			if _, err := os.Stat(mark); (err == nil) != (tc.want == nil) {
				t.Errorf("the hook's mark: %v", err)
			}
		})
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

// The lease is asked again where the effect begins, not only where it was
// decided: a goroutine may get its turn late. What has not begun costs a `down`,
// since it is told from what was cancelled on its way by nobody, but no failure.
func TestExecutorAsksTheLeaseBeforeItActs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.end()
		var asked atomic.Int32
		b.Set(fsm.Slice{At: 10, Epoch: 5, Want: []fsm.Job{item("a", 7, true), item("b", 7, false)}}, func() (time.Duration, bool) {
			return time.Hour, asked.Add(1) == 1 // it ends right after the decision
		})
		synctest.Wait()
		time.Sleep(time.Second)
		if calls := b.driver.took(); len(calls) != 2 || !slices.Contains(calls, "0s acquire b@7") || !slices.Contains(calls, "0s release a@7") {
			t.Errorf("calls %q", calls)
		}
		st := b.Status()
		if len(st) != 2 || st[0].Phase != PhaseWaiting || st[0].Fails != 0 || st[0].Why != "no lease" {
			t.Errorf("%+v", st)
		}
	})
}
