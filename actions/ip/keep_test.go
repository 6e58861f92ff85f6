package ip

import (
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
)

// adds are the times of the additions of an address.
func (w *world) timesOf(kind string, addr string) *[]time.Duration {
	out := &[]time.Duration{}
	want := netip.MustParseAddr(addr)
	start := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.noted
	w.noted = func(k string, a netip.Addr) {
		if before != nil {
			before(k, a)
		}
		if k == kind && a == want {
			*out = append(*out, time.Since(start))
		}
	}
	return out
}

func (w *world) read(times *[]time.Duration) []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(*times)
}

func TestGatedIsRefreshedLeaseOrNot(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		l := &lease{}
		times := w.timesOf("add", "10.0.0.5")
		must(t, w.d.Acquire(l.ctx(), gatedJob("a", "10.0.0.5/32")))
		l.over.Store(true)
		time.Sleep(61 * time.Second)
		want := []time.Duration{0, 20 * time.Second, 40 * time.Second, 60 * time.Second}
		if got := w.read(times); !slices.Equal(got, want) {
			t.Errorf("added at %v, want %v", got, want)
		}
	})
}

func TestUngatedIsRefreshedWithItsLease(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		l := &lease{}
		times := w.timesOf("add", "10.0.0.5")
		job := gatedJob("a", "10.0.0.5/32")
		job.Gated = false
		w.ttl.Store(int64(3 * time.Second))
		must(t, w.d.Acquire(l.ctx(), job))
		time.Sleep(2500 * time.Millisecond)
		l.over.Store(true)
		time.Sleep(time.Minute)
		want := []time.Duration{0, time.Second, 2 * time.Second}
		if got := w.read(times); !slices.Equal(got, want) {
			t.Errorf("added at %v, want %v", got, want)
		}
		w.ttl.Store(int64(50 * time.Millisecond))
		l.over.Store(false)
		time.Sleep(2 * time.Second)
		before := len(w.read(times))
		time.Sleep(time.Second)
		if n := len(w.read(times)) - before; n != 5 {
			t.Errorf("a short lease is refreshed %d times a second, want 5", n)
		}
	})
}

func TestAnnouncedOnSchedule(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		times := w.timesOf("announce", "10.0.0.5")
		job := gatedJob("a", "10.0.0.5/32")
		must(t, w.d.Acquire(t.Context(), job))
		time.Sleep(65 * time.Second)
		ms := time.Millisecond
		want := []time.Duration{0, 100 * ms, 300 * ms, 1100 * ms, 2000 * ms, 4000 * ms, 64000 * ms}
		if got := w.read(times); !slices.Equal(got, want) {
			t.Errorf("announced at %v, want %v", got, want)
		}
		// Held on under another token: the schedule begins anew, at once.
		before := len(w.read(times))
		began := time.Since(w.start)
		job.Token = 8
		w.d.Adopted(job)
		time.Sleep(350 * ms)
		got := w.read(times)[before:]
		for i := range got {
			got[i] -= began
		}
		if !slices.Equal(got, want[:3]) {
			t.Errorf("announced under the new token at %v, want %v", got, want[:3])
		}
		if st := w.d.Status(); len(st) != 1 || st[0].Token != 8 || st[0].Rounds != 10 {
			t.Errorf("%+v", st)
		}
	})
}

func TestRepeatsArePaced(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				must(t, w.d.Acquire(t.Context(), gatedJob(fmt.Sprint(i), fmt.Sprintf("10.0.%d.%d/32", 1+i/250, 1+i%250))))
			})
		}
		wg.Wait()
		w.mu.Lock()
		first := len(w.sent)
		w.mu.Unlock()
		if first != 1000 {
			t.Fatalf("%d frames in the first rounds", first)
		}
		time.Sleep(4 * time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		// Two frames an address: 500 a second, and 50 at once.
		if n := 2 * (len(w.sent) - first); n > 2000+2*50 || n < 1900 {
			t.Errorf("%d frames in 4 s", n)
		}
		rounds := map[netip.Addr]int{}
		for _, f := range w.sent {
			rounds[f.addr]++
		}
		for a, n := range rounds {
			if n > 3 {
				t.Errorf("%s was announced %d times while others wait", a, n)
			}
		}
	})
}

