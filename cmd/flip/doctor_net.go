package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/actions/doctor"
	"github.com/flip-ha/flip/actions/gate"
	"github.com/flip-ha/flip/actions/netif"
	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// connectLimit bounds a connection to a member, where no daemon runs: two lost
// SYNs.
const connectLimit = 3 * time.Second

// network is the gate, the interfaces and the kernel's settings.
func (p *patient) network() []doctor.Finding {
	if p.file == nil {
		return append(p.gateOfDaemon(), doctor.Finding{Check: "gate", Verdict: doctor.Skip, Found: "without the file nobody knows which addresses are served here, nor by which interfaces"})
	}
	t := p.timing()
	uses, unplaced := p.uses()
	gated := slices.ContainsFunc(p.systems(), func(s fsm.System) bool {
		return s.Action == fsm.ActionIP && s.Guarantee == fsm.AtMostOne && !s.IP.NoGate
	})
	own := gateName(p.self())
	out := doctor.Gate(p.gateConfig(gated, own))
	out = append(out, p.gateOfDaemon()...)
	if gated {
		rules, err := doctor.ReadRuleset(own)
		out = append(out, doctor.Others(rules, err, gated, t)...)
	}
	out = append(out, unplaced...)
	if len(uses) > 0 || len(unplaced) == 0 {
		out = append(out, doctor.Links(uses, gated)...)
	}
	var v4, v6 bool
	for _, u := range uses {
		out = append(out, doctor.Sysctls(p.root, u)...)
		v4, v6 = v4 || u.V4, v6 || u.V6
	}
	return append(out, doctor.Nonlocal(p.root, v4, v6)...)
}

func (p *patient) gateConfig(wanted bool, own string) doctor.GateConfig {
	t := p.timing()
	c := doctor.GateConfig{Wanted: wanted, Timing: t, Own: own}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		c.Release = unix.ByteSliceToString(uts.Release[:])
	}
	tick, err := gate.Tick()
	if err == nil {
		c.Tick = tick
	}
	if _, err := gateFuse(fsm.Timing{Lease: t.Lease}); errors.Is(err, errCoarseTick) {
		c.Coarse = err
	}
	if wanted {
		c.Owned, c.Err = tryGate()
		c.Tried = c.Err == nil
	}
	return c
}

// tryGate builds a gate in a network namespace that ends with the try: nothing of
// this machine is touched.
func tryGate() (owned bool, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread and its namespace end here
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("make a network namespace: %w", err)
			return
		}
		g, e := gate.Open(gate.Config{Name: "flip-doctor", Log: zerolog.Nop()}, nil)
		if e != nil {
			err = e
			return
		}
		owned = g.Stats().Owned
		err = errors.Join(g.Dismantle(), g.Close())
	}()
	<-done
	return owned, err
}

// gateOfDaemon is the one that stands.
func (p *patient) gateOfDaemon() []doctor.Finding {
	if p.daemon == nil || p.daemon.Gate.State == api.GateNotNeeded || p.daemon.Gate.State == "" {
		return nil
	}
	f := doctor.Finding{Check: "gate of the daemon", Verdict: doctor.OK, Found: gateWords(p.daemon.Gate)}
	lease := p.timing().Lease
	switch took := time.Duration(p.daemon.Gate.RenewalUS) * time.Microsecond; {
	case p.daemon.Gate.State == api.GateNone:
		f.Found = "none: " + or(p.daemon.Gate.Why, "the daemon does not say why")
		f.Verdict, f.Do = doctor.Warn, "takeovers of this node's addresses wait for their lifetime: put right what it says, then restart flip"
	case took > lease/6:
		f.Verdict, f.Do = doctor.Warn, "somebody holds the packet filter up (nft monitor shows who loads it): a renewal that is late shuts the gate"
	}
	return []doctor.Finding{f}
}

// uses are the interfaces on which this node's addresses would be plumbed, and
// what has no place.
func (p *patient) uses() ([]doctor.Use, []doctor.Finding) {
	links, err := netif.Open(zerolog.Nop())
	if err != nil {
		return nil, []doctor.Finding{{Check: "interfaces", Verdict: doctor.Skip, Found: err.Error()}}
	}
	defer func() { _ = links.Close() }()
	found := map[string]*doctor.Use{}
	lost := map[string]int{}
	for _, s := range p.systems() {
		if s.Action != fsm.ActionIP {
			continue
		}
		for _, item := range s.Items {
			for _, text := range item.Addrs {
				prefix, err := netip.ParsePrefix(text)
				if err != nil {
					continue // config has taken it
				}
				l, err := links.Find(prefix, cmp.Or(item.Interface, s.IP.Interface))
				if err != nil {
					lost[err.Error()]++
					continue
				}
				if found[l.Name] == nil {
					found[l.Name] = &doctor.Use{Name: l.Name}
				}
				found[l.Name].V4 = found[l.Name].V4 || prefix.Addr().Is4()
				found[l.Name].V6 = found[l.Name].V6 || prefix.Addr().Is6()
			}
		}
	}
	var out []doctor.Use
	for _, u := range found {
		u.Shared, u.Many = neighboursOf(u.Name)
		out = append(out, *u)
	}
	slices.SortFunc(out, func(a, b doctor.Use) int { return cmp.Compare(a.Name, b.Name) })
	return out, unplaced(lost)
}

