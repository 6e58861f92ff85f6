package fsm

import (
	"maps"
	"net/netip"
	"slices"
)

// setSpec tries it on a copy: a refusal may come at the very end.
func (o *oracle) setSpec(c SetSpec) bool {
	if c.Was != o.spec.Version || o.spec.Version == o.at || (o.cluster == "") != (c.Cluster != "") {
		return false
	}
	if !oracleValid(c.Spec) || !oracleStaffed(c.Spec) {
		return false
	}
	for id := range o.spec.Servers {
		if _, still := c.Spec.Servers[id]; !still && !o.mayGo(id) {
			return false
		}
	}
	n := *o
	n.slots = map[Key]*oracleSlot{}
	for k, s := range o.slots {
		copied := *s
		copied.entries = slices.Clone(s.entries)
		n.slots[k] = &copied
	}
	n.failures, n.maintained, n.brakes = maps.Clone(o.failures), maps.Clone(o.maintained), maps.Clone(o.brakes)
	n.members = maps.Clone(o.members)
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
	for id, sys := range s.Systems {
		if sys.Split == Replicate && sys.Guarantee == AtMostOne {
			return false
		}
		if (sys.Fence == "") != (sys.FenceTimeout == 0) || !oraclePlaceable(s, id) {
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

// oracleStaffed: somebody who votes stays, and those who do can reach the quorum.
func oracleStaffed(s Spec) bool {
	voters, stay := 0, 0
	for _, server := range s.Servers {
		if server.Role == RoleVoter || server.Role == RoleArbiter {
			voters++
			if !server.Removing {
				stay++
			}
		}
	}
	switch {
	case voters == 0:
		return true
	case stay == 0:
		return false
	case stay == 1:
		return s.Quorum <= 1
	case stay == 2:
		return s.Quorum <= 2
	default:
		return s.Quorum <= stay-1
	}
}

// mayGo: it has no vote, owns nothing, holds nothing and owes nothing.
func (o *oracle) mayGo(id MemberID) bool {
	for _, v := range o.voterIDs {
		if v.Member() == id {
			return false
		}
	}
	if _, registered := o.members[id]; !registered {
		return true
	}
	return !o.has(id) && len(o.replicas()[id]) == 0
}

// has: it owns something, or an entry names it that is not void, or it is up.
func (o *oracle) has(id MemberID) bool {
	for _, s := range o.slots {
		if s.owner == id {
			return true
		}
		for _, e := range s.entries {
			if e.Member == id && (!e.Void || o.members[id].Up) {
				return true
			}
		}
	}
	return false
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
			s.home, s.moved, s.braked = "", nil, false
			if s.owner != "" {
				o.holds(k, s, o.members[s.owner])
				s.previous, s.owner, s.token, s.acquired, s.gated = s.owner, "", Token(o.at), 0, false
				s.cause = CauseNone
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
	o.respecBrakes()
	o.respecReplicas(old, replicas)
	for id := range o.maintained {
		if _, in := spec.Systems[id]; !in && id != "" {
			delete(o.maintained, id)
		}
	}
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
			if sys := o.spec.Systems[sysID]; sys.Split == Replicate && !o.spec.Servers[id].Removing {
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
		o.purge()
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

// purge forgets slots that say nothing.
func (o *oracle) purge() {
	for k, s := range o.slots {
		if s.owner == "" && len(s.entries) == 0 && !o.hasSlot(k) {
			delete(o.slots, k)
		}
	}
}
