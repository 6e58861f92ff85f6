package netif

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// IPv6 has one address of a number on a link: a stranger's other length goes.
func TestOtherLengthIsReplaced(t *testing.T) {
	namespace(t)
	ip(t, "-6 addr add 2001:db8::50/64 dev va nodad")
	ip(t, "addr add 10.0.0.50/24 dev va")
	n := open(t)
	va := index(t, n, "va")
	a, b := address(va, "2001:db8::50/128", AtMostOne, time.Minute), address(va, "10.0.0.50/32", AtMostOne, time.Minute)
	fine(t, n.Add([]Address{a, b}))
	sameAsKernel(t, n)
	for _, x := range []Address{a, b} {
		if have, ok := n.Has(x); !ok || have.Mark != AtMostOne || have.Valid == 0 {
			t.Errorf("Has(%s) = %+v, %v", x, have, ok)
		}
	}
	if _, ok := ipAddrs(t)[address(va, "2001:db8::50/64", 0, 0).String()]; ok {
		t.Error("the /64 is still there")
	}
	if _, ok := ipAddrs(t)[address(va, "10.0.0.50/24", 0, 0).String()]; !ok {
		t.Error("the host's own IPv4 address has gone")
	}
}

// A stranger's address whose duplicates are looked for is ready at once when it
// is taken over.
func TestTentativeIsTakenOver(t *testing.T) {
	namespace(t)
	n := open(t)
	a := address(index(t, n, "va"), "2001:db8::50/128", AtMostOne, time.Minute)
	ip(t, "-6 addr add 2001:db8::50/128 dev va")
	if w := ipAddrs(t)[a.String()]; !w.Tentative {
		t.Skip("no duplicates are looked for here")
	}
	fine(t, n.Add([]Address{a}))
	sameAsKernel(t, n)
	if w := ipAddrs(t)[a.String()]; w.Tentative || !w.Nodad {
		t.Errorf("%+v", w)
	}
	if have, ok := n.Has(a); !ok || have.Mark != AtMostOne || have.Valid == 0 {
		t.Errorf("%+v, %v", have, ok)
	}
}

// The route to a subnet comes with an address only where the host has no own.
func TestSubnetRoute(t *testing.T) {
	namespace(t)
	ip(t, "-6 addr add 2001:db8:1::1/64 dev va nodad")
	n := open(t)
	va := index(t, n, "va")
	all := []Address{
		address(va, "2001:db8:1::50/64", AtMostOne, time.Minute), // own subnet
		address(va, "2001:db8:2::50/64", AtMostOne, time.Minute), // floats
		address(va, "2001:db8:3::50/128", AtMostOne, time.Minute),
	}
	for range 2 {
		fine(t, n.Add(all))
		kernel := ipAddrs(t)
		for i, want := range []bool{true, false, true} {
			if got := kernel[all[i].String()].NoPrefix; got != want {
				t.Errorf("%s: noprefixroute is %v", all[i], got)
			}
		}
		if r := ip(t, "-6 route show 2001:db8:2::/64"); !strings.Contains(r, "dev va") {
			t.Errorf("no route to the subnet that floats: %q", r)
		}
		if r := ip(t, "-6 route show 2001:db8:3::50/128"); r != "" {
			t.Errorf("a route to the address alone: %q", r)
		}
	}
	// The host gets an own address there: from the next refresh on the route is
	// its own business, and stays when flip's address goes.
	ip(t, "-6 addr add 2001:db8:2::1/64 dev va nodad")
	fine(t, n.Add(all))
	fine(t, n.Remove(all))
	for _, subnet := range []string{"2001:db8:1::/64", "2001:db8:2::/64"} {
		if r := ip(t, "-6 route show "+subnet); !strings.Contains(r, "dev va") || strings.Contains(r, "expires") {
			t.Errorf("the host's own route to %s: %q", subnet, r)
		}
	}
}

// The kernel never takes a floating address for the host's own traffic.
func TestNeverASource(t *testing.T) {
	namespace(t)
	ip(t, "-6 addr add 2001:db8::1/64 dev va nodad")
	n := open(t)
	vip := address(index(t, n, "va"), "2001:db8::50/128", AtMostOne, time.Minute)
	source := func() string { return ip(t, "-6 route get 2001:db8::51") }
	fine(t, n.Add([]Address{vip}))
	if s := source(); !strings.Contains(s, "src 2001:db8::1 ") {
		t.Errorf("source with the address plumbed: %s", s)
	}
	// Control: the same address preferred is chosen.
	ip(t, "-6 addr change 2001:db8::50/128 dev va nodad valid_lft 60 preferred_lft 60")
	if s := source(); !strings.Contains(s, "src 2001:db8::50 ") {
		t.Errorf("control: source with a preferred address: %s", s)
	}
}

// A kernel without IFA_PROTO: the label tells, or who remembers.
func TestKernelWithoutMarks(t *testing.T) {
	namespace(t)
	ip(t, "link add averylongname0 type veth peer name vc")
	ip(t, "link set averylongname0 up")
	n := open(t)
	n.withoutProto = true
	va, long := index(t, n, "va"), index(t, n, "averylongname0")
	all := []Address{
		address(va, "10.0.0.50/32", AtMostOne, time.Minute), address(va, "10.0.0.51/32", AtLeastOne, time.Minute),
		address(long, "10.0.0.52/32", AtMostOne, time.Minute), address(va, "2001:db8::50/128", AtLeastOne, time.Minute),
	}
	ip(t, "addr add 10.0.0.51/32 dev va") // a stranger's: taken over, label and all
	ip(t, "addr add 10.0.0.99/32 dev va label va:1")
	wants := func(n *Net, marks ...Mark) {
		t.Helper()
		for i, want := range marks {
			if have, ok := n.Has(all[i]); !ok || have.Mark != want || have.Valid == 0 {
				t.Errorf("%s: %+v, %v, want mark %#x", all[i], have, ok, want)
			}
		}
	}
	for range 2 {
		fine(t, n.Add(all))
		wants(n, AtMostOne, AtLeastOne, AtMostOne, AtLeastOne)
		if n.KeepsMarks() {
			t.Fatal("marks are kept")
		}
	}
	if have, _ := n.Has(address(va, "10.0.0.99/32", 0, 0)); have.Mark != 0 {
		t.Errorf("the operator's alias has mark %#x", have.Mark)
	}
	for _, want := range []string{"va:flip-1", "va:flip-n"} {
		if out := ip(t, "addr show dev va label "+want); !strings.Contains(out, want) {
			t.Errorf("no label %s: %s", want, out)
		}
	}
	if _, err := n.Find(netip.MustParsePrefix("2001:db8::77/128"), ""); !errors.Is(err, ErrNoSubnet) {
		t.Errorf("an own address counts as a subnet: %v", err)
	}

	// The next process knows the labels, the rest by a list; a stranger's removal
	// ends what is remembered.
	next := open(t)
	next.withoutProto = true
	fine(t, next.Add(all[:1])) // learns that nothing is kept
	wants(next, AtMostOne, AtLeastOne, 0, 0)
	next.Remember(all)
	wants(next, AtMostOne, AtLeastOne, AtMostOne, AtLeastOne)
	ip(t, "-6 addr del 2001:db8::50/128 dev va")
	ip(t, "-6 addr add 2001:db8::50/128 dev va nodad valid_lft 60 preferred_lft 0")
	for !drained(next, all[3]) {
		next.awaitEvent()
	}
	wants(next, AtMostOne, AtLeastOne, AtMostOne, 0)
	fine(t, next.Remove(all))
}
