package netif

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Remover takes addresses away without knowing the interfaces: for a process that
// has waited for that moment alone, and keeps no picture up to date meanwhile.
type Remover struct{ requests *conn }

// NewRemover makes a Remover for the current thread's network namespace. The
// caller closes it.
func NewRemover() (*Remover, error) {
	c, err := dial(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return &Remover{c}, nil
}

// Close ends the Remover.
func (r *Remover) Close() error { return r.requests.close() }

// Remove takes addresses away from whatever links they are on, with whatever
// length, flip's or not. One that is not there is fine. The answer has one error
// for each.
func (r *Remover) Remove(addrs []netip.Addr) []error {
	errs := make([]error, len(addrs))
	wanted := make(map[netip.Addr]int, len(addrs))
	for i, a := range addrs {
		wanted[a.Unmap().WithZone("")] = i
	}
	var found []addrKey
	err := r.requests.dump(ask(unix.RTM_GETADDR, make([]byte, sizeofIfAddrmsg)...), unix.RTM_NEWADDR,
		func() { found = found[:0] }, func(body []byte) {
			if m, ok := decodeAddr(body); ok {
				if _, ok := wanted[m.key.prefix.Addr()]; ok {
					found = append(found, m.key)
				}
			}
		})
	if errors.Is(err, errDisturbed) {
		err = nil // found is what the last reading showed, of what was there before it
	}
	if err != nil {
		for i := range errs {
			errs[i] = fmt.Errorf("read the addresses: %w", err)
		}
		return errs
	}
	// The last first: the kernel walks over all that stand behind the one that it
	// removes, 1,000 take it half as long this way.
	slices.Reverse(found)
	for len(found) > 0 {
		n := min(batchSize, len(found))
		b := &batch{}
		for _, k := range found[:n] {
			deleteMessage(b, k)
		}
		for i, err := range r.requests.do(b) {
			if err == nil || absent(err) {
				continue
			}
			if errors.Is(err, unix.EPERM) {
				err = ErrForbidden
			}
			k := found[i]
			at := wanted[k.prefix.Addr()]
			errs[at] = errors.Join(errs[at], fmt.Errorf("remove %s from interface %d: %w", k.prefix, k.link, err))
		}
		found = found[n:]
	}
	return errs
}

// absent reports whether a removal failed since there is nothing to remove: no
// such address, no such link, no IPv6 on it.
func absent(err error) bool {
	return errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)
}
