package fsm

import (
	"fmt"
	"slices"
	"strconv"
)

// claimable makes a system one of programs.
func claimable(s *System) {
	hooked(s)
	s.Action, s.Alive, s.Down = ActionClient, "", ""
}

// time is when a command is proposed: clocks of two leaders differ.
func (w *world) time() int64 {
	w.clock += int64(draw(w, []int{0, 10, 500, 2_000, 9_000, 60_000}))
	return w.clock + int64(draw(w, []int{0, 0, -3_000, 4_000}))
}

// programs are nil most often: nothing is said of them.
func (w *world) programs() *Programs {
	if w.chance(60) {
		return nil
	}
	p := &Programs{}
	for range w.roll(4) {
		p.Systems = append(p.Systems, draw(w, []SystemID{"one", "least", "ip", "none"}))
	}
	return p
}

// placing draws what a system asks of placement.
func (w *world) placing(s *System) {
	if s.Action != ActionIP && s.Split == Shard && w.chance(60) || w.chance(2) {
		s.Replicas = w.roll(4)
	}
	if w.chance(3) {
		s.Replicas = draw(w, []int{-1, 64, 65})
	}
	s.NoBrake = w.chance(25)
	s.KillOnTimeout = s.Action == ActionClient && w.chance(50) || w.chance(2)
	if w.chance(8) {
		s.With = []SystemID{draw(w, []SystemID{"one", "least", "ip", "all", "none"})}
	}
	if w.chance(8) {
		s.Apart = []SystemID{draw(w, []SystemID{"one", "least", "ip", "all", "none"})}
	}
	if w.chance(5) && s.Action != ActionIP {
		s.Partitions, s.Items = &Partitions{Count: 1 + w.roll(2), Hash: FNV64a}, []Item{{ID: "0"}, {ID: "1"}}[:1+w.roll(2)]
	}
}

// timeOf is when a command was proposed.
func timeOf(cmd Command) int64 {
	switch c := cmd.(type) {
	case Register:
		return c.At
	case Assign:
		return c.At
	case Down:
		return c.At
	case Report:
		return c.At
	case SetSpec:
		return c.At
	case Cleanup:
		return c.At
	default:
		return 0
	}
}

func movedText(c Cause, moved []int64, braked bool) string {
	return fmt.Sprintf(" cause %s moved %v braked %v", c, moved, braked)
}

func brakeText(b Brake) string { return fmt.Sprintf("brake %+v", b) }

func (o *oracle) hasOtherRank(m MemberID, k Key) bool {
	for other, s := range o.slots {
		if other.System == k.System && other.Item == k.Item && other.Rank != k.Rank && s.owner == m {
			return true
		}
	}
	return false
}

func (o *oracle) stopped(id SystemID) bool {
	_, is := o.brakes[id]
	return is
}

// remember is called before the slot has its new owner.
func (s *oracleSlot) remember(c Cause, now int64) {
	var recent []int64
	for _, at := range s.moved {
		if now-at <= 180_000 {
			recent = append(recent, at)
		}
	}
	if s.owner != "" && (c == CauseFailed || c == CauseRule || c == CauseHome || c == CauseBalance) {
		for _, at := range recent {
			now = max(now, at)
		}
		recent = append(recent, now)
	}
	s.moved = recent[max(0, len(recent)-3):]
}

// lose: more than half of the members of a system, and two at least, are lost within
// 10 s.
func (o *oracle) lose(id MemberID) {
	m := o.members[id]
	m.Lost = o.now
	o.members[id] = m
	if o.now == 0 {
		return
	}
	for sysID, sys := range o.spec.Systems {
		if sys.NoBrake || sys.Split == Replicate || sys.Split == Nothing || o.stopped(sysID) {
			continue
		}
		var lost []MemberID
		serve, mine := 0, false
		for name, server := range o.spec.Servers {
			m, registered := o.members[name]
			if !registered || server.Removing || !slices.Contains(server.Systems, sysID) {
				continue
			}
			serve++
			mine = mine || name == id
			if ago := o.now - m.Lost; m.Lost != 0 && ago <= 10_000 && ago >= -10_000 {
				lost = append(lost, name)
			}
		}
		if slices.Sort(lost); mine && len(lost) > 1 && len(lost) > serve-len(lost) {
			o.brakes[sysID] = Brake{System: sysID, At: o.now, Lost: lost}
		}
	}
}

// failsAgain: it was moved since it had failed, at most 180 s ago, and fails there.
func (o *oracle) failsAgain(s *oracleSlot, f Failure, m MemberID) {
	if s.owner != m || s.token != f.Token || s.cause != CauseFailed || f.Unfit || len(s.moved) == 0 || o.spec.Systems[f.System].NoBrake {
		return
	}
	if o.now-s.moved[len(s.moved)-1] <= 180_000 {
		s.braked = true
	}
}

func (o *oracle) unbrake(c Cleanup) {
	for id := range o.brakes {
		if c.Item == "" && (c.System == "" || c.System == id) {
			delete(o.brakes, id)
		}
	}
	for k, s := range o.slots {
		if (c.System == "" || c.System == k.System) && (c.Item == "" || c.Item == k.Item) {
			s.braked, s.moved = false, nil
		}
	}
}

func (o *oracle) respecBrakes() {
	for id := range o.brakes {
		sys, in := o.spec.Systems[id]
		if !in || sys.NoBrake || sys.Split == Replicate || sys.Split == Nothing {
			delete(o.brakes, id)
		}
	}
	for k, s := range o.slots {
		s.braked = s.braked && !o.spec.Systems[k.System].NoBrake
	}
	for id, m := range o.members {
		m.Programs = o.claimed(m.Programs)
		o.members[id] = m
	}
}

// claimed are those of some systems that programs can claim, each once.
func (o *oracle) claimed(ids []SystemID) []SystemID {
	var out []SystemID
	for _, id := range ids {
		if o.spec.Systems[id].Action == ActionClient && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

func (o *oracle) claim(r Report) {
	if m := o.members[r.Member]; r.Programs != nil && r.Epoch == m.Epoch && m.Up {
		m.Programs = o.claimed(r.Programs.Systems)
		o.members[r.Member] = m
	}
}

// oraclePlaceable: what a system asks of placement makes sense.
func oraclePlaceable(spec Spec, id SystemID) bool {
	s := spec.Systems[id]
	if s.Replicas < 0 || s.Replicas > 64 || s.Replicas > 1 && (s.Split != Shard || s.Action == ActionIP) {
		return false
	}
	if s.KillOnTimeout && s.Action != ActionClient || s.Action == ActionClient && s.Alive+s.Down != "" {
		return false
	}
	if p := s.Partitions; p != nil {
		for n := range p.Count {
			if !slices.ContainsFunc(s.Items, func(i Item) bool { return string(i.ID) == strconv.Itoa(n) }) {
				return false
			}
		}
		if len(s.Items) != p.Count {
			return false
		}
	}
	// From one to the next, for longer than there are systems: then there is a circle.
	reach := []SystemID{id}
	for range len(spec.Systems) + 1 {
		var next []SystemID
		for _, id := range reach {
			sys := spec.Systems[id]
			for _, other := range slices.Concat(sys.With, sys.Apart) {
				o, known := spec.Systems[other]
				if !known || o.Split == Replicate || o.Split == Nothing || sys.Split == Replicate || sys.Split == Nothing {
					return false
				}
				next = append(next, other)
			}
		}
		reach = next
	}
	for _, id := range s.With {
		if slices.Contains(s.Apart, id) {
			return false
		}
	}
	return len(reach) == 0
}
