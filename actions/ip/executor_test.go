package ip

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
)

// under runs a world's driver under a real executor.
type under struct {
	x       *actions.Executor
	left    atomic.Int64 // of the lease
	mu      sync.Mutex
	reports []fsm.Report
}

func newUnder(w *world) (u *under, stop func()) {
	u = &under{}
	u.left.Store(int64(time.Hour))
	u.x = actions.New(actions.Config{
		Core:    actions.CoreConfig{Self: "n1", Machine: "m1", Unfit: w.d.Unfit},
		Drivers: map[fsm.Action]actions.Driver{fsm.ActionIP: w.d},
		Log:     zerolog.Nop(),
	})
	w.d.cfg.Recheck = u.x.Recheck
	end := w.run()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- u.x.Run(ctx, func(_ context.Context, r fsm.Report) error {
			u.mu.Lock()
			defer u.mu.Unlock()
			u.reports = append(u.reports, r)
			return nil
		})
	}()
	return u, func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		end()
	}
}

func (u *under) want(at fsm.Index, jobs ...fsm.Job) {
	u.x.Set(fsm.Slice{At: at, Epoch: 5, Want: jobs}, func() (time.Duration, bool) {
		left := time.Duration(u.left.Load())
		return left, left > 0
	})
}

// said is whether any report since the last call names a failure with these words.
func (u *under) said(words string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	found := false
	for _, r := range u.reports {
		for _, f := range r.Failed {
			found = found || strings.Contains(f.Err, words)
		}
	}
	u.reports = nil
	return found
}

func TestUnderTheExecutor(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		u, stop := newUnder(w)
		defer stop()
		job := asking("a", "10.0.0.5/32")
		u.want(10, job)
		time.Sleep(20 * time.Millisecond)
		if got := w.d.Stats().Items; got != 1 {
			t.Fatalf("%d items are held", got)
		}

		// Its link loses the carrier: it goes, and that is reported, at once.
		w.others(func() { w.links[1].Carrier = false })
		time.Sleep(20 * time.Millisecond)
		if got := w.d.Stats().Items; got != 0 || !u.said("eth0 has no carrier") {
			t.Fatalf("%d items are held without carrier", got)
		}
		w.others(func() { w.links[1].Carrier = true })
		time.Sleep(20 * time.Millisecond)
		if got := w.d.Stats().Items; got != 1 {
			t.Fatalf("%d items are held", got)
		}

		// A stranger answers after plumbing.
		w.others(func() { w.answers[netip.MustParseAddr("10.0.0.5")] = strangeMAC })
		time.Sleep(200 * time.Millisecond) // what was plumbed last is watched with what comes within 100 ms
		if got := w.d.Stats().Items; got != 0 || !u.said("10.0.0.5 is answered by 02:00:00:00:66:66") {
			t.Fatalf("%d items are held beside a stranger", got)
		}
		w.others(func() { clear(w.answers) })
		time.Sleep(12 * time.Second)
		if got := w.d.Stats().Items; got != 1 {
			t.Fatalf("%d items are held", got)
		}

		// Another token: announced again, and held all along.
		w.took()
		job.Token = 8
		u.want(11, job)
		time.Sleep(20 * time.Millisecond)
		wantEvents(t, w, "announce 10.0.0.5")

		// The lease ends.
		u.left.Store(0)
		u.x.Wake()
		time.Sleep(20 * time.Millisecond)
		wantEvents(t, w, "remove 10.0.0.5 eth0", "ungate 10.0.0.5", "destroy 10.0.0.5")
		time.Sleep(time.Minute)
		wantEvents(t, w)
	})
}
