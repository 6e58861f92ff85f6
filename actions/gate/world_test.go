package gate

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/rs/zerolog"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The host has addresses behind the gate and beside it; the peer asks for both.
var (
	gated4, control4 = netip.MustParseAddr("10.9.0.2"), netip.MustParseAddr("10.9.0.3")
	gated6, control6 = netip.MustParseAddr("fd09::2"), netip.MustParseAddr("fd09::3")
	gated            = []netip.Addr{gated4, gated6}
)

const echoPort = 7007

// world is two namespaces with a cable between them. The test's goroutine is
// tied to a thread in the host's; it dies with the test.
type world struct {
	t          testing.TB
	host, peer int // file descriptors of the namespaces
	hostMAC    net.HardwareAddr
	peerMAC    net.HardwareAddr
	peerIndex  int
}

// lonely moves the test into a network namespace of its own.
func lonely(t testing.TB) int {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces and nf_tables")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("the kernel refuses a network namespace: %v", err)
	}
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(t, os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0)) // it takes a second
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
	return fd
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newWorld makes both namespaces and everything in them.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, peer: lonely(t), host: lonely(t)}
	must(t, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "h0", MTU: 1500}, PeerName: "p0", PeerNamespace: netlink.NsFd(w.peer),
	}))
	carrier := w.carrier("h0")
	var hostIndex int
	w.hostMAC, hostIndex = up(t, "h0", "10.9.0.1/24", "fd09::1/64", "10.9.0.2/32", "10.9.0.3/32", "fd09::2/128", "fd09::3/128")
	w.in(w.peer, func() {
		peerCarrier := w.carrier("p0")
		w.peerMAC, w.peerIndex = up(t, "p0", "10.9.0.9/24", "fd09::9/64")
		peerCarrier()
		// What ARP and ND say is looked at separately.
		for _, a := range []netip.Addr{gated4, control4, gated6, control6} {
			must(t, netlink.NeighSet(&netlink.Neigh{LinkIndex: w.peerIndex, IP: a.AsSlice(), HardwareAddr: w.hostMAC, State: netlink.NUD_PERMANENT}))
		}
	})
	carrier()
	for _, a := range []string{"10.9.0.9", "fd09::9"} {
		must(t, netlink.NeighSet(&netlink.Neigh{LinkIndex: hostIndex, IP: net.ParseIP(a), HardwareAddr: w.peerMAC, State: netlink.NUD_PERMANENT}))
	}
	w.echo()
	w.udp("settle", gated4, control4, echoPort).settle(t)
	w.udp("settle", gated6, control6, echoPort).settle(t)
	return w
}

// carrier waits, in what it returns, until a link can really send: the kernel
// notices a carrier some time after it is there.
func (w *world) carrier(name string) func() {
	w.t.Helper()
	updates, done := make(chan netlink.LinkUpdate, 64), make(chan struct{})
	must(w.t, netlink.LinkSubscribe(updates, done))
	return func() {
		defer close(done)
		late := time.After(patience)
		for {
			link, err := netlink.LinkByName(name)
			must(w.t, err)
			if link.Attrs().OperState == netlink.OperUp {
				return
			}
			select {
			case <-updates:
			case <-late:
				w.t.Fatalf("%s has no carrier", name)
			}
		}
	}
}

// up sets a link up with addresses that need no duplicate detection.
func up(t testing.TB, name string, addrs ...string) (net.HardwareAddr, int) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	must(t, err)
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		must(t, err)
		addr.Flags = unix.IFA_F_NODAD
		must(t, netlink.AddrAdd(link, addr))
	}
	must(t, netlink.LinkSetUp(link))
	return link.Attrs().HardwareAddr, link.Attrs().Index
}

// in runs f in another namespace.
func (w *world) in(ns int, f func()) {
	w.t.Helper()
	must(w.t, unix.Setns(ns, unix.CLONE_NEWNET))
	defer func() { must(w.t, unix.Setns(w.host, unix.CLONE_NEWNET)) }()
	f()
}

// echo answers datagrams, in their order and from the address they were sent to,
// until the test ends.
func (w *world) echo() {
	w.t.Helper()
	reflect(w.t, listen(w.t, "udp4", unix.IPPROTO_IP, unix.IP_PKTINFO))
	reflect(w.t, listen(w.t, "udp6", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO))
}

// listen opens a socket in this namespace that tells what it was sent to.
func listen(t testing.TB, network string, level, option int) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP(network, &net.UDPAddr{Port: echoPort})
	must(t, err)
	raw, err := c.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, 1) }))
	must(t, err)
	return c
}

// reflect sends back what c receives.
func reflect(t testing.TB, c *net.UDPConn) {
	done := make(chan struct{})
	t.Cleanup(func() { _ = c.Close(); <-done })
	go func() {
		defer close(done)
		b, to := make([]byte, 1500), make([]byte, 64)
		for {
			n, m, _, from, err := c.ReadMsgUDPAddrPort(b, to)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _, _ = c.WriteMsgUDPAddrPort(b[:n], to[:m], from) // a shut gate says EPERM
			}
		}
	}()
}

// gate opens a gate in the host and closes it with the test.
func (w *world) gate(o options, addrs ...netip.Addr) *Gate {
	return newGate(w.t, Config{Name: "flip-test"}, o, addrs...)
}

func newGate(t testing.TB, cfg Config, o options, addrs ...netip.Addr) *Gate {
	t.Helper()
	cfg.Log = zerolog.New(zerolog.NewTestWriter(t))
	if _, ok := t.(*testing.B); ok {
		cfg.Log = zerolog.Nop()
	}
	g, err := open(cfg, addrs, o)
	must(t, err)
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// opened renews for a lease that is long enough for a test.
func opened(t testing.TB, g *Gate) {
	t.Helper()
	renewed(t, g, 30*time.Second)
}

// renewed renews, again if this thread was held up.
func renewed(t testing.TB, g *Gate, lease time.Duration) {
	t.Helper()
	for {
		err := g.Renew(func() (time.Duration, bool) { return lease, true })
		if err == nil || !errors.Is(err, ErrLapsed) || !strings.Contains(err.Error(), "came later") {
			must(t, err)
			return
		}
	}
}

// stranger is somebody else's nftables, in this thread's namespace.
func stranger(t testing.TB) *nftables.Conn {
	t.Helper()
	c, err := nftables.New(nftables.AsLasting())
	must(t, err)
	t.Cleanup(func() { _ = c.CloseLasting() })
	return c
}

// setOf gives a set of the gate's table in the form that the library wants.
func setOf(t testing.TB, c *nftables.Conn, family nftables.TableFamily, name string) *nftables.Set {
	t.Helper()
	s, err := c.GetSetByName(&nftables.Table{Name: "flip-test", Family: family}, name)
	must(t, err)
	return s
}

// count is how many elements of a set the kernel shows to somebody else.
func count(t testing.TB, c *nftables.Conn, family nftables.TableFamily, name string) int {
	t.Helper()
	e, err := c.GetSetElements(setOf(t, c, family, name))
	must(t, err)
	return len(e)
}
