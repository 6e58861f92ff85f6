package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// link is what the doctor needs of a network interface.
type link struct {
	name          string
	index         int
	kind          string // device, bond, vlan, macvlan, …
	mode          string // of a bond, a macvlan or an ipvlan
	up, running   bool
	master        int // the bridge or bond it is a port of
	parent        int // what a VLAN or macvlan is on
	noARP         bool
	xdp           bool
	neighSuppress bool
	redirects     []string // tc filters that take packets away
	programs      int      // tc programs, which may
	abroad        bool     // parent is in another namespace
}

// Links judges the interfaces that addresses are plumbed on, and what is under
// and behind them, for what takes packets before the gate sees them.
func Links(uses []Use, gated bool) []Finding {
	if len(uses) == 0 {
		return []Finding{skip("interfaces", "flip plumbs no addresses here")}
	}
	all, err := readLinks()
	if err != nil {
		return []Finding{skip("interfaces", err.Error())}
	}
	var out []Finding
	var names []string
	for _, u := range uses {
		names = append(names, u.Name)
		out = append(out, kindOf(all, u)...)
	}
	if !gated {
		return append(out, skip("past the gate", "no at-most-one addresses here"))
	}
	return append(out, passes(all, names)...)
}

// stack is an interface with all that its packets go through on this host: what
// it is on, the other end of a veth, what each of these is a port of, and the
// ports of what it is on itself. The other ports of its own bridge are others'.
func stack(all []link, name string) []link {
	type step struct {
		index int
		ports bool
	}
	var todo []step
	for _, l := range all {
		if l.name == name {
			todo = append(todo, step{l.index, true})
		}
	}
	var out []link
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		i := slices.IndexFunc(all, func(l link) bool { return l.index == at.index })
		if i < 0 || slices.ContainsFunc(out, func(o link) bool { return o.index == at.index }) {
			continue
		}
		l := all[i]
		out = append(out, l)
		if l.parent != 0 && !l.abroad {
			todo = append(todo, step{l.parent, l.kind != "veth"})
		}
		todo = append(todo, step{l.master, false})
		for _, port := range all {
			if at.ports && port.master == l.index {
				todo = append(todo, step{port.index, true})
			}
		}
	}
	return out
}

// kindOf judges what an interface is.
func kindOf(all []link, u Use) []Finding {
	const check = "interface"
	i := slices.IndexFunc(all, func(l link) bool { return l.name == u.Name })
	if i < 0 {
		return []Finding{{
			Check: check, On: u.Name, Verdict: Bad, Found: "there is none of this name",
			Do: "`ip -br link` lists them; `interface` in the file names it",
		}}
	}
	l := all[i]
	f := Finding{Check: check, On: u.Name, Verdict: OK, Found: strings.TrimSpace(l.kind + " " + l.mode)}
	switch {
	case !l.up:
		f.Verdict, f.Do = Warn, "ip link set "+u.Name+" up"
		f.Found += ", is down: this node is unfit for its addresses"
	case !l.running:
		f.Verdict, f.Do = Warn, "look at its cable and switch port"
		f.Found += ", has no carrier: this node is unfit for its addresses"
	case l.noARP && l.kind != "device":
		f.Verdict, f.Do = Warn, "addresses there want a route that follows the holder; nobody can be told of a takeover"
		f.Found += ", does no ARP: announcements reach nobody"
	case l.kind == "ipvlan" && l.mode != "l2":
		f.Verdict, f.Do = Warn, "use mode l2: in the others there is no ARP, and nobody can be told of a takeover"
	case l.kind == "bond" && (l.mode == "balance-alb" || l.mode == "balance-tlb"):
		f.Verdict, f.Do = Warn, "use active-backup or 802.3ad"
		f.Found += ": it gives clients different MACs for one address, and announcements name one only"
	case l.kind == "macvlan" || l.kind == "ipvlan":
		f.Verdict = Note
		f.Found += ": this host itself does not reach its addresses, nor the other way round"
	}
	return []Finding{f}
}

// passes looks for all that takes packets past the gate.
func passes(all []link, names []string) []Finding {
	const check = "past the gate"
	var out []Finding
	var looked []string
	seen := map[int]bool{}
	for _, name := range names {
		for _, l := range stack(all, name) {
			if seen[l.index] {
				continue
			}
			seen[l.index] = true
			looked = append(looked, l.name)
			out = append(out, l.passes()...)
		}
	}
	if len(out) == 0 {
		return []Finding{{Check: check, Verdict: OK, Found: "no XDP, tc redirect or neighbour suppression on " + strings.Join(looked, ", ")}}
	}
	return out
}

