package gate

import (
	"errors"
	"net/netip"
	"os"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var inside = netip.MustParseAddr("10.8.0.2")

const insidePort = 7008

// What is translated to a container's address is judged by the address on the
// wire: on its way in, which passes no input hook here, and on its way out,
// which passes no output hook.
func TestTranslatedTrafficIsGated(t *testing.T) {
	w := newWorld(t)
	box := w.container()
	c := stranger(t)
	forward(t, c, gated4, control4)
	g := w.gate(options{}, gated...)
	p := w.udp("DNAT", gated4, control4, insidePort)

	own, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) // of the host: its output is translated
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(own) })
	must(t, unix.Bind(own, sockaddr(netip.MustParseAddr("10.9.0.1"), 0))) // else it would send as the gated address
	if err := unix.Sendto(own, []byte("me"), 0, sockaddr(gated4, insidePort)); !errors.Is(err, unix.EPERM) {
		t.Errorf("shut: the host sends to it: %v", err)
	}
	must(t, unix.Sendto(own, []byte("me"), 0, sockaddr(control4, insidePort)))
	if box.hears(t); box.heard(t) {
		t.Error("shut: what the host sent to the gated address came in")
	}

	p.send(t, gated4)
	p.send(t, control4)
	beside := box.hears(t)
	if box.heard(t) {
		t.Error("shut: what was sent to the gated address came in")
	}
	opened(t, g)
	p.send(t, gated4)
	flow := box.hears(t)
	box.says(t, flow)
	if a, ok := p.receive(t, patience); !ok || a != gated4 {
		t.Fatalf("control: open, %v answers, %t", a, ok)
	}
	must(t, g.Shut())
	box.says(t, flow)
	box.says(t, beside)
	if a, ok := p.receive(t, patience); !ok || a != control4 {
		t.Errorf("shut: heard from %v, %t: want the control alone", a, ok)
	}
}

// box is a socket in a namespace behind the host.
type box struct{ *probe }

func (w *world) container() *box {
	t := w.t
	t.Helper()
	inner := lonely(t)
	must(t, unix.Setns(w.host, unix.CLONE_NEWNET))
	must(t, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "c0", MTU: 1500}, PeerName: "i0", PeerNamespace: netlink.NsFd(inner),
	}))
	hostCarrier := w.carrier("c0")
	mac, hostIndex := up(t, "c0", "10.8.0.1/24")
	must(t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0))
	b := &box{&probe{name: "container"}}
	w.in(inner, func() {
		carrier := w.carrier("i0")
		innerMAC, index := up(t, "i0", "10.8.0.2/24")
		carrier()
		gw := netip.MustParseAddr("10.8.0.1").AsSlice()
		must(t, netlink.NeighSet(&netlink.Neigh{LinkIndex: index, IP: gw, HardwareAddr: mac, State: netlink.NUD_PERMANENT}))
		must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: index, Gw: gw}))
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		must(t, unix.Bind(fd, sockaddr(inside, insidePort)))
		b.fd = fd
		w.in(w.host, func() {
			must(t, netlink.NeighSet(&netlink.Neigh{LinkIndex: hostIndex, IP: inside.AsSlice(), HardwareAddr: innerMAC, State: netlink.NUD_PERMANENT}))
		})
	})
	t.Cleanup(func() { _ = unix.Close(b.fd) })
	hostCarrier()
	return b
}

// hears waits for a datagram and says who sent it.
func (b *box) hears(t testing.TB) unix.Sockaddr {
	t.Helper()
	var from unix.Sockaddr
	b.from = func(_ []byte, s unix.Sockaddr) (netip.Addr, bool) {
		from = s
		return sender(s), true
	}
	if _, ok := b.receive(t, patience); !ok {
		t.Fatal("the container hears nothing")
	}
	return from
}

// heard says whether another datagram is there.
func (b *box) heard(t testing.TB) bool {
	t.Helper()
	_, ok := b.receive(t, 0)
	return ok
}

func (b *box) says(t testing.TB, to unix.Sockaddr) {
	t.Helper()
	must(t, unix.Sendto(b.fd, []byte("here"), 0, to))
}

// forward translates what comes for the addresses to the container's.
func forward(t testing.TB, c *nftables.Conn, addrs ...netip.Addr) {
	t.Helper()
	table := c.AddTable(&nftables.Table{Name: "nat", Family: nftables.TableFamilyIPv4})
	in := c.AddChain(&nftables.Chain{
		Name: "in", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	})
	own := c.AddChain(&nftables.Chain{
		Name: "own", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
	})
	for i := range 2 * len(addrs) {
		a, chain := addrs[i/2], []*nftables.Chain{in, own}[i%2]
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: ip4Target, Len: 4},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()},
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
			&expr.Immediate{Register: 1, Data: inside.AsSlice()},
			&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(insidePort)},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
		}})
	}
	must(t, c.Flush())
}
