package netif

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func state(n *Net, name string) (up, carrier bool) {
	l, _ := n.Link(name)
	return l.Up, l.Carrier
}

func TestCarrier(t *testing.T) {
	namespace(t)
	n := running(t)
	is := func(up, carrier bool) func() bool {
		return func() bool {
			u, c := state(n, "va")
			return u == up && c == carrier
		}
	}
	await(t, n, "up to begin with", is(true, true))
	ip(t, "link set vb down")
	await(t, n, "the other end is down", is(true, false))
	ip(t, "link set vb up")
	await(t, n, "the other end is up again", is(true, true))
	ip(t, "link set va down")
	await(t, n, "down", is(false, false))
	ip(t, "link set va up")
	await(t, n, "up again", is(true, true))

	// A bridge that has had ports has no carrier without one.
	ip(t, "link add br0 type bridge")
	ip(t, "link set br0 up")
	ip(t, "link set vb master br0")
	await(t, n, "bridge with a port", func() bool { u, c := state(n, "br0"); return u && c })
	ip(t, "link set va down")
	await(t, n, "bridge whose port has none", func() bool { u, c := state(n, "br0"); return u && !c })
	ip(t, "link set va up")
	await(t, n, "bridge whose port has it again", func() bool { u, c := state(n, "br0"); return u && c })
	// "RTM_DELLINK" of the bridge's family: vb has left br0 and is there still.
	vb := index(t, n, "vb")
	a := address(vb, "10.0.0.50/32", AtMostOne, time.Minute)
	fine(t, n.Add([]Address{a}))
	ip(t, "link set vb nomaster")
	await(t, n, "bridge without ports again", func() bool { u, c := state(n, "br0"); return u && !c })
	if l, ok := n.LinkByIndex(vb); !ok || l.Name != "vb" || !l.Up {
		t.Errorf("the former port: %+v, %v", l, ok)
	}
	if _, ok := n.Has(a); !ok {
		t.Error("the former port's address has gone from the picture")
	}
	if l, ok := n.Link("lo"); !ok || !l.Carrier { // its operational state is unknown
		t.Errorf("lo: %+v, %v", l, ok)
	}
}

// The kernel may hold the news of a lost carrier back after another link's: it
// is asked.
func TestCarrierIsAskedForAfterEvents(t *testing.T) {
	namespace(t)
	n := running(t)
	va := index(t, n, "va")
	await(t, n, "carrier", func() bool { _, c := state(n, "va"); return c })
	wrong := func() { // as if the event were still to come
		n.mu.Lock()
		defer n.mu.Unlock()
		n.settle = time.Time{}
		l := n.picture.links[va]
		l.Carrier = false
		n.picture.links[va] = l
	}
	wrong()
	fine(t, n.Add([]Address{address(va, "10.0.0.50/32", AtMostOne, time.Minute)})) // control: no event of a link
	if _, c := state(n, "va"); c {
		t.Error("asked for without an event of a link")
	}
	ip(t, "link add late type veth peer name later")
	ip(t, "link set late up")
	await(t, n, "asked for", func() bool { _, c := state(n, "va"); return c })
}

// A link that comes back with its name has another number, and nothing of the
// former one's.
func TestLinkComesBack(t *testing.T) {
	namespace(t)
	n := running(t)
	before := index(t, n, "va")
	a := address(before, "10.0.0.50/32", AtMostOne, time.Minute)
	fine(t, n.Add([]Address{a}))
	ip(t, "link del va")
	await(t, n, "gone", func() bool { _, ok := n.Link("va"); return !ok })
	if _, ok := n.Has(a); ok {
		t.Error("an address on no link")
	}
	if err := n.Add([]Address{a})[0]; !errors.Is(err, ErrNoInterface) {
		t.Errorf("add to it: %v", err)
	}
	if _, err := n.Find(a.Prefix, "va"); !errors.Is(err, ErrNoInterface) {
		t.Errorf("find it: %v", err)
	}
	ip(t, "link add va type veth peer name vb")
	await(t, n, "back", func() bool { _, ok := n.Link("va"); return ok })
	l, err := n.Find(a.Prefix, "va")
	if err != nil || l.Index == before {
		t.Fatalf("found %+v, %v; it was number %d before", l, err, before)
	}
	a.Link = l.Index
	fine(t, n.Add([]Address{a}))
	sameAsKernel(t, n)
}

