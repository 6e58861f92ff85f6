package gate

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Shut, nobody answers for an address inside, in no protocol; open, all do. The
// address beside it, the control of each probe, answers throughout.
func TestShutAndOpen(t *testing.T) {
	for _, o := range []options{{}, {unowned: true}} {
		t.Run(fmt.Sprintf("unowned %t", o.unowned), func(t *testing.T) {
			w := newWorld(t)
			ps := w.probes()
			expect(t, "without a gate", ps, true)
			g := w.gate(o)
			expect(t, "not inside", ps, true)
			must(t, g.Add(gated))
			expect(t, "shut", ps, false)
			opened(t, g)
			expect(t, "open", ps, true)
			opened(t, g)
			expect(t, "renewed", ps, true)
			must(t, g.Shut())
			expect(t, "shut again", ps, false)
			must(t, g.Shut())
			opened(t, g)
			expect(t, "open again", ps, true)
			must(t, g.Shut())
			must(t, g.Remove(gated[:1]))
			for _, p := range ps {
				if got := p.answers(t); got != p.gated.Is4() {
					t.Errorf("IPv4 taken out: %s answers: %t", p.name, got)
				}
			}
			must(t, g.Dismantle())
			expect(t, "dismantled", ps, true)
			if err := g.Add(gated); !errors.Is(err, ErrClosed) {
				t.Errorf("Add after Dismantle: %v", err)
			}
		})
	}
}

// What the host itself sends as a shut address does not leave it, and what it
// sends to it, over lo, does not arrive.
func TestOutputIsGated(t *testing.T) {
	w := newWorld(t)
	g := w.gate(options{}, gated...)
	for _, c := range []struct{ gated, beside, to netip.Addr }{
		{gated4, control4, netip.MustParseAddr("10.9.0.9")},
		{gated6, control6, netip.MustParseAddr("fd09::9")},
		{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.1"), gated4},
		{netip.MustParseAddr("fd09::1"), netip.MustParseAddr("fd09::1"), gated6},
	} {
		says := func(from netip.Addr) error {
			s, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.to, 9)))
			must(t, err)
			defer func() { must(t, s.Close()) }()
			_, err = s.Write([]byte("me"))
			return err
		}
		if err := says(c.gated); !errors.Is(err, unix.EPERM) {
			t.Errorf("shut: sent from %s to %s: %v", c.gated, c.to, err)
		}
		if c.beside != c.gated {
			must(t, says(c.beside))
		}
		opened(t, g)
		must(t, says(c.gated))
		must(t, g.Shut())
	}
}

// What is sent to a shut address does not come in: the host does not count a
// solicitation, and no socket hears a datagram.
func TestInputIsGated(t *testing.T) {
	w := newWorld(t)
	g := w.gate(options{}, gated...)
	for _, c := range []struct{ gated, beside netip.Addr }{{gated4, control4}, {gated6, control6}} {
		var socks []*probe
		for _, a := range []netip.Addr{c.gated, c.beside} {
			s := w.udp("host", a, a, 0)
			must(t, unix.Close(s.fd))
			domain := unix.AF_INET
			if a.Is6() {
				domain = unix.AF_INET6
			}
			var err error
			s.fd, err = unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			must(t, err)
			must(t, unix.Bind(s.fd, sockaddr(a, 7009)))
			socks = append(socks, s)
		}
		p := w.udp("peer", c.gated, c.beside, 7009)
		for _, open := range []bool{false, true} {
			if open {
				opened(t, g)
			}
			p.send(t, c.gated)
			p.send(t, c.beside)
			if _, ok := socks[1].receive(t, patience); !ok {
				t.Fatalf("%s: the control hears nothing", c.beside)
			}
			if _, ok := socks[0].receive(t, 0); ok != open {
				t.Errorf("%s open %t: heard %t", c.gated, open, ok)
			}
		}
		must(t, g.Shut())
	}
	nd := w.neighbour()
	nd.settle(t)
	before := solicitations(t)
	nd.answers(t)
	if n := solicitations(t) - before; n != 1 {
		t.Errorf("shut: %d solicitations came in, want the control's alone", n)
	}
	opened(t, g)
	before = solicitations(t)
	nd.answers(t)
	if n := solicitations(t) - before; n != 2 {
		t.Errorf("control: open, %d solicitations came in", n)
	}
}

// solicitations is how many the host has been asked.
func solicitations(t testing.TB) int {
	t.Helper()
	b, err := os.ReadFile("/proc/thread-self/net/snmp6")
	must(t, err)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[0] == "Icmp6InNeighborSolicits" {
			n, err := strconv.Atoi(f[1])
			must(t, err)
			return n
		}
	}
	t.Fatal("no count of solicitations")
	return 0
}

// closes waits for the end of what is open without asking the gate.
func closes(t testing.TB, c *nftables.Conn, set string) {
	t.Helper()
	for began := time.Now(); ; {
		if count(t, c, nftables.TableFamilyINet, set) == 0 {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("the elements of %s do not end", set)
		}
	}
}

