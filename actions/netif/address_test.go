package netif

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestAddIsMarkedAndEnds(t *testing.T) {
	namespace(t)
	n := open(t)
	va := index(t, n, "va")
	all := []Address{
		address(va, "10.0.0.50/32", AtMostOne, time.Minute),
		address(va, "10.0.0.51/24", AtLeastOne, 2500*time.Millisecond),
		address(va, "2001:db8::50/128", AtMostOne, time.Minute),
		address(va, "2001:db8::51/64", AtLeastOne, 2500*time.Millisecond),
	}
	for round := range 3 { // the first adds, the others refresh
		fine(t, n.Add(all))
		sameAsKernel(t, n)
		kernel, proto := ipAddrs(t), kernelAddrs(t)
		for _, a := range all {
			w := kernel[a.String()]
			// Rounded up: the kernel may show one less if a second went by.
			secs := uint32((a.Valid + time.Second - 1) / time.Second)
			if w.Valid > secs || w.Valid < secs-1 || !w.Dynamic {
				t.Errorf("round %d: %s lives for %d s, want %d", round, a, w.Valid, secs)
			}
			if proto[a.String()].proto != uint8(a.Mark) {
				t.Errorf("round %d: %s has mark %#x, want %#x", round, a, proto[a.String()].proto, a.Mark)
			}
			if v6 := a.Prefix.Addr().Is6(); v6 && (!w.Nodad || w.Preferred != 0) {
				t.Errorf("round %d: %s: nodad %v, preferred for %d s", round, a, w.Nodad, w.Preferred)
			}
			if have, ok := n.Has(a); !ok || have.Mark != a.Mark || have.Valid <= 0 || have.Valid > time.Duration(secs)*time.Second {
				t.Errorf("round %d: Has(%s) = %+v, %v", round, a, have, ok)
			}
		}
	}
	if !n.KeepsMarks() {
		t.Error("this kernel keeps no marks")
	}
	fine(t, n.Remove(all))
	sameAsKernel(t, n)
	for _, a := range all {
		if _, ok := n.Has(a); ok {
			t.Errorf("%s is still there", a)
		}
	}
}

// What others do to an address is seen, signalled, and put right by Add.
func TestRepairsWhatOthersAlter(t *testing.T) {
	for _, prefix := range []string{"10.0.0.50/32", "2001:db8::50/128"} {
		t.Run(prefix, func(t *testing.T) {
			namespace(t)
			n := running(t)
			a := address(index(t, n, "va"), prefix, AtMostOne, time.Minute)
			link, err := netlink.LinkByName("va")
			if err != nil {
				t.Fatal(err)
			}
			foreign, err := netlink.ParseAddr(prefix)
			if err != nil {
				t.Fatal(err)
			}
			right := func() bool {
				have, ok := n.Has(a)
				return ok && have.Mark == a.Mark && have.Valid > time.Minute-5*time.Second && have.Valid <= time.Minute
			}
			for name, alter := range map[string]func() error{
				"made permanent": func() error { return netlink.AddrReplace(link, foreign) },
				"removed":        func() error { return netlink.AddrDel(link, foreign) },
				"shortened":      func() error { ip(t, "addr change "+prefix+" dev va valid_lft 5 preferred_lft 5"); return nil },
				"lengthened":     func() error { ip(t, "addr change "+prefix+" dev va valid_lft 500 preferred_lft 5"); return nil },
			} {
				fine(t, n.Add([]Address{a}))
				if !right() {
					t.Fatalf("%s: not there to begin with", name)
				}
				if err := alter(); err != nil {
					t.Fatal(err)
				}
				await(t, n, name, func() bool { return !right() })
				fine(t, n.Add([]Address{a}))
				if !right() {
					t.Errorf("%s: not right again", name)
				}
				sameAsKernel(t, n)
			}
		})
	}
}

