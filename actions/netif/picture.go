package netif

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// addrKey tells the kernel's addresses apart. One local address may be there
// several times: with another length, or with another peer (IPv4).
type addrKey struct {
	link   int
	prefix netip.Prefix
	peer   netip.Addr // the local address again, unless it is a point-to-point one
}

// plainKey is the key of an address without a peer, as flip plumbs them.
func plainKey(link int, p netip.Prefix) addrKey {
	a := p.Addr().Unmap()
	bits := p.Bits()
	if p.Addr().Is4In6() {
		bits = max(bits-96, 0)
	}
	return addrKey{link: link, prefix: netip.PrefixFrom(a, bits), peer: a}
}

// host is an address on a link, whatever its length.
type host struct {
	link int
	addr netip.Addr
}

func (k addrKey) host() host { return host{k.link, k.prefix.Addr()} }

// subnet is what can be reached directly by means of the address.
func (k addrKey) subnet() netip.Prefix { return netip.PrefixFrom(k.peer, k.prefix.Bits()).Masked() }

// entry is what the kernel last said of an address.
type entry struct {
	proto uint8
	label string
	flags uint32
	until time.Time // zero: for ever
}

// claim is what Add asked for. It tells a refresh of flip's own from somebody
// else's change, and whose an address is where the kernel keeps no mark.
type claim struct {
	mark  Mark
	until time.Time
}

// keeping says whether this kernel keeps IFA_PROTO.
type keeping uint8

const (
	untried keeping = iota
	keepsMarks
	losesMarks
)

// picture is what Net knows of links and addresses. It does no I/O.
type picture struct {
	links   map[int]Link
	alts    map[int][]string // alternative names
	addrs   map[addrKey]entry
	hosts   map[host]addrKey // of IPv6: one address of a number on a link
	claims  map[addrKey]claim
	keeping keeping
}

func newPicture() picture {
	return picture{
		links:  map[int]Link{},
		alts:   map[int][]string{},
		addrs:  map[addrKey]entry{},
		hosts:  map[host]addrKey{},
		claims: map[addrKey]claim{},
	}
}

// address is one address as users see it.
func (p *picture) address(k addrKey, now time.Time) (Address, bool) {
	e, ok := p.addrs[k]
	if !ok {
		return Address{}, false
	}
	a := Address{Link: k.link, Prefix: k.prefix, Mark: p.mark(k, e)}
	if !e.until.IsZero() {
		a.Valid = max(e.until.Sub(now), 1)
	}
	return a, true
}

// mark says whose an address is: by IFA_PROTO, or where the kernel does not
// keep it, by the label, or by what was claimed.
func (p *picture) mark(k addrKey, e entry) Mark {
	if m := Mark(e.proto); m.ours() {
		return m
	}
	if p.keeping != losesMarks {
		return 0
	}
	if m := labelMark(e.label); m != 0 {
		return m
	}
	return p.claims[k].mark
}

// The labels end so. An operator may well have an alias "eth0:1", none of these.
const (
	labelAtMostOne  = ":flip-1"
	labelAtLeastOne = ":flip-n"
)

// markLabel is the label of an IPv4 address that stands for the mark, "" where
// the interface's name is too long for one (it has at most 15 characters).
func markLabel(link string, m Mark) string {
	suffix := labelAtLeastOne
	if m == AtMostOne {
		suffix = labelAtMostOne
	}
	if len(link)+len(suffix) >= unix.IFNAMSIZ {
		return ""
	}
	return link + suffix
}

func labelMark(label string) Mark {
	switch {
	case strings.HasSuffix(label, labelAtMostOne):
		return AtMostOne
	case strings.HasSuffix(label, labelAtLeastOne):
		return AtLeastOne
	default:
		return 0
	}
}

// setLink answers with the link before and after, and whether anything of it
// changed.
func (p *picture) setLink(m linkMessage) (before, after Link, changed bool) {
	before = p.links[m.index]
	after = before
	after.Index = m.index
	if m.name != "" {
		after.Name = m.name
	}
	if m.mac != nil {
		after.MAC = m.mac
	}
	if m.mtu >= 0 {
		after.MTU = m.mtu
	}
	after.Up = m.flags&unix.IFF_UP != 0
	after.Carrier = after.Up && m.flags&unix.IFF_LOWER_UP != 0 &&
		(m.oper < 0 || m.oper == operUnknown || m.oper == operUp)
	p.links[m.index] = after
	alts := p.alts[m.index]
	if m.name != "" { // the message is a whole one
		p.alts[m.index] = m.altNames
	}
	changed = !sameLink(before, after) || !slices.Equal(alts, p.alts[m.index])
	return before, after, changed
}

func sameLink(a, b Link) bool {
	return a.Index == b.Index && a.Name == b.Name && a.Up == b.Up && a.Carrier == b.Carrier && a.MTU == b.MTU &&
		slices.Equal(a.MAC, b.MAC)
}

// dropLink forgets a link and what was on it.
func (p *picture) dropLink(index int) (gone Link, was bool) {
	gone, was = p.links[index]
	delete(p.links, index)
	delete(p.alts, index)
	for k := range p.addrs {
		if k.link == index {
			p.dropAddr(k)
		}
	}
	return gone, was
}

// setAddr reports whether anything changed but a lifetime in the way that Add
// asked for, or as time goes by.
func (p *picture) setAddr(m addrMessage, now time.Time) (changed bool) {
	before, was := p.addrs[m.key]
	e := entry{proto: m.proto, label: m.label, flags: m.flags}
	if m.valid > 0 {
		e.until = now.Add(m.valid)
	}
	p.addrs[m.key] = e
	if m.key.peer.Is6() {
		p.hosts[m.key.host()] = m.key
	}
	if !was || before.proto != e.proto || before.until.IsZero() != e.until.IsZero() {
		return true
	}
	if e.until.IsZero() || near(before.until, e.until) {
		return false
	}
	c, asked := p.claims[m.key]
	return !asked || !near(c.until, e.until)
}

// near: the kernel shows lifetimes in seconds, rounded.
func near(a, b time.Time) bool { return a.Sub(b).Abs() <= 2*time.Second }

func (p *picture) dropAddr(k addrKey) (was bool) {
	_, was = p.addrs[k]
	delete(p.addrs, k)
	delete(p.claims, k)
	if p.hosts[k.host()] == k {
		delete(p.hosts, k.host())
	}
	return was
}
