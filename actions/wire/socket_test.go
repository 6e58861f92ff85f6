package wire

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

func TestALinkThatIsDown(t *testing.T) {
	lan := newLAN(t, 2)
	me := lan[0]
	me.ip(t, "link set eth0 down")
	for _, addr := range []string{"10.9.0.100", "fd00:9::1"} {
		if sent, err := me.wire.Announce(me.link, []netip.Addr{addrOf(addr)}, always); sent != 0 || !errors.Is(err, ErrDown) || !strings.Contains(err.Error(), "eth0") {
			t.Errorf("announce: %d, %v", sent, err)
		}
		if err := me.wire.Ask(t.Context(), me.link, []netip.Addr{addrOf(addr)}, nil); !errors.Is(err, ErrDown) {
			t.Errorf("ask: %v", err)
		}
	}
	if _, err := me.wire.Tell(me.link, addrOf("10.9.0.100"), []Target{{IP: addrOf("10.9.0.2")}}, always); !errors.Is(err, ErrDown) {
		t.Errorf("tell: %v", err)
	}
	// Once is enough, however many addresses and families there are.
	if _, err := me.wire.Announce(me.link, append(manyV4(10), addrOf("fd00:9::1")), always); err == nil || strings.Count(err.Error(), "announce") != 1 {
		t.Errorf("announce: %v", err)
	}
}

