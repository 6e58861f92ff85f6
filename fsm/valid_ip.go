package fsm

import (
	"fmt"
	"net/netip"
	"strings"
)

// invalidAction says why a system's action cannot work with the rest of it.
func (s *System) invalidAction() string {
	switch {
	case s.Action == 0:
		return "it has no action"
	case s.Action > ActionClient:
		return "its action is unknown"
	case (s.Action == ActionIP) != (s.IP != nil):
		return "how addresses are plumbed is said of a system with action ip, and of no other"
	case s.Action == ActionClient && (s.Alive != "" || s.Down != ""):
		return "a program takes its items and lets go of them: it has no hooks"
	case s.TakeoverAfter < NeverTakeOver:
		return "its takeover time is negative"
	case s.TakeoverAfter != 0 && s.Guarantee != AtMostOne:
		return "only an at-most-one system has a takeover time"
	case s.Fence != "" && s.Guarantee != AtMostOne:
		return "only an at-most-one system is fenced"
	case (s.Fence != "") != (s.FenceTimeout > 0):
		return "a fence has a time limit, and nothing else has"
	case s.IP != nil:
		return s.IP.invalid()
	default:
		return ""
	}
}

func (ip *IP) invalid() string {
	for _, t := range ip.Track {
		if (t.Interface == "") == (t.Route == "") {
			return "what is tracked is an interface or a route"
		}
		if route, err := netip.ParsePrefix(t.Route); t.Route != "" && (err != nil || route.Masked().String() != t.Route) {
			return fmt.Sprintf("%q is no route", t.Route)
		}
	}
	for _, n := range ip.Notify {
		if n.ARPCache == (n.Hosts != "") {
			return "who is told is the ARP cache or hosts"
		}
		if _, err := netip.ParseAddr(n.Hosts); err == nil || n.Hosts == "" {
			continue
		}
		if _, err := netip.ParsePrefix(n.Hosts); err != nil {
			return fmt.Sprintf("%q is neither an address nor a prefix", n.Hosts)
		}
	}
	return ""
}

// invalidAddrs says why an item's addresses cannot work with its system's action.
func (s *System) invalidAddrs(item Item) string {
	if s.Action != ActionIP {
		if len(item.Addrs) > 0 || item.Interface != "" {
			return fmt.Sprintf("item %q has addresses, and only the ip action plumbs them", item.ID)
		}
		return ""
	}
	if len(item.Addrs) == 0 {
		return fmt.Sprintf("item %q has no address", item.ID)
	}
	var buf [64]byte // an IPv6 address with its bits takes 43
	for _, a := range item.Addrs {
		p, err := netip.ParsePrefix(a)
		if err != nil || p.Bits() == 0 || p.Addr().Is4In6() || string(p.AppendTo(buf[:0])) != a {
			return fmt.Sprintf("item %q: %q is no address with its bits, as in 192.0.2.7/24", item.ID, a)
		}
	}
	return ""
}

// addressOf is what an item's "ADDRESS/BITS" names: with other bits it is the
// same address still.
func addressOf(a string) string {
	addr, _, _ := strings.Cut(a, "/")
	return addr
}