// A refresh wakes nobody; a change does (the control).
func TestRefreshIsNoChange(t *testing.T) {
	namespace(t)
	n := open(t) // without Run: what is signalled comes from Add alone
	va := index(t, n, "va")
	all := []Address{address(va, "10.0.0.50/32", AtMostOne, time.Minute), address(va, "2001:db8::50/128", AtMostOne, time.Minute)}
	signalled := func() bool {
		select {
		case <-n.Changed():
			return true
		default:
			return false
		}
	}
	fine(t, n.Add(all))
	if !signalled() {
		t.Error("adding is no change")
	}
	for _, valid := range []time.Duration{time.Minute, 20 * time.Second, time.Hour} {
		all[0].Valid, all[1].Valid = valid, valid
		fine(t, n.Add(all))
		if signalled() {
			t.Errorf("a refresh for %s is a change", valid)
		}
	}
	stranger := open(t) // who even uses the right mark
	for i := range all {
		longer := all[i]
		longer.Valid = 2 * time.Hour
		fine(t, stranger.Add([]Address{longer}))
		n.mu.Lock()
		n.drain()
		n.mu.Unlock()
		if !signalled() {
			t.Errorf("%s: a lifetime set by somebody else is no change", longer)
		}
	}
	all[0].Mark = AtLeastOne
	fine(t, n.Add(all))
	if !signalled() {
		t.Error("another mark is no change")
	}
	fine(t, n.Remove(all))
	if !signalled() {
		t.Error("removing is no change")
	}
}

func TestAddRefuses(t *testing.T) {
	namespace(t)
	n := open(t)
	va := index(t, n, "va")
	for name, a := range map[string]Address{
		"for ever":    address(va, "10.0.0.50/32", AtMostOne, 0),
		"negative":    address(va, "10.0.0.50/32", AtMostOne, -time.Second),
		"136 years":   address(va, "10.0.0.50/32", AtMostOne, time.Duration(forever)*time.Second),
		"unmarked":    address(va, "10.0.0.50/32", 0, time.Minute),
		"other mark":  address(va, "10.0.0.50/32", 3, time.Minute),
		"multicast":   address(va, "224.0.0.18/32", AtMostOne, time.Minute),
		"unspecified": address(va, "::/128", AtMostOne, time.Minute),
		"nothing":     {Link: va, Mark: AtMostOne, Valid: time.Minute},
	} {
		good := address(va, "10.0.0.51/32", AtMostOne, time.Minute)
		errs := n.Add([]Address{a, good})
		if errs[0] == nil || errs[1] != nil {
			t.Errorf("%s: %v", name, errs)
		}
		if a.Prefix.IsValid() && a.Mark != AtMostOne && !errors.Is(errs[0], ErrUnmarked) {
			t.Errorf("%s: %v", name, errs[0])
		}
		if _, ok := n.Has(good); !ok {
			t.Errorf("%s: the other one is not there", name)
		}
	}
	sameAsKernel(t, n)
}

func TestFailuresInWords(t *testing.T) {
	namespace(t)
	n := open(t)
	va := index(t, n, "va")
	for _, a := range []Address{
		address(4711, "10.0.0.50/32", AtMostOne, time.Minute),
		address(4711, "2001:db8::50/128", AtMostOne, time.Minute),
	} {
		if err := n.Add([]Address{a})[0]; !errors.Is(err, ErrNoInterface) {
			t.Errorf("add %s: %v", a, err)
		}
		fine(t, n.Remove([]Address{a}))
	}
	ip(t, "link set vb up")
	if err := writeSysctl("net/ipv6/conf/vb/disable_ipv6", "1"); err != nil {
		t.Skipf("cannot switch IPv6 off: %v", err)
	}
	off := address(index(t, n, "vb"), "2001:db8::50/128", AtMostOne, time.Minute)
	if err := n.Add([]Address{off})[0]; err == nil || !strings.Contains(err.Error(), "disable_ipv6") {
		t.Errorf("add with IPv6 off: %v", err)
	}
	fine(t, n.Remove([]Address{off}))

	// One failure does not keep the others from being done, wherever it stands.
	var all []Address
	for i := range 250 {
		link := va
		if i%50 == 7 {
			link = 4711
		}
		all = append(all, address(link, fmt.Sprintf("10.0.1.%d/32", i+1), AtMostOne, time.Minute))
	}
	for i, err := range n.Add(all) {
		if want := i%50 == 7; (err != nil) != want {
			t.Errorf("add %d: %v", i, err)
		}
		if _, ok := n.Has(all[i]); ok != (i%50 != 7) {
			t.Errorf("add %d: there: %v", i, ok)
		}
	}
	sameAsKernel(t, n)
}

func TestForbidden(t *testing.T) {
	namespace(t)
	drop(t, unix.CAP_NET_ADMIN)
	n := open(t) // reading is allowed
	a := address(index(t, n, "va"), "10.0.0.50/32", AtMostOne, time.Minute)
	if err := n.Add([]Address{a})[0]; !errors.Is(err, ErrForbidden) {
		t.Errorf("add: %v", err)
	}
	a.Prefix = netip.MustParsePrefix("127.0.0.1/8")
	a.Link = 1
	if err := n.Remove([]Address{a})[0]; !errors.Is(err, ErrForbidden) {
		t.Errorf("remove: %v", err)
	}
	sameAsKernel(t, n)
}

