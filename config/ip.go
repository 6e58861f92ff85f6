package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/flip-ha/flip/fsm"
)

const (
	// mostInterface is what Linux keeps of an interface's name: IFNAMSIZ less the
	// zero at its end.
	mostInterface = 15
	// mostNotified bounds the hosts of one prefix: a /20, told in two seconds.
	mostNotified  = 1 << notifiedBits
	notifiedBits  = 12
	mostTrack     = 64 // things that one system watches
	mostNotify    = 256
	mostItemAddrs = 256 // addresses that move together
	ofIP          = "belongs to action ip"
	ofClient      = "belongs to action client"
)

// The keys that only one of the actions has.
var (
	hookKeys   = []string{"alive", "down", "config"}
	ipKeys     = []string{"interface", "gate", "probe", "track", "notify"}
	clientKeys = []string{"on_timeout"}
)

// misplaced reports the keys of the other actions.
func (p *parser) misplaced(o object, action fsm.Action) {
	if action != fsm.ActionClient {
		p.refuse(o, clientKeys, `leave it out, or set "action": "client"`, ofClient)
	}
	switch action {
	case fsm.ActionHooks:
		p.refuse(o, ipKeys, `set "action": "ip", or put it into config, where the commands find it`, ofIP)
	case fsm.ActionIP:
		const what = "belongs to action hooks: with action ip flip plumbs the addresses itself, and no command runs"
		p.refuse(o, hookKeys[:2], orHooks, what)
		p.refuse(o, hookKeys[2:], "leave it out: interface is a key of the system itself", what)
	case fsm.ActionClient:
		const what = "belongs to action hooks: with action client a program that has claimed the system is told, and no command runs"
		p.refuse(o, hookKeys[:2], orHooks, what)
		p.refuse(o, hookKeys[2:], "leave it out: the program has a configuration of its own", what)
		p.refuse(o, ipKeys, `leave it out, or set "action": "ip"`, ofIP)
	}
}

const orHooks = `leave it out, or set "action": "hooks"`

// refuse reports each of some keys that is there.
func (p *parser) refuse(o object, names []string, hint, what string) {
	for _, name := range names {
		if _, f := o.get(name); f.set {
			p.fail(f.keyAt, f.key, hint, "%s", what)
		}
	}
}

// ip reads how a system's addresses are plumbed.
func (p *parser) ip(o object, s *fsm.System) {
	s.IP = &fsm.IP{}
	s.IP.Interface, _ = p.device(o)
	s.IP.NoGate = p.gate(o, s.Guarantee)
	if probe, f := p.onOff(o, "probe"); f.good {
		s.IP.NoProbe = !probe
	}
	s.IP.Track = p.track(o)
	s.IP.Notify = p.notify(o)
}

// onOff reads "on" or "off".
func (p *parser) onOff(o object, name string) (bool, field) {
	v, f := o.get(name)
	if f.set && v.kind == kindBool {
		p.wrong(v, f, `"on" or "off"`, "write "+map[bool]string{true: `"on"`, false: `"off"`}[v.yes])
		return false, f
	}
	word, f := o.word(name, []string{"on", "off"})
	return word == "on", f
}

// gate reports whether the kernel gate is given up.
func (p *parser) gate(o object, g fsm.Guarantee) bool {
	on, f := p.onOff(o, "gate")
	if f.good && g == fsm.AtLeastOne {
		p.fail(f.keyAt, f.key, "leave it out", "only at-most-one addresses have a gate: an isolated at-least-one holder keeps serving")
		return false
	}
	return f.good && !on
}

// device reads the key interface.
func (p *parser) device(o object) (string, field) {
	text, f := o.text("interface")
	if f.good {
		f.good = p.isDevice(text, f)
	}
	if !f.good {
		return "", f
	}
	return text, f
}

func (p *parser) isDevice(text string, f field) bool {
	device, _, alias := strings.Cut(text, ":")
	switch {
	case alias:
		p.fail(f.at, f.key, fmt.Sprintf("write %q: addresses need no alias", device), "%s is no interface", quote(text))
	case len(text) > mostInterface:
		p.fail(f.at, f.key, "", "the name of an interface has at most %d bytes, %s has %d", mostInterface, quote(text), len(text))
	case strings.ContainsAny(text, "/% ") || text == "." || text == "..":
		p.fail(f.at, f.key, "", "%s is no interface", quote(text))
	default:
		return true
	}
	return false
}

// list reads the entries of a key that holds a list, or one entry alone.
func (p *parser) list(o object, name string, most int) ([]*value, field) {
	v, f := o.get(name)
	if !f.set {
		return nil, f
	}
	if v.kind != kindArray {
		return []*value{v}, f
	}
	if len(v.list) > most {
		p.fail(v.at, f.key, "", "%d entries, at most %d are possible", len(v.list), most)
		return nil, f
	}
	return v.list, f
}

// track reads what must stand on a member that holds the system's addresses.
func (p *parser) track(o object) []fsm.Track {
	entries, f := p.list(o, "track", mostTrack)
	var out []fsm.Track
	for _, v := range entries {
		t, ok := p.tracked(v, field{at: v.at, keyAt: v.at, key: f.key, set: true})
		switch {
		case !ok:
		case slices.Contains(out, t):
			p.fail(v.at, f.key, "remove one of the two", "%s is there twice", quote(t.Interface+t.Route))
		default:
			out = append(out, t)
		}
	}
	return out
}