func TestLinkNames(t *testing.T) {
	namespace(t)
	n := running(t)
	ip(t, "link add link va name va.100 type macvlan") // the names of VLANs; this kernel may have no 8021q
	await(t, n, "a dot in the name", func() bool { _, ok := n.Link("va.100"); return ok })
	ip(t, "link property add dev va altname enp99s0f1np1")
	await(t, n, "alternative name", func() bool { l, ok := n.Link("enp99s0f1np1"); return ok && l.Name == "va" })
	ip(t, "link property del dev va altname enp99s0f1np1")
	await(t, n, "without it", func() bool { _, ok := n.Link("enp99s0f1np1"); return !ok })
	va := index(t, n, "va")
	ip(t, "link set va down")
	ip(t, "link set va name renamed")
	ip(t, "link set renamed mtu 1400 address 02:00:00:00:00:07")
	await(t, n, "renamed", func() bool {
		l, ok := n.Link("renamed")
		return ok && l.Index == va && l.MTU == 1400 && l.MAC.String() == "02:00:00:00:00:07"
	})
	for name, hint := range map[string]string{"va": "no such", "va.100@va": `write "va.100"`, "eth0:1": `write "eth0"`} {
		_, err := n.Find(netip.MustParsePrefix("10.0.0.1/32"), name)
		if !errors.Is(err, ErrNoInterface) || !strings.Contains(err.Error(), hint) {
			t.Errorf("Find on %q: %v", name, err)
		}
	}
	var oracle []struct{ Ifindex int }
	if err := json.Unmarshal([]byte(ip(t, "-json link")), &oracle); err != nil {
		t.Fatal(err)
	}
	if links := n.Links(); len(links) != len(oracle) || links[0].Name != "lo" {
		t.Errorf("links: %+v, want %d", links, len(oracle))
	}
}

