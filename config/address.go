package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/flip-ha/flip/fsm"
)

// held is where an address of an item stands in the file.
type held struct {
	addr netip.Addr
	at   int
	key  string
}

// plumbed are the addresses of all systems: each belongs to one item.
type plumbed struct {
	first map[netip.Addr]int // where it stood first
	list  []held
}

// wrongAddress is why a text is no address that an item can have.
type wrongAddress struct{ what, hint string }

// itemAddress reads "10.0.0.5" or "10.0.0.5/24": the address of a host, with
// the bits of its subnet, or else all bits.
func itemAddress(text string) (netip.Prefix, *wrongAddress) {
	if addr, zone, found := strings.Cut(text, "%"); found {
		name, _, _ := strings.Cut(zone, "/")
		return netip.Prefix{}, &wrongAddress{
			quote(text) + " has a zone", fmt.Sprintf(`write %q, and "interface": %q beside it`, addr, name),
		}
	}
	host, bits, subnet := strings.Cut(text, "/")
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}, &wrongAddress{quote(text) + " is no IP address", reason(err)}
	}
	n := addr.BitLen()
	if subnet {
		given, err := strconv.ParseUint(bits, 10, 16)
		switch {
		case err != nil:
			return netip.Prefix{}, &wrongAddress{quote(text) + " has no number of bits behind the slash", asBits(host, bits)}
		case given > uint64(n):
			return netip.Prefix{}, &wrongAddress{fmt.Sprintf("%s has too many bits", quote(text)), fmt.Sprintf("at most %d", n)}
		case given == 0:
			return netip.Prefix{}, &wrongAddress{quote(text) + " has no bits: its subnet would be everything", "the bits of the subnet that it is in, such as /24"}
		}
		n = int(given)
	}
	p := netip.PrefixFrom(addr, n)
	if bad := noHost(p); bad != nil {
		return netip.Prefix{}, bad
	}
	return p, nil
}

// reason is the part of netip's error that says what is wrong.
func reason(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, "): "); i >= 0 {
		text = text[i+len("): "):]
	}
	switch {
	case text == "", text == "unable to parse IP", strings.HasPrefix(text, "unexpected character"):
		return `an address such as "10.0.0.5" or "2001:db8::5/64"`
	default:
		return text
	}
}

// asBits turns a netmask into the bits it stands for.
func asBits(host, mask string) string {
	const hint = "such as /24"
	m, err := netip.ParseAddr(mask)
	if err != nil || !m.Is4() {
		return hint
	}
	ones, done := 0, false
	for _, b := range m.As4() {
		for bit := 7; bit >= 0; bit-- {
			switch set := b>>bit&1 == 1; {
			case set && done:
				return hint
			case set:
				ones++
			default:
				done = true
			}
		}
	}
	return fmt.Sprintf("write %q", host+"/"+strconv.Itoa(ones))
}

// noHost says why an address is not that of one host on a wire.
func noHost(p netip.Prefix) *wrongAddress {
	a := p.Addr()
	bad := func(what, hint string) *wrongAddress { return &wrongAddress{p.String() + " " + what, hint} }
	if a.BitLen() == p.Bits() {
		bad = func(what, hint string) *wrongAddress { return &wrongAddress{a.String() + " " + what, hint} }
	}
	switch {
	case a.Is4In6():
		return bad("is an IPv4 address in the form of an IPv6 one", fmt.Sprintf("write %q", a.Unmap()))
	case a.IsUnspecified() || a.Is4() && a.As4()[0] == 0:
		return bad("is no address of a host", "")
	case a.IsLoopback():
		return bad("is a loopback address: every machine has it", "")
	case a.IsMulticast():
		return bad("is a multicast address, which many hosts have", "")
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return bad("is the broadcast address", "")
	case a.BitLen()-p.Bits() < 2: // one or two hosts: no address is lost to the subnet itself
		return nil
	case p.Masked().Addr() == a:
		return bad("is the address of the subnet itself", "the address of a host in it")
	case a.Is4() && last(p) == a:
		return bad("is the broadcast address of its subnet", "the address of a host in it")
	default:
		return nil
	}
}

// last is the last address of an IPv4 subnet.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// hold notes an item's address and reports one that another item has, or that
// the item has twice.
func (p *parser) hold(all *plumbed, a netip.Addr, at int, key string) bool {
	if first, twice := all.first[a]; twice {
		line, column := p.lines.at(first)
		p.fail(at, key, "an address belongs to one item", "%s is there twice, first at %d:%d", a, line, column)
		return false
	}
	all.first[a] = at
	all.list = append(all.list, held{a, at, key})
	return true
}

// ownAddresses reports addresses of items that are the servers' own: flip would
// take them away with the item.
func (p *parser) ownAddresses(all *plumbed, servers map[fsm.MemberID]fsm.Server) {
	own := map[netip.Addr]fsm.MemberID{}
	for name, s := range servers {
		if a, err := netip.ParseAddrPort(s.Addr); err == nil {
			if first, there := own[a.Addr()]; !there || name < first {
				own[a.Addr()] = name
			}
		}
	}
	for _, h := range all.list {
		if name, taken := own[h.addr]; taken {
			p.fail(h.at, h.key, "an address that moves must be no server's own", "%s is the address of servers.%s", h.addr, name)
		}
	}
}
