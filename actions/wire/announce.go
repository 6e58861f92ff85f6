package wire

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// isAny says whether err is one of those.
func isAny(err error, those ...error) bool {
	for _, one := range those {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// Announce sends one round for addrs, as fast as the link takes it: for IPv4 a
// gratuitous ARP in request and one in reply form, for IPv6 an unsolicited
// neighbour advertisement with override.
//
// permit is asked right before every frame, on the caller's goroutine; a refusal
// ends the sending for that address and is no error. sent counts the addresses
// announced in full. The error is the first failed frame's; the others were tried
// all the same, unless the link as a whole is down, gone or stuck. On a link
// without hardware addresses there is nobody to tell.
func (w *Wire) Announce(l Link, addrs []netip.Addr, permit func(netip.Addr) error) (sent int, err error) {
	v4, v6, err := hosts(addrs)
	if err != nil || len(addrs) == 0 || l.silent() {
		return 0, err
	}
	if err := l.check(); err != nil {
		return 0, err
	}
	sent4, err4 := w.announce4(l, v4, permit)
	if isAny(err4, ErrClosed, ErrNoInterface, ErrDown) {
		return sent4, err4
	}
	sent6, err6 := w.announce6(l, v6, permit)
	return sent4 + sent6, errors.Join(err4, err6)
}

// announce4 sends all request forms before the first reply form: every address
// moves a millisecond earlier, and one burst of loss does not hit both.
func (w *Wire) announce4(l Link, addrs []netip.Addr, permit func(netip.Addr) error) (sent int, err error) {
	if len(addrs) == 0 {
		return 0, nil
	}
	s, err := w.packetSocket()
	if err != nil {
		return 0, err
	}
	r := w.newRound(s, l, "announce", &w.announced, permit)
	r.toAllOnARP()
	type half struct {
		addr netip.Addr
		ok   bool // the request form was sent
	}
	permitted := make([]half, 0, len(addrs))
	for _, addr := range addrs {
		r.one.frame = AppendGratuitousRequest(r.one.frame[:0], l.MAC, addr)
		ok, stop := r.send(addr)
		if stop {
			return 0, r.err()
		}
		if r.one.refusal == nil {
			permitted = append(permitted, half{addr, ok})
		}
	}
	for _, first := range permitted {
		r.one.frame = AppendGratuitousReply(r.one.frame[:0], l.MAC, first.addr)
		ok, stop := r.send(first.addr)
		if stop {
			break
		}
		if ok && first.ok {
			sent++
		}
	}
	return sent, r.err()
}

// announce6 sends from each address itself, which the kernel lets only its holder
// do.
func (w *Wire) announce6(l Link, addrs []netip.Addr, permit func(netip.Addr) error) (sent int, err error) {
	if len(addrs) == 0 {
		return 0, nil
	}
	s, err := w.icmpv6Socket()
	if err != nil {
		return 0, err
	}
	r := w.newRound(s, l, "announce", &w.announced, permit)
	r.one.control = packetInfo(l)
	r.one.to = &unix.SockaddrInet6{Addr: allNodes.As16(), ZoneId: uint32(l.Index)}
	for _, addr := range addrs {
		r.one.frame = AppendAdvert(r.one.frame[:0], l.MAC, addr)
		setSource(r.one.control, addr)
		ok, stop := r.send(addr)
		if stop {
			break
		}
		if ok {
			sent++
		}
	}
	return sent, r.err()
}

// Tell teaches the hosts that l's is the MAC of addr now, one frame each: the
// request by which addr asks for the host, who must note who asks before he
// answers. It goes to the host's MAC; without one, an ARP request goes to all. For
// IPv6 it goes to the host's solicited-node group, MAC or not, through the lease
// gate. Targets of the other family are passed over.
//
// permit is asked before every frame; a refusal ends the sending and is no error.
// The number is of the hosts told.
func (w *Wire) Tell(l Link, addr netip.Addr, to []Target, permit func(netip.Addr) error) (int, error) {
	host, err := hostAddr(addr)
	if err != nil || len(to) == 0 || l.silent() {
		return 0, err
	}
	if err := l.check(); err != nil {
		return 0, err
	}
	socketOf := w.icmpv6Socket
	if host.Is4() {
		socketOf = w.packetSocket
	}
	s, err := socketOf()
	if err != nil {
		return 0, err
	}
	r := w.newRound(s, l, "tell of", &w.told, permit)
	told := 0
	for _, target := range to {
		if !r.aim(host, target) {
			continue
		}
		ok, stop := r.send(host)
		if stop || r.one.refusal != nil {
			break
		}
		if ok {
			told++
		}
	}
	return told, r.err()
}

// aim makes the frame that teaches target the address host; false: that one
// cannot be taught.
func (r *round) aim(host netip.Addr, target Target) bool {
	ip, err := hostAddr(target.IP)
	if err != nil || ip.Is4() != host.Is4() || ip == host {
		return false
	}
	if ip.Is4() {
		mac := broadcast
		if len(target.MAC) == macLen {
			mac = target.MAC
		}
		r.one.frame = AppendRequest(r.one.frame[:0], r.l.MAC, host, ip)
		r.one.to = linkTo(r.l, unix.ETH_P_ARP, mac)
		return true
	}
	if r.one.control == nil {
		r.one.control = packetInfo(r.l)
		setSource(r.one.control, host)
	}
	r.one.frame = AppendSolicit(r.one.frame[:0], r.l.MAC, ip)
	r.one.to = &unix.SockaddrInet6{Addr: solicitedNode(ip).As16(), ZoneId: uint32(r.l.Index)}
	return true
}
