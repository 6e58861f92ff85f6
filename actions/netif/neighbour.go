package netif

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Neighbour is a host on a link whose MAC the kernel knows.
type Neighbour struct {
	Link int
	IP   netip.Addr
	MAC  net.HardwareAddr
}

// Neighbours lists the hosts that answered when they were last asked (the
// kernel's states reachable, stale, delay, probe) or were set by hand.
func (n *Net) Neighbours() ([]Neighbour, error) {
	var all []Neighbour
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		before := len(all)
		header := make([]byte, sizeofNdMsg)
		header[0] = family
		err := n.routes.dump(ask(unix.RTM_GETNEIGH, header...), unix.RTM_NEWNEIGH,
			func() { all = all[:before] },
			func(body []byte) {
				if nb, ok := decodeNeighbour(body); ok {
					all = append(all, nb)
				}
			})
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return nil, fmt.Errorf("list the neighbours: %w", err)
		}
	}
	return all, nil
}