func TestFind(t *testing.T) {
	namespace(t)
	for _, line := range []string{
		"link add vc type veth peer name vd",
		"addr add 10.0.0.1/16 dev va",
		"addr add 10.0.1.1/24 dev vb",
		"addr add 10.5.0.1/24 dev va", "addr add 10.5.0.2/24 dev vb",
		"addr add 10.6.0.1/24 dev va", "addr add 10.6.0.2/24 dev va",
		"addr add 10.7.0.1/32 dev va",
		"addr add 10.8.0.1 peer 10.8.9.2/24 dev vc",
		"addr add 10.9.0.50/24 dev vd", "addr add 10.11.0.1 peer 10.11.0.2/32 dev vd",
		"-6 addr add 2001:db8:1::1/64 dev va nodad",
		"-6 addr add 2001:db8:1:0:1::1/80 dev vb nodad",
	} {
		ip(t, line)
	}
	n := open(t)
	va := index(t, n, "va")
	fine(t, n.Add([]Address{
		address(va, "10.20.0.50/24", AtMostOne, time.Minute), address(va, "2001:db8:20::50/64", AtLeastOne, time.Minute),
		address(va, "10.0.1.50/24", AtMostOne, time.Minute),
	}))
	for _, c := range []struct {
		addr, iface, want string
		err               error
	}{
		{"10.0.0.50/32", "", "va", nil},
		{"10.0.1.50/32", "", "vb", nil}, // the more specific one; that flip's own stands on va is nothing
		{"10.0.1.50/32", "vd", "vd", nil},
		{"10.5.0.50/32", "", "", ErrAmbiguous},
		{"10.5.0.50/32", "vb", "vb", nil},
		{"10.6.0.50/24", "", "va", nil},      // twice on one link is not ambiguous
		{"10.7.0.1/32", "", "", ErrNoSubnet}, // an address alone is no subnet
		{"10.7.0.2/32", "", "", ErrNoSubnet},
		{"10.8.9.77/32", "", "vc", nil}, // behind the peer
		{"10.8.0.1/32", "", "", ErrNoSubnet},
		{"10.9.0.50/24", "", "", ErrNoSubnet}, // itself is no reason
		{"10.9.0.51/24", "", "vd", nil},
		{"10.11.0.2/32", "", "", ErrNoSubnet},  // the peer alone
		{"10.20.0.51/32", "", "", ErrNoSubnet}, // flip's own is no subnet
		{"10.20.0.50/24", "", "", ErrNoSubnet},
		{"::ffff:10.0.0.50/128", "", "va", nil},
		{"2001:db8:1::50/128", "", "va", nil},
		{"2001:db8:1:0:1::50/64", "", "vb", nil},
		{"2001:db8:20::51/128", "", "", ErrNoSubnet},
		{"192.0.2.1/32", "", "", ErrNoSubnet},
		{"10.0.0.50/32", "nosuch", "", ErrNoInterface},
	} {
		for range 20 { // in any order of the addresses
			l, err := n.Find(netip.MustParsePrefix(c.addr), c.iface)
			if !errors.Is(err, c.err) || l.Name != c.want {
				t.Fatalf("Find(%s, %q) = %q, %v, want %q, %v", c.addr, c.iface, l.Name, err, c.want, c.err)
			}
		}
	}
	_, err := n.Find(netip.MustParsePrefix("10.5.0.50/32"), "")
	if err == nil || !strings.Contains(err.Error(), "va, vb") {
		t.Errorf("ambiguous, but where? %v", err)
	}
	// Control: the same address unmarked is a subnet.
	ip(t, "addr add 10.21.0.50/24 dev va")
	if l, err := open(t).Find(netip.MustParsePrefix("10.21.0.51/32"), ""); err != nil || l.Name != "va" {
		t.Errorf("control: %q, %v", l.Name, err)
	}
}

func TestHasRoute(t *testing.T) {
	namespace(t)
	for _, line := range []string{
		"addr add 10.0.0.1/24 dev va", "-6 addr add 2001:db8::1/64 dev va nodad",
		"route add 10.1.0.0/16 via 10.0.0.2",
		"route add default via 10.0.0.2",
		"route add blackhole 10.2.0.0/16",
		"route add 10.3.0.0/16 via 10.0.0.2 table 99",
		"route add 10.4.0.0/16 nexthop via 10.0.0.2 dev va nexthop via 10.0.0.3 dev va",
		"-6 route add 2001:db8:1::/48 via 2001:db8::2",
	} {
		ip(t, line)
	}
	n := running(t)
	for route, want := range map[string]bool{
		"10.0.0.0/24": true, "10.1.0.0/16": true, "10.1.2.0/24": true, "10.1.2.3/32": true,
		"10.0.0.0/8":  false, // only parts of it
		"0.0.0.0/0":   true,
		"10.9.0.0/16": false, // by the default route alone
		"10.2.0.0/16": false, // leads nowhere
		"10.3.0.0/16": false, // not in the main table
		"10.4.0.0/16": true,
		"::/0":        false, "2001:db8:1::/48": true, "2001:db8:1:2::/64": true, "2001:db8:2::/48": false, "2001:db8::/64": true,
		"10.1.2.3/16": true, // bits of the host do not matter
	} {
		for range 2 { // read, and remembered
			if got := n.HasRoute(netip.MustParsePrefix(route)); got != want {
				t.Errorf("HasRoute(%s) = %v", route, got)
			}
		}
	}
	if n.HasRoute(netip.Prefix{}) {
		t.Error("a route to nothing")
	}
	has := func(route string, want bool) func() bool {
		return func() bool { return n.HasRoute(netip.MustParsePrefix(route)) == want }
	}
	ip(t, "route del 10.1.0.0/16")
	await(t, n, "deleted", has("10.1.0.0/16", false))
	ip(t, "route add 10.0.0.0/12 via 10.0.0.2")
	await(t, n, "a less specific one added", has("10.1.0.0/16", true))
	ip(t, "route replace 10.0.0.0/12 via 10.0.0.3")
	await(t, n, "replaced", has("10.1.0.0/16", true))
	ip(t, "route del default")
	await(t, n, "default route deleted", has("0.0.0.0/0", false))
	ip(t, "-6 route add default via 2001:db8::2")
	await(t, n, "IPv6 default route added", has("::/0", true))
	// A route by a link without carrier stays, and leads nowhere.
	ip(t, "link set vb down")
	await(t, n, "without carrier", func() bool {
		return has("10.1.0.0/16", false)() && has("10.4.0.0/16", false)() && has("::/0", false)()
	})
	ip(t, "link set vb up")
	await(t, n, "with carrier again", func() bool { return has("10.1.0.0/16", true)() && has("10.4.0.0/16", true)() })
	// The kernel tells nobody of IPv4 routes that go with their link.
	ip(t, "link set va down")
	await(t, n, "link set down", has("10.1.0.0/16", false))
}

