package ip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flip-ha/flip/actions/netif"
	"github.com/flip-ha/flip/fsm"
)

func TestGateBeforePlumbingAndAfterRemoval(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		job := gatedJob("a", "10.0.0.5/32", "10.1.0.5/32")
		must(t, w.d.Acquire(t.Context(), job))
		wantEvents(t, w,
			"gate 10.0.0.5", "gate 10.1.0.5",
			"add 10.0.0.5 eth0 f5 1m0s", "add 10.1.0.5 eth1 f5 1m0s",
			"announce 10.0.0.5", "announce 10.1.0.5")
		must(t, w.d.Release(t.Context(), job))
		wantEvents(t, w,
			"remove 10.0.0.5 eth0", "remove 10.1.0.5 eth1",
			"ungate 10.0.0.5", "ungate 10.1.0.5")
		must(t, w.d.Release(t.Context(), job)) // idempotent
	})
}

func TestUngatedAndAtLeastOneLifetimes(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		job := gatedJob("a", "10.0.0.5/32")
		job.Gated = false
		must(t, w.d.Acquire(t.Context(), job))
		wantEvents(t, w, "add 10.0.0.5 eth0 f5 2s", "announce 10.0.0.5")
		job = gatedJob("b", "10.0.0.6/24")
		job.Gated, job.AtMostOne = false, false
		must(t, w.d.Acquire(t.Context(), job))
		wantEvents(t, w, "add 10.0.0.6 eth0 f6 1m0s", "announce 10.0.0.6")
	})
}

func TestGroupMovesAsOne(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.fail["add 10.1.0.5"] = errors.New("broken")
		err := w.d.Acquire(t.Context(), gatedJob("a", "10.0.0.5/32", "10.1.0.5/32"))
		if err == nil || !strings.Contains(err.Error(), "broken") {
			t.Fatalf("acquired half a group: %v", err)
		}
		wantEvents(t, w, "gate 10.0.0.5", "gate 10.1.0.5", "add 10.0.0.5 eth0 f5 1m0s",
			"remove 10.0.0.5 eth0", "remove 10.1.0.5 eth1", "ungate 10.0.0.5", "ungate 10.1.0.5")
		if got := w.d.Stats(); got.Items != 0 || got.Addresses != 0 {
			t.Errorf("something is held: %+v", got)
		}
	})
}

func TestGateRefuses(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.fail["gate"] = errors.New("no such table")
		if err := w.d.Acquire(t.Context(), gatedJob("a", "10.0.0.5/32")); err == nil {
			t.Fatal("plumbed an address outside the gate")
		}
		wantEvents(t, w, "ungate 10.0.0.5")
		w.d.cfg.Gate = nil
		if err := w.d.Acquire(t.Context(), gatedJob("a", "10.0.0.5/32")); !errors.Is(err, errNoGate) {
			t.Fatalf("a gated job without a gate: %v", err)
		}
		wantEvents(t, w)
	})
}

// The lease ends between two steps: nothing more is done, and what was done is
// undone.
func TestPermittedBeforeEachStep(t *testing.T) {
	for steps := range 4 {
		bubble(t, func(t *testing.T, w *world) {
			l := &lease{}
			asked := 0
			l.asked = func() {
				if asked++; asked > steps {
					l.over.Store(true)
				}
			}
			err := w.d.Acquire(l.ctx(), gatedJob("a", "10.0.0.5/32"))
			w.mu.Lock()
			defer w.mu.Unlock()
			plumbed := strings.Contains(strings.Join(w.events, "\n"), "add 10.0.0.5")
			announced := len(w.sent) > 0
			switch {
			case announced:
				t.Errorf("announced without a lease after %d questions", steps)
			case steps < 3 && (err == nil || plumbed || len(w.inGate) != 0):
				t.Errorf("after %d questions: %v, plumbed %v, gate %v", steps, err, plumbed, w.inGate)
			case steps == 3 && (err != nil || !plumbed):
				t.Errorf("the lease ended before the announcement only: %v", err)
			}
		})
	}
}

func TestHundredsBecomeOneBatch(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.slow = time.Millisecond
		const n = 300
		all := func(do func(context.Context, fsm.Job) error) time.Duration {
			began := time.Now()
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					job := gatedJob(fmt.Sprint(i), fmt.Sprintf("10.0.%d.%d/32", 1+i/250, 1+i%250))
					if err := do(t.Context(), job); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			return time.Since(began)
		}
		// The first one goes alone, at once; what came in meanwhile is one batch.
		if took := all(w.d.Acquire); took > 4*time.Millisecond {
			t.Errorf("acquiring %d took %v", n, took)
		}
		events := w.took()
		for _, call := range []string{"gate-call", "add-call", "announce-call"} {
			got := slices.DeleteFunc(slices.Clone(events), func(e string) bool { return !strings.HasPrefix(e, call) })
			if len(got) > 2 {
				t.Errorf("%d calls: %v", len(got), got)
			}
		}
		if got := w.d.Stats(); got.Items != n || got.Rounds != n || got.Batches > 2 {
			t.Errorf("%+v", got)
		}
		if took := all(w.d.Release); took > 4*time.Millisecond {
			t.Errorf("releasing %d took %v", n, took)
		}
		if got := w.d.Stats(); got.Items != 0 || got.Releases != n || len(w.inGate) != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// A release does not wait for the rest of a large and slow acquire.
func TestReleaseBetweenChunks(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		urgent := gatedJob("urgent", "10.0.9.9/32")
		must(t, w.d.Acquire(t.Context(), urgent))
		w.mu.Lock()
		w.slow = 100 * time.Millisecond
		w.mu.Unlock()
		var addrs []string
		for i := range 3 {
			addrs = append(addrs, fmt.Sprintf("2001:db8::%x/128", i+16))
		}
		var wg sync.WaitGroup
		for i := range 200 { // 600 addresses: ten chunks of a tenth of a second
			job := gatedJob(fmt.Sprintf("six%03d", i))
			for _, a := range addrs {
				job.Addrs = append(job.Addrs, strings.Replace(a, "::", fmt.Sprintf("::%x:", i+1), 1))
			}
			wg.Go(func() { must(t, w.d.Acquire(t.Context(), job)) })
		}
		time.Sleep(450 * time.Millisecond)
		began := time.Now()
		must(t, w.d.Release(t.Context(), urgent))
		if took := time.Since(began); took > 400*time.Millisecond {
			t.Errorf("the release waited %v", took)
		}
		wg.Wait()
	})
}