func (l link) passes() []Finding {
	const check = "past the gate"
	var out []Finding
	add := func(v Verdict, found, do string) {
		out = append(out, Finding{Check: check, On: l.name, Verdict: v, Found: found, Do: do})
	}
	if l.xdp {
		add(Warn, "an XDP program sees packets first, and may answer or forward them", "keep it off the virtual addresses, or off this interface: ip link show "+l.name)
	}
	for _, r := range l.redirects {
		add(Warn, r+": what it takes never meets the gate", "keep the virtual addresses out of it: tc filter show dev "+l.name+" ingress; … egress")
	}
	if l.programs > 0 {
		add(Note, count(l.programs, "tc program")+": flip cannot tell whether they forward packets of virtual addresses past the gate (bpftool net)", "")
	}
	if l.neighSuppress {
		add(Warn, "neigh_suppress: the bridge answers ARP and ND from its own table, whatever this host wants", "bridge link set dev "+l.name+" neigh_suppress off")
	}
	return out
}

// readLinks asks the kernel. What an older kernel cannot tell is as if it was not
// there.
func readLinks() ([]link, error) {
	var found []netlink.Link
	var err error
	for range 3 { // a list that changed meanwhile is read again
		if found, err = netlink.LinkList(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	all := make([]link, 0, len(found))
	for _, l := range found {
		a := l.Attrs()
		one := link{
			name: a.Name, index: a.Index, kind: l.Type(), mode: modeOf(l), master: a.MasterIndex, parent: a.ParentIndex,
			up: a.RawFlags&unix.IFF_UP != 0, running: a.RawFlags&unix.IFF_LOWER_UP != 0,
			noARP: a.RawFlags&unix.IFF_NOARP != 0, xdp: a.Xdp != nil && a.Xdp.Attached, abroad: a.NetNsID >= 0 && a.ParentIndex != 0,
		}
		if a.MasterIndex != 0 {
			if info, err := netlink.LinkGetProtinfo(l); err == nil {
				one.neighSuppress = info.NeighSuppress
			}
		}
		one.redirects, one.programs = filters(l)
		all = append(all, one)
	}
	return all, nil
}

func modeOf(l netlink.Link) string {
	switch l := l.(type) {
	case *netlink.Bond:
		return l.Mode.String()
	case *netlink.IPVlan:
		return []string{"l2", "l3", "l3s"}[min(int(l.Mode), 2)]
	}
	return ""
}

// filters lists what tc does with the packets of a link before and behind the
// gate.
func filters(l netlink.Link) (redirects []string, programs int) {
	for side, parent := range map[string]uint32{"ingress": netlink.HANDLE_MIN_INGRESS, "egress": netlink.HANDLE_MIN_EGRESS} {
		list, err := netlink.FilterList(l, parent)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			continue
		}
		for _, f := range list {
			_, program := f.(*netlink.BpfFilter)
			if program {
				programs++
			}
			if to := redirected(f); to != "" {
				redirects = append(redirects, fmt.Sprintf("a tc filter (%s, %s) redirects packets to %s", f.Type(), side, to))
			}
		}
	}
	slices.Sort(redirects)
	programs += tcx(l.Attrs().Index)
	return redirects, programs
}

// redirected names the interface that a filter sends packets to; "": none.
func redirected(f netlink.Filter) string {
	var actions []netlink.Action
	switch f := f.(type) {
	case *netlink.U32:
		actions = f.Actions
	case *netlink.MatchAll:
		actions = f.Actions
	case *netlink.Flower:
		actions = f.Actions
	case *netlink.FwFilter:
		actions = f.Actions
	}
	for _, a := range actions {
		if m, ok := a.(*netlink.MirredAction); ok && (m.MirredAction == netlink.TCA_EGRESS_REDIR || m.MirredAction == netlink.TCA_INGRESS_REDIR) {
			if to, err := netlink.LinkByIndex(m.Ifindex); err == nil {
				return to.Attrs().Name
			}
			return fmt.Sprintf("interface %d", m.Ifindex)
		}
	}
	return ""
}