// A queue that is too small costs a resync, not the truth.
func TestLostEvents(t *testing.T) {
	namespace(t)
	n := open(t)
	va := index(t, n, "va")
	fine(t, n.Add([]Address{address(va, "10.200.0.50/32", AtMostOne, time.Minute)}))
	err := n.raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	other := open(t) // its queue is large: the control
	fine(t, other.Add(many(va, 300, false)))
	ip(t, "link add late type veth peer name later")
	ip(t, "addr del 10.0.0.7/32 dev va")
	ip(t, "addr del 10.200.0.50/32 dev va")
	sameAsKernel(t, n)
	sameAsKernel(t, other)
	if n.Resyncs() == 0 {
		t.Error("no events were lost")
	}
	fine(t, other.Remove(many(va, 300, false)))
	ip(t, "link del vb")
	sameAsKernel(t, n)
	sameAsKernel(t, other)
	if n.Resyncs() == 0 || other.Resyncs() != 0 {
		t.Errorf("%d resyncs, %d of the control", n.Resyncs(), other.Resyncs())
	}
	for _, c := range []*Net{n, other} {
		if _, ok := c.Link("late"); !ok {
			t.Error("a new link is missing")
		}
		if _, ok := c.Link("va"); ok {
			t.Error("a link that has gone is there")
		}
	}
}

func TestNeighbours(t *testing.T) {
	namespace(t)
	n := open(t)
	for _, line := range []string{
		"neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 nud reachable dev va",
		"neigh add 10.0.0.3 lladdr 02:00:00:00:00:03 nud stale dev va",
		"neigh add 10.0.0.4 lladdr 02:00:00:00:00:04 nud permanent dev vb",
		"neigh add 10.0.0.5 lladdr 02:00:00:00:00:05 nud noarp dev va",
		"neigh add 10.0.0.6 nud failed dev va",
		"-6 neigh add 2001:db8::2 lladdr 02:00:00:00:00:02 nud stale dev va",
	} {
		ip(t, line)
	}
	got, err := n.Neighbours()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{
		"va 10.0.0.2 02:00:00:00:00:02": true, "va 10.0.0.3 02:00:00:00:00:03": true,
		"vb 10.0.0.4 02:00:00:00:00:04": true, "va 2001:db8::2 02:00:00:00:00:02": true,
	}
	for _, nb := range got {
		l, _ := n.LinkByIndex(nb.Link)
		k := l.Name + " " + nb.IP.String() + " " + nb.MAC.String()
		if !want[k] {
			t.Errorf("unexpected: %s", k)
		}
		delete(want, k)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}
