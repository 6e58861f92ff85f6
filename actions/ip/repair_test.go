package ip

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/actions/netif"
)

func TestRepair(t *testing.T) {
	at := netif.Address{Link: 2, Prefix: netip.MustParsePrefix("10.0.0.5/32"), Mark: netif.AtMostOne, Valid: time.Minute}
	for name, c := range map[string]struct {
		do     func(w *world)
		said   string
		events string
	}{
		"removed": {func(w *world) { w.unset(at) }, "it was removed", "add 10.0.0.5 eth0 f5 1m0s"},
		"made permanent": {func(w *world) {
			a := at
			a.Valid = 0
			w.set(a)
		}, "made permanent", "add 10.0.0.5 eth0 f5 1m0s"},
		"lost its mark": {func(w *world) {
			a := at
			a.Mark = 0
			w.set(a)
		}, "lost its mark", "add 10.0.0.5 eth0 f5 1m0s"},
		"made long": {func(w *world) {
			a := at
			a.Valid = time.Hour
			w.set(a)
		}, "made 1h", "add 10.0.0.5 eth0 f5 1m0s"},
		"moved": {func(w *world) {
			w.unset(at)
			a := at
			a.Link, a.Mark, a.Valid = 3, 0, 0
			w.set(a)
		}, "moved", "add 10.0.0.5 eth0 f5 1m0s; remove 10.0.0.5 eth1"},
		"twice": {func(w *world) {
			a := at
			a.Link, a.Mark, a.Valid = 3, 0, 0
			w.set(a)
		}, "plumbed as 10.0.0.5/32 on eth1", "remove 10.0.0.5 eth1"},
		"made anew link": {func(w *world) {
			w.unset(at)
			w.links[1].Index = 9
			w.addrs[0].Link, w.addrs[1].Link = 9, 9
		}, "it was removed", "add 10.0.0.5 eth0 f5 1m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				defer w.run()()
				must(t, w.d.Acquire(t.Context(), gatedJob("a", "10.0.0.5/32")))
				time.Sleep(5 * time.Second)
				w.took()
				w.others(func() { c.do(w) })
				time.Sleep(10 * time.Millisecond)
				got := strings.Join(slices.DeleteFunc(w.took(), func(e string) bool { return strings.Contains(e, "-call") }), "; ")
				if want := c.events + "; announce 10.0.0.5"; got != want {
					t.Errorf("%s, want %s", got, want)
				}
				if w.log.count(c.said) != 1 {
					t.Errorf("the log does not say %q: %s", c.said, w.log.buf.String())
				}
				if got := w.d.Stats().Repairs; got != 1 {
					t.Errorf("%d repairs counted", got)
				}
				time.Sleep(5 * time.Second)
				if got := w.d.Stats().Repairs; got != 1 {
					t.Errorf("repaired again and again: %d", got)
				}
			})
		})
	}
}

func TestNoRepairWithoutPermit(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		l := &lease{}
		must(t, w.d.Acquire(l.ctx(), gatedJob("a", "10.0.0.5/32")))
		l.over.Store(true)
		w.took()
		w.others(func() { w.addrs = w.addrs[:3] })
		time.Sleep(5 * time.Second)
		wantEvents(t, w)
	})
}

// A program that never gives up fills neither the log nor a core.
func TestFightIsLoggedOnceASecond(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		must(t, w.d.Acquire(t.Context(), gatedJob("a", "10.0.0.5/32")))
		for range 1000 {
			w.others(func() { w.addrs = w.addrs[:3] })
			time.Sleep(10 * time.Millisecond)
		}
		if n := w.log.count("somebody altered"); n < 9 || n > 12 {
			t.Errorf("%d lines in 10 s", n)
		}
		if n := w.d.Stats().Repairs; n < 900 {
			t.Errorf("%d repairs", n)
		}
	})
}

func TestRepairThatFailsIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		must(t, w.d.Acquire(t.Context(), gatedJob("a", "10.0.0.5/32")))
		w.others(func() { w.addrs, w.fail["add 10.0.0.5"] = w.addrs[:3], errors.New("broken") })
		time.Sleep(2 * time.Second)
		w.mu.Lock()
		delete(w.fail, "add 10.0.0.5")
		w.mu.Unlock()
		time.Sleep(1100 * time.Millisecond)
		if got := w.d.Stats(); got.Repairs != 1 || got.RepairErrors == 0 || len(w.Addresses()) != 4 {
			t.Errorf("%+v", got)
		}
	})
}