// unplaced is a line for each of the first addresses that nobody can plumb here.
func unplaced(lost map[string]int) []doctor.Finding {
	const most = 3
	var out []doctor.Finding
	for _, why := range sortedNames(lost) {
		if len(out) == most {
			out[most-1].Found += fmt.Sprintf(" (and %d more)", len(lost)-most)
			break
		}
		out = append(out, doctor.Finding{
			Check: "interfaces", Verdict: doctor.Bad, Found: why,
			Do: "this node is unfit for it: name its `interface` in the file, or give an interface an address of that subnet",
		})
	}
	return out
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// neighboursOf says whether another interface of this host is in one of an
// interface's subnets, and whether there is another one with IPv4 at all.
func neighboursOf(name string) (shared, many bool) {
	all, err := net.Interfaces()
	if err != nil {
		return false, false
	}
	subnets := map[string][]netip.Prefix{}
	for _, i := range all {
		addrs, _ := i.Addrs() // an interface that has gone has none
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && p.Addr().Is4() && !p.IsSingleIP() && !p.Addr().IsLoopback() && i.Flags&net.FlagUp != 0 {
				subnets[i.Name] = append(subnets[i.Name], p.Masked())
			}
		}
	}
	for other, list := range subnets {
		if other == name {
			continue
		}
		many = true
		for _, theirs := range list {
			shared = shared || slices.ContainsFunc(subnets[name], theirs.Overlaps)
		}
	}
	return shared, many
}

// members are asked through the daemon, without one by a bare connection.
func (p *patient) members(ctx context.Context) []doctor.Finding {
	if p.daemon != nil {
		var all []doctor.Member
		for _, peer := range p.daemon.Peers {
			all = append(all, memberSeen(peer))
		}
		return doctor.Members(all, true, p.timing())
	}
	if p.file == nil {
		return []doctor.Finding{{Check: "reachable", Verdict: doctor.Skip, Found: "neither daemon nor file says who the others are"}}
	}
	var all []doctor.Member
	for name, s := range p.file.Spec.Servers {
		if name != p.self() {
			all = append(all, doctor.Member{Name: string(name), Addr: s.Addr})
		}
	}
	slices.SortFunc(all, func(a, b doctor.Member) int { return cmp.Compare(a.Name, b.Name) })
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { all[i].TCP = connect(ctx, all[i].Addr) })
	}
	wg.Wait()
	return doctor.Members(all, false, p.timing())
}

// connect says in words why an address cannot be connected to; "": it can.
func connect(ctx context.Context, addr string) *string {
	var words string
	d := net.Dialer{Timeout: connectLimit}
	c, err := d.DialContext(ctx, "tcp", addr)
	var timeout net.Error
	switch {
	case err == nil:
		_ = c.Close()
	case errors.Is(err, syscall.ECONNREFUSED):
		words = "nobody listens (refused)"
	case errors.As(err, &timeout) && timeout.Timeout():
		words = "no answer at all"
	default:
		words = err.Error()
	}
	return &words
}

func memberSeen(peer api.DoctorPeer) doctor.Member {
	m := doctor.Member{
		Name: string(peer.Name), Addr: peer.Address, TCP: seenAs(peer.TCP), UDP: seenAs(peer.UDP), Loss: peer.Loss, LossFrom: peer.LossFrom,
		Within: time.Duration(peer.ClockWithinUS) * time.Microsecond,
	}
	if peer.RoundTripUS != nil {
		d := time.Duration(*peer.RoundTripUS) * time.Microsecond
		m.RoundTrip = &d
	}
	if peer.ClockUS != nil {
		d := time.Duration(*peer.ClockUS) * time.Microsecond
		m.Clock = &d
	}
	return m
}

// seenAs turns a finding of `status` into what is wrong.
func seenAs(f api.Finding) *string {
	var words string
	switch f.Code {
	case "":
		return nil
	case api.FindOK, api.FindSelf:
	default:
		words = findingWord(f)
		if f.Detail != "" {
			words += ": " + f.Detail
		}
	}
	return &words
}
