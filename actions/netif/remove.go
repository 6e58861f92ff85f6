package netif

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Remove takes addresses away, flip's or not, and returns when the picture no
// longer shows them. Only Link and Prefix matter. One that is not there is fine,
// and so is a link that has gone. The answer has one error for each.
func (n *Net) Remove(addrs []Address) []error {
	errs := make([]error, len(addrs))
	for first := 0; first < len(addrs); {
		size := firstBatch(len(addrs)-first, func(i int) bool { return addrs[first+i].Prefix.Addr().Is6() })
		n.removeSome(addrs[first:first+size], errs[first:first+size])
		first += size
	}
	return errs
}

func (n *Net) removeSome(addrs []Address, errs []error) {
	b := &batch{}
	var owner []int
	n.mu.Lock()
	for i, a := range addrs {
		if !a.Prefix.IsValid() {
			errs[i] = errors.New("remove: not an address")
			continue
		}
		for _, k := range n.picture.named(plainKey(a.Link, a.Prefix)) {
			deleteMessage(b, k)
			owner = append(owner, i)
		}
	}
	n.mu.Unlock()

	results := n.requests.do(b)

	n.mu.Lock()
	defer n.mu.Unlock()
	n.drain()
	for m, err := range results {
		if i := owner[m]; err != nil && !absent(err) {
			errs[i] = n.explain("remove", "from", plainKey(addrs[i].Link, addrs[i].Prefix), err)
		}
	}
}

// named are the kernel's addresses of that name: the plain one, or else those
// with a peer. Nothing is known: it is tried all the same.
func (p *picture) named(key addrKey) []addrKey {
	if _, ok := p.addrs[key]; ok {
		return []addrKey{key}
	}
	var all []addrKey
	for k := range p.addrs {
		if k.link == key.link && k.prefix == key.prefix {
			all = append(all, k)
		}
	}
	if len(all) == 0 {
		all = []addrKey{key}
	}
	return all
}

// explain says what failed in words of the one who reads the log; n.mu is held.
func (n *Net) explain(verb, where string, k addrKey, err error) error {
	name := n.picture.links[k.link].Name
	if name == "" {
		name = fmt.Sprintf("interface %d", k.link)
	}
	switch {
	case errors.Is(err, unix.EPERM):
		err = ErrForbidden
	case errors.Is(err, unix.ENODEV):
		err = ErrNoInterface
	case errors.Is(err, unix.EACCES) && k.prefix.Addr().Is6():
		err = fmt.Errorf("IPv6 is off there, see net.ipv6.conf.%s.disable_ipv6: %w", name, err)
	case errors.Is(err, unix.EOPNOTSUPP) && k.prefix.Addr().Is6():
		err = fmt.Errorf("this kernel has no IPv6: %w", err)
	}
	return fmt.Errorf("%s %s %s %s: %w", verb, k.prefix, where, name, err)
}

// deleteMessage names the address exactly: with IFA_LOCAL alone the kernel
// takes the first that matches, be it the host's own.
func deleteMessage(b *batch, k addrKey) {
	b.begin(unix.RTM_DELADDR, 0, addrHeader(k)...)
	b.attr(unix.IFA_LOCAL, k.prefix.Addr().AsSlice())
	b.attr(unix.IFA_ADDRESS, k.peer.AsSlice())
	b.end()
}