// Remove takes the one that is named, and nothing else of the same number.
func TestRemoveIsExact(t *testing.T) {
	namespace(t)
	ip(t, "addr add 10.0.0.50/24 dev va")
	ip(t, "addr add 10.9.0.1 peer 10.9.0.2/32 dev va")
	ip(t, "addr add 10.0.0.50/24 dev vb")
	ip(t, "-6 addr add 2001:db8::50/64 dev va nodad")
	n := open(t)
	va := index(t, n, "va")
	before := len(ipAddrs(t))
	absent := []Address{address(va, "10.0.0.50/32", 0, 0), address(va, "2001:db8::50/128", 0, 0), address(va, "10.0.0.77/24", 0, 0)}
	fine(t, n.Remove(absent))
	if after := len(ipAddrs(t)); after != before {
		t.Fatalf("%d of %d addresses are left", after, before)
	}
	there := []Address{address(va, "10.0.0.50/24", 0, 0), address(va, "10.9.0.1/32", 0, 0), address(va, "2001:db8::50/64", 0, 0)}
	fine(t, n.Remove(there))
	sameAsKernel(t, n)
	if after := len(ipAddrs(t)); after != before-len(there) {
		t.Errorf("%d of %d addresses are left, %d were to go", after, before, len(there))
	}
}

// An address that nobody refreshes goes by itself, and the picture shows it.
func TestExpires(t *testing.T) {
	namespace(t)
	n := running(t)
	va := index(t, n, "va")
	short := []Address{address(va, "10.0.0.50/32", AtMostOne, time.Millisecond), address(va, "2001:db8::50/128", AtMostOne, time.Second)}
	long := []Address{address(va, "10.0.0.51/32", AtMostOne, time.Minute), address(va, "2001:db8::51/128", AtMostOne, time.Minute)}
	fine(t, n.Add(append(short, long...)))
	await(t, n, "both expire", func() bool {
		_, four := n.Has(short[0])
		_, six := n.Has(short[1])
		return !four && !six
	})
	for _, a := range long {
		if _, ok := n.Has(a); !ok {
			t.Errorf("%s has gone too", a)
		}
	}
	sameAsKernel(t, n)
}

// Many at once leave the picture as the kernel is, and lose nobody's addresses.
func TestManyAtOnce(t *testing.T) {
	namespace(t)
	n := running(t)
	va := index(t, n, "va")
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			var mine []Address
			for i := range 30 {
				mine = append(mine, address(va, fmt.Sprintf("10.%d.0.%d/32", g, i+1), AtMostOne, time.Minute),
					address(va, fmt.Sprintf("2001:db8:%d::%d/128", g, i+1), AtLeastOne, time.Minute))
			}
			for range 3 {
				for i, err := range n.Add(mine) {
					if have, ok := n.Has(mine[i]); err != nil || !ok || have.Mark != mine[i].Mark {
						t.Errorf("%s: %v, %+v, %v", mine[i], err, have, ok)
					}
				}
				for i, err := range n.Remove(mine[:len(mine)/2]) {
					if _, ok := n.Has(mine[i]); err != nil || ok {
						t.Errorf("removed %s: %v, there: %v", mine[i], err, ok)
					}
				}
			}
		})
	}
	wg.Wait()
	sameAsKernel(t, n)
	if got := len(n.Addresses()); got < 8*30 {
		t.Errorf("%d addresses are left", got)
	}
}

func TestRunEnds(t *testing.T) {
	namespace(t)
	n := open(t)
	for range 20 { // and may run again
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- n.Run(ctx) }()
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(context.Background()) }()
	ip(t, "addr add 10.0.0.1/24 dev va")
	await(t, n, "runs", func() bool { _, ok := n.Has(address(index(t, n, "va"), "10.0.0.1/24", 0, 0)); return ok })
	if err := errors.Join(n.Close(), n.Close()); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("Run ends well on a closed socket")
	}
	for _, err := range append(n.Add([]Address{address(2, "10.0.0.50/32", AtMostOne, time.Minute)}), n.Remove([]Address{address(2, "10.0.0.50/32", 0, 0)})...) {
		if err == nil {
			t.Error("a closed Net still acts")
		}
	}
	if _, err := n.Neighbours(); err == nil {
		t.Error("a closed Net still lists neighbours")
	}
}
