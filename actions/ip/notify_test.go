package ip

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// told are the hosts that were told of an address, and how often.
func (w *world) told(addr string) map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]int{}
	for _, f := range w.sent {
		if f.addr.String() == addr && f.to.IsValid() {
			out[f.to.String()]++
		}
	}
	return out
}

func TestNotify(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		w.cache = []Neighbour{
			{IP: netip.MustParseAddr("10.0.3.1"), MAC: memberMAC},
			{IP: netip.MustParseAddr("::ffff:10.0.3.2"), MAC: memberMAC},
			{IP: netip.MustParseAddr("10.1.3.1"), MAC: memberMAC}, // behind another link
			{IP: netip.MustParseAddr("192.0.2.9"), MAC: memberMAC},
			{IP: netip.MustParseAddr("10.0.0.1"), MAC: memberMAC}, // this host
			{IP: netip.MustParseAddr("fe80::1"), MAC: memberMAC},
			{IP: netip.MustParseAddr("2001:db8::7"), MAC: memberMAC},
		}
		job := gatedJob("a", "10.0.0.5/32", "2001:db8::5/128")
		job.IP = &fsm.IP{NoProbe: true, Notify: []fsm.Notify{
			{ARPCache: true},
			{Hosts: "10.0.2.0/30"},
			{Hosts: "10.0.2.9"},
			{Hosts: "10.0.3.1"},
			{Hosts: "2001:db8::8"},
			{Hosts: "10.1.9.9", Interface: "eth1"},
			{Hosts: "10.1.9.8", Interface: "eth7"},
		}}
		must(t, w.d.Acquire(t.Context(), job))
		time.Sleep(time.Second)
		want := map[string]int{"10.0.3.1": 2, "10.0.3.2": 2, "10.0.2.1": 2, "10.0.2.2": 2, "10.0.2.9": 2, "10.1.9.9": 2}
		if got := w.told("10.0.0.5"); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("told %v, want %v", got, want)
		}
		want = map[string]int{"2001:db8::7": 2, "2001:db8::8": 2}
		if got := w.told("2001:db8::5"); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("told %v, want %v", got, want)
		}
		if st := w.d.Status(); st[0].Told != 8 || st[0].ToTell != 8 || w.d.Stats().Told != 8 || w.d.Stats().TellFrames != 16 {
			t.Errorf("%+v %+v", st, w.d.Stats())
		}
		// Another takeover tells them again.
		job.Token++
		w.d.Adopted(job)
		time.Sleep(time.Second)
		if got := w.told("10.0.0.5")["10.0.2.9"]; got != 4 || w.d.Stats().Told != 16 {
			t.Errorf("told again %d times; %+v", got, w.d.Stats())
		}
	})
}

func TestNotifyIsPacedFairlyAndEnds(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		ip := &fsm.IP{NoProbe: true, Notify: []fsm.Notify{{Hosts: "10.0.128.0/22"}}}
		for i := range 3 {
			job := gatedJob(fmt.Sprint(i), fmt.Sprintf("10.0.0.%d/32", 5+i))
			job.IP = ip
			must(t, w.d.Acquire(t.Context(), job))
		}
		time.Sleep(4 * time.Second)
		n := []int{len(w.told("10.0.0.5")), len(w.told("10.0.0.6")), len(w.told("10.0.0.7"))}
		if sum := n[0] + n[1] + n[2]; sum < 1900 || sum > 2060 || slices.Max(n)-slices.Min(n) > 50+2*tellChunk { // the first one may have had a burst of its own

			t.Errorf("told %v in 4 s", n)
		}
		must(t, w.d.Release(t.Context(), gatedJob("0", "10.0.0.5/32")))
		before := len(w.told("10.0.0.5"))
		time.Sleep(30 * time.Second)
		if got := len(w.told("10.0.0.5")); got != before {
			t.Error("told of what was released")
		}
		if a, b := w.told("10.0.0.6"), w.told("10.0.0.7"); len(a) != 1022 || len(b) != 1022 || a["10.0.128.1"] != 2 {
			t.Errorf("told %d and %d hosts", len(a), len(b))
		}
	})
}

func TestNotifyIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		hosts := w.d.hostsOf(&fsm.IP{Notify: []fsm.Notify{{Hosts: "10.0.128.0/19"}}}, place{prefix: netip.MustParsePrefix("10.0.0.5/32"), link: w.links[1]})
		if len(hosts) != hostsLimit || w.log.count("more than 4096 hosts") != 1 {
			t.Errorf("%d hosts; %s", len(hosts), w.log.buf.String())
		}
	})
}

func TestEnumerate(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.5/32":        "[10.0.0.5]",
		"10.0.0.5/31":        "[10.0.0.4 10.0.0.5]",
		"10.0.0.6/29":        "[10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6]",
		"255.255.255.253/30": "[255.255.255.253 255.255.255.254]",
		"2001:db8::/127":     "[2001:db8:: 2001:db8::1]",
		"255.255.255.255/32": "[255.255.255.255]",
		"ffff::ffff/128":     "[ffff::ffff]",
		"10.0.0.0/30":        "[10.0.0.1 10.0.0.2]",
		"2001:db8::5/126":    "[2001:db8::4 2001:db8::5 2001:db8::6 2001:db8::7]",
	} {
		var got []netip.Addr
		for a := range enumerate(netip.MustParsePrefix(in)) {
			got = append(got, a)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: %v, want %s", in, got, want)
		}
	}
}