// A lapsed opening is not renewed: nothing is opened, and the next call opens
// anew. Control: a plain add, as a first opening is, would have opened.
func TestLapsed(t *testing.T) {
	w := newWorld(t)
	c := stranger(t)
	ps := w.probes()
	g := w.gate(options{}, gated...)
	const short = 60 * time.Millisecond
	renewed(t, g, short)
	closes(t, c, setLease)
	long := func() (time.Duration, bool) { return time.Minute, true }
	if err := g.Renew(long); !errors.Is(err, ErrLapsed) {
		t.Fatalf("renewed after its end: %v", err)
	}
	expect(t, "lapsed", ps, false)
	if s := g.Stats(); s.Open || s.Refused != 1 || s.Renewals != 1 {
		t.Errorf("stats %+v", s)
	}
	opened(t, g)
	expect(t, "opened anew", ps, true)

	must(t, g.Shut())
	renewed(t, g, short)
	closes(t, c, setLease)
	g.mu.Lock()
	g.live = false // what was there is forgotten
	g.mu.Unlock()
	opened(t, g)
	expect(t, "control: opened without asking for the old element", ps, true)
}

// No lease, or too little of one, opens nothing and leaves open what is.
func TestTooLittle(t *testing.T) {
	w := newWorld(t)
	ps := w.probes()
	g := w.gate(options{}, gated...)
	for _, left := range []time.Duration{-time.Second, 0, time.Millisecond, g.fuse + margin*g.tick, g.fuse + (margin+shortest)*g.tick - 1} {
		if err := g.Renew(func() (time.Duration, bool) { return left, true }); !errors.Is(err, ErrLapsed) {
			t.Errorf("%s left: %v", left, err)
		}
	}
	if err := g.Renew(func() (time.Duration, bool) { return time.Hour, false }); !errors.Is(err, ErrLapsed) {
		t.Errorf("no lease: %v", err)
	}
	expect(t, "never opened", ps, false)
	opened(t, g)
	if err := g.Renew(func() (time.Duration, bool) { return 0, true }); !errors.Is(err, ErrLapsed) {
		t.Errorf("nothing left: %v", err)
	}
	expect(t, "still open", ps, true)
}

// A call that is late opens nothing, be it the first or a renewal. Control: the
// same wait before the fuse was set does no harm.
func TestLate(t *testing.T) {
	w := newWorld(t)
	c := stranger(t)
	ps := w.probes()
	g := w.gate(options{}, gated...)
	late := func() (time.Duration, bool) {
		closes(t, c, setFuse)
		return time.Minute, true
	}
	if err := g.Renew(late); !errors.Is(err, ErrLapsed) {
		t.Fatalf("first opening, late: %v", err)
	}
	expect(t, "opened late", ps, false)
	closes(t, c, setFuse)
	opened(t, g)
	expect(t, "control", ps, true)
	if err := g.Renew(late); !errors.Is(err, ErrLapsed) {
		t.Fatalf("renewal, late: %v", err)
	}
	expect(t, "what was open stays", ps, true)
	if s := g.Stats(); !s.Open || s.Refused != 2 || s.Renewals != 1 {
		t.Errorf("stats %+v", s)
	}
	opened(t, g)
}

// The fuse of another call is not taken for one's own.
func TestFusesHaveNames(t *testing.T) {
	lonely(t)
	c := stranger(t)
	g := newGate(t, Config{Name: "flip-test", Fuse: 500 * time.Millisecond}, options{unowned: true})
	err := g.Renew(func() (time.Duration, bool) {
		set := setOf(t, c, nftables.TableFamilyINet, setFuse)
		c.FlushSet(set)
		must(t, c.SetAddElements(set, []nftables.SetElement{{Key: fuseKey(g.fuseNo + 1), Timeout: time.Second}}))
		must(t, c.Flush())
		return time.Minute, true
	})
	if !errors.Is(err, ErrLapsed) {
		t.Errorf("renewed under another's fuse: %v", err)
	}
	closes(t, c, setFuse)
	for range 2 {
		if err := g.Renew(func() (time.Duration, bool) { return 0, false }); !errors.Is(err, ErrLapsed) {
			t.Error(err)
		}
	}
	if n := count(t, c, nftables.TableFamilyINet, setFuse); n != 2 {
		t.Errorf("two calls have left %d fuses", n)
	}
}

func TestLifetime(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		left, want time.Duration
		ok         bool
	}{
		{300 * ms, 277 * ms, true},
		{300*ms + 900*time.Microsecond, 277 * ms, true}, // never rounded up
		{31 * ms, 8 * ms, true},
		{31*ms - 1, 7 * ms, false},
		{0, -23 * ms, false},
	} {
		got, ok := lifetimeOf(c.left, 15*ms, 4*ms)
		if got != c.want || ok != c.ok {
			t.Errorf("%s left: %s %t, want %s %t", c.left, got, ok, c.want, c.ok)
		}
	}
}

func TestAddressesAreNormal(t *testing.T) {
	lonely(t)
	g := newGate(t, Config{Name: "flip-test"}, options{})
	must(t, g.Add([]netip.Addr{netip.MustParseAddr("::ffff:10.9.0.2"), gated4, netip.MustParseAddr("fd09::2%lo")}))
	must(t, g.Add(gated))
	if n := g.Stats().Addrs; n != 2 {
		t.Errorf("%d addresses", n)
	}
	must(t, g.Remove([]netip.Addr{gated4, gated4, control4}))
	must(t, g.Remove([]netip.Addr{gated4}))
	if n := g.Stats().Addrs; n != 1 {
		t.Errorf("%d addresses", n)
	}
	if err := g.Add([]netip.Addr{{}}); err == nil {
		t.Error("took no address for one")
	}
}
