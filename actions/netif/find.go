package netif

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Find is the link on which an address is to be plumbed: iface, by its name or
// one of its alternative names (ErrNoInterface), or where iface is "" the link
// with the most specific subnet of its own that holds the address (ErrNoSubnet,
// ErrAmbiguous). Flip's own addresses are nobody's subnet, nor is p itself: what
// is plumbed now must not decide where it is plumbed next.
func (n *Net) Find(p netip.Prefix, iface string) (Link, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if iface != "" {
		l, ok := n.picture.link(iface)
		if !ok {
			return Link{}, fmt.Errorf("interface %q%s: %w", iface, nameHint(iface), ErrNoInterface)
		}
		return l, nil
	}
	key := plainKey(0, p)
	addr := key.peer
	best, found := -1, map[int]bool{}
	for k, e := range n.picture.addrs {
		s := k.subnet()
		if s.IsSingleIP() || s.Bits() < best || k.prefix.Addr() == addr || !s.Contains(addr) || n.picture.mark(k, e) != 0 {
			continue
		}
		if s.Bits() > best {
			best = s.Bits()
			clear(found)
		}
		found[k.link] = true
	}
	var names []string
	var l Link
	for index := range found {
		l = n.picture.links[index]
		names = append(names, l.Name)
	}
	slices.Sort(names)
	switch len(names) {
	case 0:
		return Link{}, fmt.Errorf("%s is %w", addr, ErrNoSubnet)
	case 1:
		return l, nil
	default:
		return Link{}, fmt.Errorf("%s is %w (%s)", addr, ErrAmbiguous, strings.Join(names, ", "))
	}
}

// nameHint helps with names as `ip` and `ifconfig` print them.
func nameHint(name string) string {
	if before, _, ok := strings.Cut(name, "@"); ok {
		return fmt.Sprintf(" (write %q: what follows the @ is only shown, the lower link)", before)
	}
	if before, _, ok := strings.Cut(name, ":"); ok {
		return fmt.Sprintf(" (write %q: what follows the colon is an address's label)", before)
	}
	return ""
}

// link finds by name; a name goes before an alternative one.
func (p *picture) link(name string) (Link, bool) {
	for _, l := range p.links {
		if l.Name == name {
			return l, true
		}
	}
	for index, alts := range p.alts {
		if slices.Contains(alts, name) {
			return p.links[index], true
		}
	}
	return Link{}, false
}

// Link is the link of that name or alternative name.
func (n *Net) Link(name string) (Link, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.picture.link(name)
}

// LinkByIndex is the link of that number. A link that was deleted and made anew
// has another one.
func (n *Net) LinkByIndex(index int) (Link, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l, ok := n.picture.links[index]
	return l, ok
}

// Links lists all links by number.
func (n *Net) Links() []Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]Link, 0, len(n.picture.links))
	for _, l := range n.picture.links {
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b Link) int { return cmp.Compare(a.Index, b.Index) })
	return all
}
