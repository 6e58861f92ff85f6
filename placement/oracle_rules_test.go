package placement

import (
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// The rates of a member for an item, as the oracle sees them.
const (
	rateNone    = iota // cannot have it
	rateFailed         // could, but it has failed there
	rateNew            // has not been up for long enough to be given anything
	rateWaiting        // would keep it waiting: not settled yet
	rateFine
)

// rules are what a View says about who may have what. They know nothing of plans.
type rules struct {
	v      View
	state  *fsm.State
	others *fsm.State // where the items of other systems are once the plan is made
	served map[fsm.SystemID][]fsm.MemberID
}

func newRules(v View, others *fsm.State) *rules {
	return &rules{v: v, state: v.State, others: others, served: map[fsm.SystemID][]fsm.MemberID{}}
}

// serving sorts the servers of a system by inserting one after the other.
func (r *rules) serving(sys fsm.System) []fsm.MemberID {
	if out, known := r.served[sys.Name]; known {
		return out
	}
	var out []fsm.MemberID
	servers := r.state.Spec().Servers
	for id, s := range servers {
		if s.Removing || !slices.Contains(s.Systems, sys.Name) {
			continue
		}
		i := 0
		for i < len(out) {
			o := servers[out[i]]
			ahead := s.HasPriority && !o.HasPriority ||
				s.HasPriority == o.HasPriority && (s.HasPriority && s.Priority < o.Priority ||
					(!s.HasPriority || s.Priority == o.Priority) && id < out[i])
			if ahead {
				break
			}
			i++
		}
		out = slices.Insert(out, i, id)
	}
	r.served[sys.Name] = out
	return out
}

// counting are those of serving to whom homes are dealt: who has never registered only
// where nothing has a home yet, or where it is somebody's.
func (r *rules) counting(sys fsm.System) []fsm.MemberID {
	var homes, out []fsm.MemberID
	for slot := range r.state.SlotsOf(sys.Name) {
		if _, in := itemOf(sys, slot.Item); in && slices.Contains(r.serving(sys), slot.Home) {
			homes = append(homes, slot.Home)
		}
	}
	for _, m := range r.serving(sys) {
		if _, registered := r.state.Member(m); registered || len(homes) == 0 || slices.Contains(homes, m) {
			out = append(out, m)
		}
	}
	return out
}

func itemOf(sys fsm.System, id fsm.ItemID) (fsm.Item, bool) {
	for _, item := range sys.Items {
		if item.ID == id {
			return item, true
		}
	}
	return fsm.Item{}, false
}

// usable reports whether a member can hold anything at all.
func (r *rules) usable(m fsm.MemberID) bool {
	member, known := r.state.Member(m)
	server, listed := r.state.Spec().Servers[m]
	_, out := r.v.Unusable[m]
	return known && listed && !out && member.Up && !member.Leaving && !server.Removing
}

// selected reports whether a server has the tags that a system asks for.
func selected(sys fsm.System, server fsm.Server) bool {
	hits := 0
	for _, want := range sys.Select {
		for _, tag := range server.Tags {
			if tag.Name == want.Tag && (len(want.Values) == 0 || slices.Contains(want.Values, tag.Value)) {
				hits++
			}
		}
	}
	if sys.SelectAny {
		return hits > 0 || len(sys.Select) == 0
	}
	return hits == len(sys.Select)
}

// may reports whether the rules that are never broken let a member have an item, but
// for its capacity and the other ranks of the item.
func (r *rules) may(sys fsm.System, item fsm.ItemID, m fsm.MemberID) bool {
	if !r.usable(m) || !slices.Contains(r.serving(sys), m) || !selected(sys, r.state.Spec().Servers[m]) {
		return false
	}
	member, _ := r.state.Member(m)
	if sys.Action == fsm.ActionClient && !slices.Contains(member.Programs, sys.Name) {
		return false
	}
	for _, other := range sys.With {
		if !r.together(other, item, m) {
			return false
		}
	}
	for _, other := range sys.Apart {
		for slot := range r.others.SlotsOf(other) {
			if slot.Owner == m {
				return false
			}
		}
	}
	return true
}

// together reports whether another system has the item of this id on a member that
// serves it, or, if it has none of that id, any.
func (r *rules) together(other fsm.SystemID, item fsm.ItemID, m fsm.MemberID) bool {
	sys := r.state.Spec().Systems[other]
	_, same := itemOf(sys, item)
	if !slices.Contains(r.serving(sys), m) {
		return false
	}
	for slot := range r.others.SlotsOf(other) {
		if slot.Owner == m && (!same || slot.Item == item) {
			return true
		}
	}
	return false
}

// well is for how long a member has been well.
func (r *rules) well(m fsm.MemberID) time.Duration {
	if r.v.Well == nil {
		return 1 << 62
	}
	return r.v.Well[m]
}

// rate is how good a member is for an item.
func (r *rules) rate(sys fsm.System, item fsm.ItemID, m fsm.MemberID) int {
	if !r.may(sys, item, m) {
		return rateNone
	}
	for rank := range sys.Ranks() {
		if _, failed := r.state.FailureOf(m, fsm.Key{System: sys.Name, Item: item, Rank: rank}); failed {
			return rateFailed
		}
	}
	member, _ := r.state.Member(m)
	switch {
	case r.well(m) < sys.Mature:
		return rateNew
	case sys.Guarantee == fsm.AtMostOne && !member.Settled:
		return rateWaiting
	default:
		return rateFine
	}
}

// top is the best rate that anybody has for an item.
func (r *rules) top(sys fsm.System, item fsm.ItemID) int {
	top := rateNone
	for _, m := range r.serving(sys) {
		top = max(top, r.rate(sys, item, m))
	}
	return top
}

// mayKeep reports whether an owner of this rate keeps the item, when top is the best.
func mayKeep(rate, top int) bool { return rate > rateFailed || rate == rateFailed && top == rateFailed }

// back reports whether a member may take an item from an owner that could keep it.
func (r *rules) back(sys fsm.System, item fsm.ItemID, m fsm.MemberID) bool {
	return r.rate(sys, item, m) == rateFine && sys.Failback != fsm.NeverFailback && r.well(m) >= sys.Failback
}

// fixed reports whether a slot is held where it is, whatever would be better.
func (r *rules) fixed(sys fsm.System, slot fsm.Slot) bool {
	return r.braked(sys.Name) || slot.Braked || r.damped(slot)
}

// damped: it has moved often enough of late, and its owner is neither down nor leaving,
// and its machine can hold it.
func (r *rules) damped(slot fsm.Slot) bool {
	recent := 0
	for _, at := range slot.Moved {
		if r.v.Now != 0 && r.v.Now-at < fsm.RecentFor.Milliseconds() && at-r.v.Now <= fsm.RecentFor.Milliseconds() {
			recent++
		}
	}
	f, failed := r.state.FailureOf(slot.Owner, slot.Key)
	return recent >= fsm.MaxRecent && r.usable(slot.Owner) && (!failed || !f.Unfit)
}

// braked: nothing of the system is moved.
func (r *rules) braked(id fsm.SystemID) bool { return brakedSystem(r.state, id) }