func TestNoAnnouncementWithoutPermitOrAfterRelease(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		l := &lease{}
		must(t, w.d.Acquire(l.ctx(), gatedJob("a", "10.0.0.5/32")))
		must(t, w.d.Acquire(t.Context(), gatedJob("b", "10.0.0.6/32")))
		l.over.Store(true)
		must(t, w.d.Release(t.Context(), gatedJob("b", "10.0.0.6/32")))
		before := len(w.sent)
		time.Sleep(10 * time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.sent) != before {
			t.Errorf("%d frames too many", len(w.sent)-before)
		}
	})
}

// A release stops a round that is being sent, and waits for the frame that is on
// its way.
func TestReleaseWaitsForTheLastFrame(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		job := gatedJob("a")
		for i := range 10 {
			job.Addrs = append(job.Addrs, fmt.Sprintf("10.0.0.%d/32", 10+i))
		}
		must(t, w.d.Acquire(t.Context(), job))
		w.others(func() { w.slowFrame = 10 * time.Millisecond })
		time.Sleep(125 * time.Millisecond) // into the second round
		began := time.Now()
		must(t, w.d.Release(t.Context(), job))
		if took := time.Since(began); took != 5*time.Millisecond {
			t.Errorf("the release took %v", took)
		}
		before := len(w.sent)
		time.Sleep(time.Second)
		w.others(func() {
			if before != 13 || len(w.sent) != before {
				t.Errorf("%d frames before its end, %d after it", before, len(w.sent)-before)
			}
		})
	})
}

func TestFailedFirstRoundIsRepeatedSoon(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		w.mute = errors.New("the gate is shut")
		must(t, w.d.Acquire(t.Context(), gatedJob("a", "10.0.0.5/32")))
		time.Sleep(900 * time.Millisecond)
		w.others(func() { w.mute = nil })
		time.Sleep(250 * time.Millisecond)
		w.others(func() {
			if len(w.sent) == 0 {
				t.Error("not announced")
			}
		})
		if n := w.log.count("cannot announce"); n != 1 {
			t.Errorf("%d lines", n)
		}
	})
}

func TestAdoptedUnderAnotherGuarantee(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		job := gatedJob("a", "10.0.0.5/32")
		job.AtMostOne, job.Gated = false, false
		must(t, w.d.Acquire(t.Context(), job))
		w.took()
		job.AtMostOne, job.Token = true, 8
		w.d.Adopted(job)
		time.Sleep(30 * time.Millisecond)
		got := strings.Join(w.took(), "; ")
		if !strings.Contains(got, "add 10.0.0.5 eth0 f5 2s") {
			t.Errorf("%s", got)
		}
		if got := w.d.Stats(); got.Repairs != 0 {
			t.Errorf("%+v", got)
		}
	})
}

func TestSweepAndWhatIsLeft(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		old := func(addr string, m netif.Mark) netif.Address {
			p := netip.MustParsePrefix(addr)
			w.inGate[p.Addr()] = m == netif.AtMostOne
			return netif.Address{Link: 2, Prefix: p, Mark: m, Valid: 30 * time.Second}
		}
		w.addrs = append(w.addrs, old("10.0.0.5/32", netif.AtMostOne), old("10.0.0.6/32", netif.AtLeastOne),
			old("10.0.0.7/32", netif.AtLeastOne), old("10.0.0.8/32", netif.AtLeastOne))
		defer w.run()()
		must(t, w.d.Sweep())
		synctest.Wait()
		w.others(func() { slices.Sort(w.events) })
		wantEvents(t, w, "add 10.0.0.6 eth0 f6 1m0s", "add 10.0.0.7 eth0 f6 1m0s", "add 10.0.0.8 eth0 f6 1m0s",
			"destroy 10.0.0.5", "remove 10.0.0.5 eth0", "ungate 10.0.0.5")
		if got := w.d.Stats(); got.Swept != 1 || len(w.d.Status()) != 3 || !w.d.Status()[0].Left {
			t.Errorf("%+v %+v", got, w.d.Status())
		}
		// They are kept alive while nobody says whose they are.
		time.Sleep(21 * time.Second)
		wantEvents(t, w, "add 10.0.0.6 eth0 f6 1m0s", "add 10.0.0.7 eth0 f6 1m0s", "add 10.0.0.8 eth0 f6 1m0s")
		job := gatedJob("a", "10.0.0.6/32")
		job.AtMostOne, job.Gated = false, false
		must(t, w.d.Acquire(t.Context(), job))
		job.Addrs = []string{"10.0.0.7/32"}
		job.Item = "b"
		must(t, w.d.Release(t.Context(), job))
		must(t, w.d.Disown(func(a netip.Addr) bool { return a == netip.MustParseAddr("10.0.0.6") }))
		if n := len(w.Addresses()); n != 4 || len(w.d.Status()) != 1 {
			t.Errorf("%v, %+v", w.Addresses(), w.d.Status())
		}
		if w.log.count("no item names") != 1 {
			t.Error("not logged")
		}
	})
}

