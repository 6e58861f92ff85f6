package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mono"
	"github.com/flip-ha/flip/e2e/probe"
	"github.com/flip-ha/flip/e2e/watch"
)

// The instruments' own test: two hosts with one address, plumbed by hand, are
// seen; also when the second holder is cut off from the first.
func TestNetWatcherSeesTwoHolders(t *testing.T) {
	n := newNetwork(t, "n1", "n2", "n3")
	four, six := netip.MustParseAddr("10.77.1.9"), netip.MustParseAddr("fd77::1:9")
	plumb := func(h *lab.Host, verb string) {
		t.Helper()
		err := h.Space.IP(fmt.Sprintf("addr %s %s/32 dev svc0", verb, four), fmt.Sprintf("addr %s %s/128 dev svc0", verb, six))
		if err != nil {
			t.Fatal(err)
		}
	}
	n1, n2 := n.Host("n1"), n.Host("n2")
	for _, tc := range []struct {
		name string
		both time.Duration
		cut  bool
		want bool
	}{
		{name: "one after the other"},
		{name: "both for 150 ms", both: 150 * time.Millisecond, want: true},
		{name: "both, one cut off", both: 150 * time.Millisecond, cut: true, want: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n.t = t
			w := n.watch(four, six)
			plumb(n1, "add")
			n.echoed(5*time.Second, four, n1)
			waitFor(100 * time.Millisecond)
			if tc.cut {
				n.cut(n.CutSilently, lab.Both, n1)
			}
			if tc.both == 0 {
				plumb(n1, "del")
			}
			plumb(n2, "add")
			waitFor(max(tc.both, 100*time.Millisecond))
			if tc.both > 0 {
				plumb(n1, "del")
			}
			waitFor(50 * time.Millisecond)
			plumb(n2, "del")
			n.heal(n1)
			r := w.stop(n)
			r.sees(t, four, six)
			seen := map[netip.Addr]time.Duration{}
			for _, o := range watch.Overlaps(r.Runs) {
				seen[o.Addr] += o.During.Len()
			}
			if got := len(seen); got != map[bool]int{true: 2}[tc.want] {
				t.Errorf("overlaps of %d addresses: %v", got, r.overlaps())
			}
			for addr, d := range seen {
				if d < tc.both/2 || d > 20*tc.both {
					t.Errorf("%s had two holders for %v, seen for %v", addr, tc.both, d)
				}
			}
			t.Logf("%v", r.overlaps())
		})
	}
	n.t = t
}

// waitFor lets time pass in which nothing is to happen: there is no event.
func waitFor(d time.Duration) { <-time.After(d) }

// Release switched off: hooks whose `down` succeeds and does nothing. Flip
// believes them, and the watcher sees two holders: what keeps the other tests
// from seeing any is flip's release, not a blind watcher.
func TestNetWatcherSeesHooksThatLie(t *testing.T) {
	n := newNetwork(t, "flip", "flip1", "flip2")
	up, err := os.ReadFile(filepath.Join("..", "deploy", "examples", "hooks", "ip_up"))
	if err != nil {
		t.Fatal(err)
	}
	hooks := filepath.Join(n.Dir, "hooks")
	if err := os.Mkdir(hooks, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{"ip_up": string(up), "ip_down": "#!/bin/sh\nexit 0\n"} {
		if err := os.WriteFile(filepath.Join(hooks, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	n.env = []string{"PATH=" + hooks + ":" + os.Getenv("PATH")}
	n.configureHooks()
	n.start()
	n.kernels(40*time.Second, hooksAll)
	n.ready()
	w := n.watch(singleA, singleB)
	n.signal(n.Host("flip1"), syscall.SIGTERM)
	n.exit(n.Host("flip1"), 20*time.Second)
	n.kernels(10*time.Second, "flip: 10.77.1.1 10.77.1.2 10.77.1.3 10.77.1.4 | flip1: 10.77.1.1 10.77.1.3 | flip2: ")
	waitFor(100 * time.Millisecond)
	r := w.stop(n)
	r.sees(t, singleB)
	if got := watch.Overlaps(r.Runs); len(got) == 0 || got[0].Addr != singleB {
		t.Errorf("nobody saw the second holder of %s: %v", singleB, r.overlaps())
	}
}

// The prober's own test: an address that is away for a while is measured as
// away for that while, and its host's own address as never away.
func TestNetProberMeasures(t *testing.T) {
	n := newNetwork(t, "n1", "n2", "n3")
	g, h := groups(1)[0], n.Host("n1")
	plumb := func(verb string) {
		t.Helper()
		err := h.Space.IP(
			fmt.Sprintf("addr %s %s/32 dev %s", verb, g.four, lab.ServiceInterface),
			fmt.Sprintf("addr %s %s/128 dev %s", verb, g.six, lab.ServiceInterface))
		if err != nil {
			t.Fatal(err)
		}
	}
	plumb("add")
	n.echoed(5*time.Second, g.four, h)
	n.echoed(5*time.Second, g.six, h)
	for range mostRepeats {
		if n.measuresAway(g, h, plumb) {
			return
		}
	}
	if !n.measuresAway(g, h, plumb) {
		t.Error("the machine is too busy to measure")
	}
}

// measuresAway takes a group away for a while; false: the trial says nothing.
func (n *network) measuresAway(g group, h *lab.Host, plumb func(verb string)) bool {
	t := n.t
	t.Helper()
	p := n.probe(g.addrs()...)
	from := mono.Now()
	waitFor(calm)
	gone := mono.Now()
	plumb("del")
	waitFor(150 * time.Millisecond)
	plumb("add")
	back := mono.Now()
	waitFor(calm)
	seen := p.stop()
	for _, a := range g.addrs() {
		v, err := seen.judge(a, from, back.Add(calm/2), n.Hosts[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		if v.Repeat != "" {
			t.Logf("repeated: %s", v.Repeat)
			return false
		}
		if v.Outage < 140*time.Millisecond || v.Outage > back.Sub(gone)+20*time.Millisecond {
			t.Errorf("%s was away for 150 ms to %v, measured %v", a, back.Sub(gone), v.Outage)
		}
	}
	own := seen[h.Name]
	v, err := probe.Judge(own, nil, from, back)
	if err != nil || v.Outage > 20*time.Millisecond || own.Hosts[0] != h.Name {
		t.Errorf("%s itself was away for %v, %v; %v answered", h.Name, v.Outage, err, own.Hosts)
	}
	return true
}
