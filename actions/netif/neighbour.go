package netif

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Neighbour is a host on a link whose MAC the kernel knows.
type Neighbour struct {
	Link int
	IP   netip.Addr
	MAC  net.HardwareAddr
}

// Neighbours lists the hosts that answered when they were last asked (the
// kernel's states reachable, stale, delay, probe) or were set by hand. A host
// that comes or goes while it is read may be missing.
func (n *Net) Neighbours() ([]Neighbour, error) {
	n.mu.Lock()
	closed := n.closed
	n.mu.Unlock()
	if closed { // the library would make a new socket
		return nil, fmt.Errorf("list the neighbours: %w", net.ErrClosed)
	}
	var all []Neighbour
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := n.lib.NeighList(0, family)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, unix.EOPNOTSUPP) {
			return nil, fmt.Errorf("list the neighbours: %w", err)
		}
		for _, one := range list {
			if nb, ok := known(one); ok {
				all = append(all, nb)
			}
		}
	}
	return all, nil
}

// known answers ok for hosts that are there, or were when last looked.
func known(one netlink.Neigh) (n Neighbour, ok bool) {
	const there = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE | netlink.NUD_PERMANENT
	n = Neighbour{Link: one.LinkIndex, MAC: one.HardwareAddr}
	addr, valid := netip.AddrFromSlice(one.IP)
	n.IP = addr.Unmap()
	if !valid || n.IP.IsMulticast() || n.IP.IsUnspecified() || one.State&there == 0 {
		return n, false
	}
	return n, slices.ContainsFunc(n.MAC, func(c byte) bool { return c != 0 })
}
