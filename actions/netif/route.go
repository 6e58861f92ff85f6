package netif

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// HasRoute reports whether the main table has the route p, or a less specific
// one that holds all of p and is not a default route: who asks for
// 10.1.0.0/16 wants to know whether it can be reached on purpose, and a default
// route claims to reach anything. A default route is asked for as 0.0.0.0/0 or
// ::/0. Only a route that leads somewhere counts: unicast, and with a next hop
// whose link has its carrier.
//
// The first question about a prefix reads the table; after that Run keeps the
// answer.
func (n *Net) HasRoute(p netip.Prefix) bool {
	if !p.IsValid() {
		return false
	}
	p = plainKey(0, p).prefix.Masked()
	n.mu.Lock()
	a, watched := n.watched[p]
	if !watched {
		n.watched[p] = answer{} // from here on events concern it
	}
	n.mu.Unlock()
	if a.known {
		return a.has
	}
	n.asking.Lock()
	defer n.asking.Unlock()
	if err := n.answer([]netip.Prefix{p}); err != nil {
		n.log.Warn().Err(err).Stringer("route", p).Msg("cannot read the routes")
		return false // still not known: the next question asks again
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.watched[p].has
}

// answer is what HasRoute says of one prefix.
type answer struct{ has, known bool }

// answersFor reports whether route dst is an answer to the question for p.
func answersFor(dst, p netip.Prefix) bool {
	if p.Bits() == 0 || dst.Bits() == 0 {
		return dst == p
	}
	return dst.Bits() <= p.Bits() && dst.Contains(p.Addr())
}

// concerns reports whether a change of that route may change an answer; n.mu is
// held.
func (n *Net) concerns(r routeMessage) bool {
	if r.table != unix.RT_TABLE_MAIN {
		return false
	}
	for p := range n.watched {
		if answersFor(r.dst.Masked(), p) {
			return true
		}
	}
	return false
}

// refreshRoutes answers the questions anew after something happened to routes.
// Only Run calls it.
func (n *Net) refreshRoutes() {
	n.asking.Lock()
	defer n.asking.Unlock()
	n.mu.Lock()
	if !n.stale || n.closed {
		n.mu.Unlock()
		return
	}
	n.stale = false
	all := make([]netip.Prefix, 0, len(n.watched))
	for p := range n.watched {
		all = append(all, p)
	}
	n.mu.Unlock()
	if len(all) == 0 {
		return
	}
	if err := n.answer(all); err != nil {
		n.log.Warn().Err(err).Msg("cannot read the routes: the former answers stand")
		n.mu.Lock()
		defer n.mu.Unlock()
		n.stale = true // Run tries again
	}
}

// answer reads the routes, outside n.mu since the table may be large, and
// stores what they answer; n.asking is held.
func (n *Net) answer(asked []netip.Prefix) error {
	answers, err := n.readRoutes(asked)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for p, has := range answers {
		before := n.watched[p]
		n.watched[p] = answer{has: has, known: true}
		if before.known && before.has != has {
			n.log.Info().Stringer("route", p).Bool("there", has).Msg("route changed")
			n.signal()
		}
	}
	return nil
}

// readRoutes reads the main table of each family concerned.
func (n *Net) readRoutes(asked []netip.Prefix) (map[netip.Prefix]bool, error) {
	answers := make(map[netip.Prefix]bool, len(asked))
	families := map[byte]bool{}
	for _, p := range asked {
		answers[p] = false
		if p.Addr().Is4() {
			families[unix.AF_INET] = true
		} else {
			families[unix.AF_INET6] = true
		}
	}
	for family := range families {
		header := make([]byte, sizeofRtMsg)
		header[0], header[4] = family, unix.RT_TABLE_MAIN
		// A dump that was disturbed is only begun anew: what it has shown was there.
		err := n.routes.dump(ask(unix.RTM_GETROUTE, header...), unix.RTM_NEWROUTE, func() {}, func(body []byte) {
			r, ok := decodeRoute(body)
			if !ok || !r.usable || r.table != unix.RT_TABLE_MAIN {
				return
			}
			for _, p := range asked {
				if !answers[p] && answersFor(r.dst, p) {
					answers[p] = true
				}
			}
		})
		// An empty table may not exist, and a family may not.
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EOPNOTSUPP) {
			return nil, fmt.Errorf("list the routes: %w", err)
		}
	}
	return answers, nil
}