func (p *parser) tracked(v *value, f field) (fsm.Track, bool) {
	if v.kind == kindString {
		name, f := p.text(v, f)
		if _, err := netip.ParsePrefix(name); err == nil {
			p.fail(f.at, f.key, fmt.Sprintf(`write {"route": %s}`, quote(name)), "%s is no interface", quote(name))
			return fsm.Track{}, false
		}
		return fsm.Track{Interface: name}, f.good && p.isDevice(name, f)
	}
	if v.kind != kindObject {
		p.wrong(v, f, `the name of an interface, or {"route": "0.0.0.0/0"}`, "")
		return fsm.Track{}, false
	}
	o := p.object(v, f.key+"[].", levelTrack)
	name, n := p.device(o)
	text, r := o.text("route")
	switch {
	case n.set && r.set:
		p.fail(r.keyAt, r.key, "make two entries of it", "cannot stand beside interface")
		return fsm.Track{}, false
	case !n.set && !r.set:
		p.fail(v.at, f.key, "", "must have interface or route")
		return fsm.Track{}, false
	case n.set:
		return fsm.Track{Interface: name}, n.good
	case !r.good:
		return fsm.Track{}, false
	}
	route, bad := routeOf(text)
	if bad != nil {
		p.fail(r.at, r.key, bad.hint, "%s", bad.what)
		return fsm.Track{}, false
	}
	return fsm.Track{Route: route.String()}, true
}

// routeOf reads the destination of a route.
func routeOf(text string) (netip.Prefix, *wrongAddress) {
	if text == "default" {
		return netip.Prefix{}, &wrongAddress{`"default" may be of IPv4 or of IPv6`, `write "0.0.0.0/0" or "::/0"`}
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return netip.Prefix{}, &wrongAddress{quote(text) + " is a host, and a route has bits", fmt.Sprintf(`"%s/%d" is the route to it`, a, a.BitLen())}
	}
	route, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return netip.Prefix{}, &wrongAddress{quote(text) + " is no route", `a prefix such as "0.0.0.0/0" or "10.0.0.0/8"`}
	case route.Masked() != route:
		return netip.Prefix{}, &wrongAddress{quote(text) + " has bits of a host", fmt.Sprintf("write %q", route.Masked())}
	default:
		return route, nil
	}
}

// notify reads who is told of a takeover by unicast.
func (p *parser) notify(o object) []fsm.Notify {
	entries, f := p.list(o, "notify", mostNotify)
	var out []fsm.Notify
	for _, v := range entries {
		n, ok := p.notified(v, field{at: v.at, keyAt: v.at, key: f.key, set: true})
		switch {
		case !ok:
		case slices.Contains(out, n):
			p.fail(v.at, f.key, "remove one of the two", "%s is there twice", quote(notifyWords(n)))
		default:
			out = append(out, n)
		}
	}
	return out
}

func (p *parser) notified(v *value, f field) (fsm.Notify, bool) {
	var n fsm.Notify
	text := ""
	if v.kind == kindObject {
		o := p.object(v, f.key+"[].", levelNotify)
		name, dev := p.device(o)
		if text, f = o.text("hosts"); !f.set {
			p.missing(f, `an address, a prefix, or "arp-cache"`)
		}
		if dev.set && !dev.good {
			return n, false
		}
		n.Interface = name
	} else {
		if v.kind != kindString {
			p.wrong(v, f, `"arp-cache", an address or a prefix`, "")
			return n, false
		}
		text, f = p.text(v, f)
	}
	if !f.good {
		return n, false
	}
	if text == "arp-cache" {
		n.ARPCache = true
		return n, true
	}
	hosts, bad := hostsOf(text)
	if bad != nil {
		p.fail(f.at, f.key, bad.hint, "%s", bad.what)
		return n, false
	}
	n.Hosts = hosts
	return n, true
}

// hostsOf reads an address, or a prefix for all of its addresses.
func hostsOf(text string) (string, *wrongAddress) {
	if !strings.Contains(text, "/") || strings.Contains(text, "%") {
		if near := nearest(text, []string{"arp-cache"}); near != "" {
			return "", &wrongAddress{quote(text) + " is unknown", `did you mean "arp-cache"?`}
		}
		a, bad := itemAddress(text)
		if bad != nil && strings.Contains(text, "%") {
			bad.hint = `write {"interface": …, "hosts": …}`
		}
		return a.Addr().String(), bad
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return "", &wrongAddress{quote(text) + " is no prefix", reason(err)}
	case p.Addr().Is4In6() || p.Addr().IsMulticast() || p.Addr().IsLoopback():
		return "", &wrongAddress{quote(text) + " holds no addresses of hosts on a wire", ""}
	case p.Addr().BitLen()-p.Bits() > notifiedBits:
		return "", &wrongAddress{
			fmt.Sprintf("%s has more than %d hosts, and each is told by a frame of its own", quote(text), mostNotified),
			fmt.Sprintf(`/%d at most, or "arp-cache": the hosts that are known`, p.Addr().BitLen()-notifiedBits),
		}
	default:
		return p.Masked().String(), nil
	}
}
