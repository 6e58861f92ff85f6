package fsm

import (
	"slices"
	"time"
)

func (w *world) spec() Command {
	spec := testSpec()
	spec.Timing.Lease = draw(w, []time.Duration{100 * time.Millisecond, 300 * time.Millisecond, time.Second})
	for _, id := range []MemberID{"a", "b", "c"} {
		server := spec.Servers[id]
		server.Systems = slices.DeleteFunc(slices.Clone(server.Systems), func(SystemID) bool { return w.chance(15) })
		was := w.d.s.Spec().Servers[id].Removing
		server.Removing = was != w.chance(20)
		server.Weight, server.Capacity = w.roll(3), w.roll(3)
		spec.Servers[id] = server
		if w.chance(8) || was && w.chance(50) {
			delete(spec.Servers, id)
		}
	}
	if w.chance(15) {
		spec.Quorum = w.roll(4)
	}
	for _, id := range []SystemID{"all", "ip", "least", "one"} {
		on(id, w.system)(&spec)
		if w.chance(8) {
			delete(spec.Systems, id)
		}
	}
	c := SetSpec{Was: near(w, w.d.s.Spec().Version), Spec: spec, At: w.time()}
	if w.d.s.Cluster() == "" {
		c.Cluster = "c1"
	}
	return c
}

func (w *world) system(s *System) {
	if w.chance(25) {
		s.Split = draw(w, []Split{Shard, Replicate, ChooseOne, Nothing})
	}
	if w.chance(25) {
		s.Guarantee = draw(w, []Guarantee{AtLeastOne, AtMostOne})
	}
	if w.chance(15) {
		draw(w, []func(*System){hooked, plumbed, claimable})(s)
	}
	w.placing(s)
	if s.Action == ActionHooks && w.chance(15) {
		s.Down = draw(w, []string{"down", "other"})
	}
	if w.chance(15) {
		s.Config = draw(w, [][]byte{nil, []byte("{}")})
	}
	s.Items = slices.DeleteFunc(s.Items, func(Item) bool { return w.chance(15) })
	if w.chance(15) {
		s.StopTimeout = draw(w, []time.Duration{time.Second, time.Minute})
	}
	if w.chance(3) || s.Guarantee == AtMostOne && w.chance(30) {
		s.TakeoverAfter = draw(w, []time.Duration{time.Minute, 5 * time.Second, time.Second, NeverTakeOver})
	}
	if w.chance(3) || s.Guarantee == AtMostOne && w.chance(30) {
		fenced(s)
	}
	if s.IP != nil {
		s.IP = &IP{NoGate: w.chance(25)}
	}
	for i := range s.Items {
		if s.IP != nil && w.chance(20) || w.chance(2) {
			s.Items[i].Addrs = draw(w, [][]string{nil, {"198.51.100.1/32"}, {"198.51.100.2/24"}, {"198.51.100.3/32", "198.51.100.4/32"}, {"198.51.100.1/24"}})
		}
	}
}