// A link that was deleted and made anew is another one: the old index is a clear
// error, the new one works, and the old one's sockets go.
func TestALinkMadeAnew(t *testing.T) {
	middle, me, peer := newHost(t), newHost(t), newHost(t)
	middle.ip(t, "link add br0 type bridge stp_state 0 mcast_snooping 0")
	middle.ip(t, "link set br0 up")
	me.plug(t, middle, 1)
	peer.plug(t, middle, 2)
	first := me.ask(t, addrOf("10.9.0.2"), addrOf("fd00:9::2"))
	first.next()
	first.end()
	w, old := me.wire, me.link
	me.ip(t, "link del eth0")
	for _, addr := range []string{"10.9.0.100", "fd00:9::100"} {
		if _, err := w.Announce(old, []netip.Addr{addrOf(addr)}, always); !errors.Is(err, ErrNoInterface) {
			t.Errorf("announce: %v", err)
		}
	}
	if err := w.Ask(t.Context(), old, []netip.Addr{addrOf("10.9.0.2")}, nil); !errors.Is(err, ErrNoInterface) {
		t.Errorf("ask: %v", err)
	}
	if err := w.Ask(t.Context(), Link{Index: 9999, Name: "nope", MAC: old.MAC}, []netip.Addr{addrOf("fd00:9::2")}, nil); !errors.Is(err, ErrNoInterface) {
		t.Errorf("ask on what never was: %v", err)
	}

	// Another interface in between, so that the new one cannot have the old index.
	me.ip(t, "link add other type veth peer name rehto")
	me.plug(t, middle, 1)
	if me.link.Index == old.Index {
		t.Skip("the kernel gave out the same index again")
	}
	addr := addrOf("10.9.0.100")
	peer.believe(t, addr, stale)
	if sent, err := w.Announce(me.link, []netip.Addr{addr}, always); sent != 1 || err != nil {
		t.Fatal(sent, err)
	}
	waitFor(t, "the new link is believed", func() bool { return peer.believes(t, addr) == me.link.MAC.String() })
	me.wire = w
	second := me.ask(t, addrOf("10.9.0.2"))
	second.next()
	second.end()
	if s := w.Stats(); s.Sockets != 3 { // two to send by, one to listen on the new link
		t.Errorf("%+v", s)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	lan := newLAN(t, 2)
	me := lan[0]
	before := openFiles(t)
	me.run(t, func() error { me.wire = New(zerolog.Nop()); return nil })
	if _, err := me.wire.Announce(me.link, []netip.Addr{addrOf("10.9.0.1"), addrOf("fd00:9::1")}, always); err != nil {
		t.Fatal(err)
	}
	done := me.ask(t, addrOf("10.9.0.2"), addrOf("fd00:9::2"))
	done.next()
	done.end()
	running := me.ask(t, addrOf("10.9.0.77"))
	other := me.ask(t, addrOf("10.9.0.2"))
	other.next()
	waitFor(t, "both listen", func() bool { return me.wire.Stats().Sockets >= 5 })
	if err := me.wire.Close(); err != nil {
		t.Fatal(err)
	}
	for _, one := range []*asking{running, other} {
		if err := <-one.ended; !errors.Is(err, ErrClosed) {
			t.Errorf("a question that was open: %v", err)
		}
	}
	if now := openFiles(t); now != before {
		t.Errorf("%d open files, %d before", now, before)
	}
	if err := me.wire.Close(); err != nil {
		t.Error(err)
	}
	_, announced := me.wire.Announce(me.link, []netip.Addr{addrOf("10.9.0.1")}, always)
	_, told := me.wire.Tell(me.link, addrOf("fd00:9::1"), []Target{{IP: addrOf("fd00:9::2")}}, always)
	asked := me.wire.Ask(t.Context(), me.link, []netip.Addr{addrOf("10.9.0.2")}, nil)
	for _, err := range []error{announced, told, asked} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
	if s := me.wire.Stats(); s.Sockets != 0 || s.Announced != 3 {
		t.Errorf("%+v", s)
	}
}

// Closing in the middle of a round is an error, neither a crash nor a frame sent
// by whatever has the same descriptor next.
func TestCloseDuringARound(t *testing.T) {
	lan := newLAN(t, 1)
	me := lan[0]
	asked := 0
	_, err := me.wire.Announce(me.link, manyV4(100), func(netip.Addr) error {
		if asked++; asked == 10 {
			go func() { _ = me.wire.Close() }()
		}
		if asked > 10 {
			waitFor(t, "it is closed", func() bool { return me.wire.Stats().Sockets == 0 })
		}
		return nil
	})
	if !errors.Is(err, ErrClosed) || asked > 12 {
		t.Errorf("asked %d times, %v", asked, err)
	}
}

// A firewall stands between the claims of IPv6 addresses and the wire, as the
// lease gate does; the probe passes it by, so that a shut gate does not make a
// host blind.
func TestTheFirewallAppliesToIPv6Claims(t *testing.T) {
	lan := newLAN(t, 2)
	me, peer := lan[0], lan[1]
	addr := addrOf("fd00:9::100")
	me.ip(t, "addr add fd00:9::100/128 dev eth0 nodad")
	peer.believe(t, addr, stale)
	rules := shutFor(t, me, addr)
	if sent, err := me.wire.Announce(me.link, []netip.Addr{addr}, always); sent != 0 || !errors.Is(err, ErrFiltered) {
		t.Fatal(sent, err)
	}
	if told, err := me.wire.Tell(me.link, addr, []Target{{IP: addrOf("fd00:9::2"), MAC: peer.link.MAC}}, always); told != 0 || !errors.Is(err, ErrFiltered) {
		t.Fatal(told, err)
	}
	if s := me.wire.Stats(); s.Filtered != 2 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
	peer.ip(t, "addr add fd00:9::100/128 dev eth0 nodad")
	asking := me.ask(t, addr)
	asking.next()
	asking.end()
	peer.ip(t, "addr del fd00:9::100/128 dev eth0")
	peer.believe(t, addr, stale)
	me.run(t, rules)
	if sent, err := me.wire.Announce(me.link, []netip.Addr{addr}, always); sent != 1 || err != nil {
		t.Fatal(sent, err)
	}
	waitFor(t, "the peer knows", func() bool { return peer.believes(t, addr) == me.link.MAC.String() })
}

// shutFor drops all that h sends from addr, and all IP that it receives; what it
// returns lifts that.
func shutFor(t *testing.T, h *host, addr netip.Addr) (lift func() error) {
	var conn *nftables.Conn
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: "shut"}
	h.run(t, func() (err error) {
		conn, err = nftables.New(nftables.AsLasting())
		if err != nil {
			return err
		}
		conn.AddTable(table)
		chain := conn.AddChain(&nftables.Chain{
			Name: "output", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityRaw,
		})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
			&expr.Cmp{Register: 1, Data: []byte{unix.NFPROTO_IPV6}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 16},
			&expr.Cmp{Register: 1, Data: addr.AsSlice()},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
		drop := nftables.ChainPolicyDrop
		conn.AddChain(&nftables.Chain{
			Name: "input", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw, Policy: &drop,
		})
		return conn.Flush()
	})
	t.Cleanup(func() { _ = conn.CloseLasting() })
	return func() error {
		conn.DelTable(table)
		return conn.Flush()
	}
}