// What somebody moved before an acquire on top failed is found, and does not stay
// behind outside the gate.
func TestUndoFindsWhatWasMoved(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		job := gatedJob("a", "10.0.0.5/32")
		must(t, w.d.Acquire(t.Context(), job))
		w.took()
		w.others(func() {
			w.addrs[3].Link, w.addrs[3].Mark = 3, 0
			w.fail["add 10.0.0.5"] = errors.New("broken")
		})
		if err := w.d.Acquire(t.Context(), job); err == nil {
			t.Fatal("acquired")
		}
		wantEvents(t, w, "gate 10.0.0.5", "remove 10.0.0.5 eth1", "remove 10.0.0.5 eth0", "ungate 10.0.0.5")
	})
}

func TestNewMACIsAnnounced(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		must(t, w.d.Acquire(t.Context(), gatedJob("a", "10.0.0.5/32")))
		time.Sleep(10 * time.Second)
		w.took()
		w.others(func() { w.links[1].MAC = mac("02:00:00:00:00:99") })
		time.Sleep(150 * time.Millisecond)
		wantEvents(t, w, "announce 10.0.0.5", "announce 10.0.0.5")
	})
}

// What can never be announced does not flood the link with what can.
func TestFirstRoundsThatFailAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		w.mute = errors.New("forbidden")
		must(t, w.d.Acquire(t.Context(), gatedJob("a", "10.0.0.5/32")))
		time.Sleep(time.Minute)
		if n := w.d.Stats().AnnounceErrors; n > 20 {
			t.Errorf("tried %d times in a minute", n)
		}
	})
}

func TestSweepFails(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.addrs = append(w.addrs, netif.Address{Link: 2, Prefix: netip.MustParsePrefix("10.0.0.5/32"), Mark: netif.AtMostOne})
		w.inGate[netip.MustParseAddr("10.0.0.5")] = true
		w.fail["remove 10.0.0.5"] = netif.ErrForbidden
		if err := w.d.Sweep(); !errors.Is(err, netif.ErrForbidden) {
			t.Errorf("%v", err)
		}
		if len(w.inGate) != 1 {
			t.Error("out of the gate while plumbed")
		}
	})
}

// An item acquired on top of itself by another address leaves nothing behind.
func TestAcquiredOnTop(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		must(t, w.d.Acquire(t.Context(), gatedJob("a", "10.0.0.5/32", "10.0.0.6/32")))
		w.took()
		job := gatedJob("a", "10.0.0.6/32", "10.0.0.7/32")
		must(t, w.d.Acquire(t.Context(), job))
		wantEvents(t, w, "gate 10.0.0.6", "gate 10.0.0.7", "add 10.0.0.6 eth0 f5 1m0s", "add 10.0.0.7 eth0 f5 1m0s",
			"remove 10.0.0.5 eth0", "ungate 10.0.0.5", "announce 10.0.0.6", "announce 10.0.0.7")
		job.Gated = false
		must(t, w.d.Acquire(t.Context(), job))
		if n := len(w.inGate); n != 0 {
			t.Errorf("%d addresses in the gate", n)
		}
	})
}