func TestCancelledBeforeItsTurn(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.slow = 10 * time.Millisecond
		go func() { _ = w.d.Acquire(context.Background(), gatedJob("a", "10.0.0.5/32")) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := w.d.Acquire(ctx, gatedJob("b", "10.0.0.6/32")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		time.Sleep(time.Second)
		if got := w.d.Stats().Items; got != 1 {
			t.Errorf("%d items are held", got)
		}
	})
}

func TestTakesOverWhatOthersPlumbed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.addrs = append(w.addrs,
			netif.Address{Link: 2, Prefix: netip.MustParsePrefix("10.0.0.5/32")},
			netif.Address{Link: 3, Prefix: netip.MustParsePrefix("10.0.0.5/32")},
			netif.Address{Link: 2, Prefix: netip.MustParsePrefix("10.0.0.5/16")})
		must(t, w.d.Acquire(t.Context(), gatedJob("a", "10.0.0.5/32")))
		wantEvents(t, w, "gate 10.0.0.5", "add 10.0.0.5 eth0 f5 1m0s", "remove 10.0.0.5 eth1", "remove 10.0.0.5 eth0", "announce 10.0.0.5")
		if got := w.d.Stats().TakenOver; got != 3 || w.log.count("taken over") != 3 {
			t.Errorf("taken over %d", got)
		}
	})
}

func TestReleaseRemovesWhereverItIs(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.addrs = append(w.addrs, netif.Address{Link: 3, Prefix: netip.MustParsePrefix("10.0.0.5/32")})
		must(t, w.d.Release(t.Context(), gatedJob("a", "10.0.0.5/32")))
		wantEvents(t, w, "remove 10.0.0.5 eth1", "ungate 10.0.0.5")
		if w.log.count("not plumbed") != 1 {
			t.Error("no warning")
		}
	})
}

// The host's own address is never taken away: that would cut it off.
func TestHostsOwnAddressIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.links = append(w.links, netif.Link{Index: 4, Name: "eth2", MAC: mac("02:00:00:00:00:12"), Up: true, Carrier: true})
		job := gatedJob("a", "10.0.0.1/32")
		job.Interface = "eth0"
		if err := w.d.Acquire(t.Context(), job); err == nil || !strings.Contains(err.Error(), "this host's own") {
			t.Errorf("acquire: %v", err)
		}
		if err := w.d.Release(t.Context(), job); err == nil || !strings.Contains(err.Error(), "this host's own") {
			t.Errorf("release: %v", err)
		}
		wantEvents(t, w)
	})
}

func TestRemovalFails(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		job := gatedJob("a", "10.0.0.5/32")
		must(t, w.d.Acquire(t.Context(), job))
		w.fail["remove 10.0.0.5"] = errors.New("busy")
		if err := w.d.Release(t.Context(), job); err == nil {
			t.Fatal("released what is still plumbed")
		}
		if !w.inGate[netip.MustParseAddr("10.0.0.5")] {
			t.Error("let a plumbed address out of the gate")
		}
		delete(w.fail, "remove 10.0.0.5")
		must(t, w.d.Release(t.Context(), job))
		if len(w.inGate) != 0 {
			t.Error("still in the gate")
		}
	})
}

// A gate that cannot let an address out holds no release up; it is tried again.
func TestGateKeepsAnAddress(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		job := gatedJob("a", "10.0.0.5/32")
		must(t, w.d.Acquire(t.Context(), job))
		w.others(func() { w.fail["ungate"] = errors.New("busy") })
		must(t, w.d.Release(t.Context(), job))
		w.others(func() { delete(w.fail, "ungate") })
		time.Sleep(20 * time.Second)
		w.others(func() {
			if len(w.inGate) != 0 {
				t.Errorf("still in the gate: %v", w.inGate)
			}
		})
	})
}

func TestErrorsSayWhatToDo(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, c := range []struct {
			job  fsm.Job
			want string
		}{
			{gatedJob("a"), "no address"},
			{gatedJob("a", "10.0.0.x"), "10.0.0.x"},
			{gatedJob("a", "192.0.2.1/32"), "name an interface"},
			{func() fsm.Job { j := gatedJob("a", "10.0.0.5/32"); j.Interface = "eth9"; return j }(), "eth9"},
		} {
			if err := w.d.Acquire(t.Context(), c.job); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v: %v, want %q", c.job.Addrs, err, c.want)
			}
		}
		must(t, w.d.Acquire(t.Context(), gatedJob("a", "10.0.0.5/32")))
		if err := w.d.Acquire(t.Context(), gatedJob("b", "10.0.0.5/32")); err == nil || !strings.Contains(err.Error(), "held here as a") {
			t.Errorf("two items with one address: %v", err)
		}
		must(t, w.d.Release(t.Context(), gatedJob("b", "10.0.0.5/32")))
		if got := w.d.Stats().Items; got != 1 {
			t.Error("the release of one item took another's address")
		}
	})
}
