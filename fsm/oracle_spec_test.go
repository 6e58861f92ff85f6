package fsm

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// setSpec tries it on a copy: a refusal may come at the very end.
func (o *oracle) setSpec(c SetSpec) bool {
	if c.Was != o.spec.Version || o.spec.Version == o.at || (o.cluster == "") != (c.Cluster != "") {
		return false
	}
	if !oracleValid(c.Spec) {
		return false
	}
	n := *o
	n.slots = map[Key]*oracleSlot{}
	for k, s := range o.slots {
		copied := *s
		copied.entries = slices.Clone(s.entries)
		n.slots[k] = &copied
	}
	n.failures = maps.Clone(o.failures)
	n.respec(c.Spec)
	if n.clashes() {
		return false
	}
	if c.Cluster != "" {
		n.cluster = c.Cluster
	}
	n.maxTTL = max(n.maxTTL, c.Spec.Timing.Lease)
	*o = n
	return true
}

func oracleValid(s Spec) bool {
	var addrs []string
	for _, sys := range s.Systems {
		if sys.Split == Replicate && sys.Guarantee == AtMostOne {
			return false
		}
		if sys.Guarantee == AtLeastOne && (sys.TakeoverAfter != 0 || sys.Fence != "") {
			return false
		}
		for i, it := range sys.Items {
			if (len(it.Addrs) > 0) != (sys.Action == ActionIP) {
				return false
			}
			for _, a := range it.Addrs {
				a = oracleAddress(a)
				if slices.Contains(addrs, a) {
					return false
				}
				addrs = append(addrs, a)
			}
			for _, other := range sys.Items[:i] {
				if other.ID == it.ID {
					return false
				}
			}
		}
	}
	return true
}

// oracleAddress is the address of "192.0.2.7/24".
func oracleAddress(a string) string { return netip.MustParsePrefix(a).Addr().String() }

func sameAddress(a string) func(string) bool {
	return func(b string) bool { return oracleAddress(a) == oracleAddress(b) }
}

func oracleGates(s System) bool {
	return s.Guarantee == AtMostOne && s.Action == ActionIP && !s.IP.NoGate
}

func (o *oracle) respec(spec Spec) {
	old := o.spec
	replicas := o.replicas()
	// What is there still and of another kind; what is gone. The entries must
	// name what the old Spec says.
	for k, s := range o.slots {
		was, wasItem, _ := o.find(k)
		o.spec = spec
		now, nowItem, _ := o.find(k)
		in := o.hasSlot(k)
		o.spec = old
		gated := oracleGates(now) && o.members[s.owner].Gate
		kind := was.Guarantee != now.Guarantee || was.Action != now.Action || was.Alive != now.Alive || was.Down != now.Down ||
			!slices.Equal(wasItem.Addrs, nowItem.Addrs) || s.gated != gated
		switch {
		case !in:
			s.home = ""
			if s.owner != "" {
				o.holds(k, s, o.members[s.owner])
				s.previous, s.owner, s.token, s.acquired, s.gated = s.owner, "", Token(o.at), 0, false
			}
		case s.owner == "":
			s.atMostOne = now.Guarantee == AtMostOne
		case kind:
			o.renew(k, s, o.members[s.owner])
			s.atMostOne, s.gated = now.Guarantee == AtMostOne, gated
		}
	}
	o.spec = spec
	o.spec.Version = o.at
	o.respecReplicas(old, replicas)
	for fk, f := range o.failures {
		if !o.hasSlot(f.Key) {
			delete(o.failures, fk)
		}
	}
}

// replicas is who holds which replicated item: all registered members that
// serve its system.
func (o *oracle) replicas() map[MemberID]map[Key]bool {
	out := map[MemberID]map[Key]bool{}
	for id := range o.members {
		out[id] = map[Key]bool{}
		for _, sysID := range o.spec.Servers[id].Systems {
			if sys := o.spec.Systems[sysID]; sys.Split == Replicate {
				for _, it := range sys.Items {
					out[id][Key{System: sysID, Item: it.ID}] = true
				}
			}
		}
	}
	return out
}

func (o *oracle) respecReplicas(old Spec, before map[MemberID]map[Key]bool) {
	after := o.replicas()
	for _, id := range slices.Sorted(maps.Keys(o.members)) {
		m := o.members[id]
		for k := range before[id] {
			if after[id][k] || m.Fenced {
				continue
			}
			s, ok := o.slots[k]
			if !ok {
				s = &oracleSlot{atMostOne: o.spec.Systems[k.System].Guarantee == AtMostOne}
				o.slots[k] = s
			}
			var addrs []string
			for _, it := range old.Systems[k.System].Items {
				if it.ID == k.Item {
					addrs = it.Addrs
				}
			}
			o.add(k, s, id, m, 0, addrs, old.Systems[k.System], false, false)
			s.token = Token(o.at)
		}
		o.drop(func(k Key, e Entry) bool { return after[id][k] && e.Member == id && e.Host.Machine == m.Host.Machine })
	}
}

func (o *oracle) clashes() bool {
	for k, s := range o.slots {
		for _, e := range s.entries {
			for sysID, sys := range o.spec.Systems {
				for _, it := range sys.Items {
					for _, a := range it.Addrs {
						if slices.ContainsFunc(e.Addrs, sameAddress(a)) && (k.System != sysID || k.Item != it.ID) {
							return true
						}
					}
				}
			}
		}
	}
	return false
}

// bet is how long an entry is waited for: LEASES.md's 1.1 x (lifetime + 1.5 s),
// lifetimes being whole seconds.
func (o *oracle) bet(k Key, e Entry) time.Duration {
	sys, s := o.spec.Systems[k.System], o.slots[k]
	plumbed := sys.Action == ActionIP
	for _, have := range s.entries {
		if have.Member == e.Member && have.Epoch == e.Epoch && have.Token == e.Token {
			plumbed = plumbed && strings.HasPrefix(have.recipe, "ip")
		}
	}
	m := o.members[e.Member]
	over := !m.Up || (m.Epoch != e.Epoch && m.Settled)
	if !plumbed || !s.atMostOne || !e.AtMostOne || e.Gated || e.Void || !over || sys.TakeoverAfter < 0 {
		return 0
	}
	lifetime := time.Second
	for lifetime < o.maxTTL+time.Second {
		lifetime += time.Second
	}
	return max(sys.TakeoverAfter, (lifetime+1500*time.Millisecond)*11/10)
}