// A Wire belongs to the namespace of the thread that made it, wherever its
// methods are called: each of the tests above calls them from another. Here the
// caller's own namespace has an interface of the same index.
func TestTheNamespaceOfTheMaker(t *testing.T) {
	lan := newLAN(t, 2)
	me, peer := lan[0], lan[1]
	elsewhere := newHost(t)
	addr := addrOf("10.9.0.100")
	peer.believe(t, addr, stale)
	elsewhere.run(t, func() error {
		_, err := me.wire.Announce(me.link, []netip.Addr{addr}, always)
		return err
	})
	waitFor(t, "the peer knows", func() bool { return peer.believes(t, addr) == me.link.MAC.String() })
}

// Without CAP_NET_RAW the error says what is missing.
func TestWithoutThePrivilege(t *testing.T) {
	h := newHost(t)
	h.run(t, func() error {
		h.wire = New(zerolog.Nop())
		// Of this thread alone, which ends with the test.
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		return unix.Capset(&header, &none[0])
	})
	t.Cleanup(func() { _ = h.wire.Close() })
	h.link = Link{Index: 1, Name: "eth0", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	for _, addr := range []string{"10.9.0.1", "fd00:9::1"} {
		h.run(t, func() error {
			_, err := h.wire.Announce(h.link, []netip.Addr{addrOf(addr)}, always)
			if !errors.Is(err, ErrForbidden) || !errors.Is(err, syscall.EPERM) || !strings.Contains(err.Error(), "CAP_NET_RAW") {
				t.Errorf("%s: %v", addr, err)
			}
			return nil
		})
	}
}

// A queue that takes no more ends a round after a moment and says so. permit is
// asked again before the frame that had waited.
func TestAQueueThatStaysFull(t *testing.T) {
	lan := newLAN(t, 2)
	me := lan[0]
	me.throttle(t, "rate 8kbit burst 1600 limit 100000000")
	asked := 0
	sent, err := me.wire.Announce(me.link, manyV4(2000), func(netip.Addr) error { asked++; return nil })
	if sent != 0 || !errors.Is(err, ErrBusy) {
		t.Errorf("%d, %v", sent, err)
	}
	s := me.wire.Stats()
	if s.Announced == 0 || s.Announced >= 2000 || s.Failed != 1 || asked <= int(s.Announced)+1 {
		t.Errorf("asked %d times: %+v", asked, s)
	}
	// A question just goes on.
	ctx, stop := context.WithTimeout(t.Context(), 10*busyWait/4)
	defer stop()
	if err := me.wire.Ask(ctx, me.link, manyV4(2000), nil); err != nil {
		t.Error(err)
	}
}

// A queue that drops single frames does not end the round.
func TestAQueueThatDrops(t *testing.T) {
	lan := newLAN(t, 2)
	me := lan[0]
	me.throttle(t, "rate 8kbit burst 1600 limit 3200")
	sent, err := me.wire.Announce(me.link, manyV4(200), always)
	if !errors.Is(err, ErrBusy) || !errors.Is(err, unix.ENOBUFS) {
		t.Errorf("%d, %v", sent, err)
	}
	if s := me.wire.Stats(); s.Announced == 0 || s.Announced+s.Failed != 400 {
		t.Errorf("%+v", s)
	}
}

// throttle puts a slow queue before eth0, or skips where the kernel has none.
func (h *host) throttle(t *testing.T, how string) {
	t.Helper()
	h.run(t, func() error {
		out, err := exec.Command("tc", strings.Fields("qdisc add dev eth0 root tbf "+how)...).CombinedOutput()
		if err != nil {
			t.Logf("tc: %v: %s", err, out)
			how = ""
		}
		return nil
	})
	if how == "" {
		t.Skip("no queue that holds frames back, so this was not tested")
	}
}
