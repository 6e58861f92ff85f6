package server

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// Assignments is who has what, of one system or, with "", of all.
func Assignments(s *fsm.State, stamp api.Stamp, only fsm.SystemID) api.Assign {
	out := api.Assign{Stamp: stamp, Members: []api.AssignMember{}, Rows: []api.Row{}}
	for _, name := range memberNames(s, s.Spec()) {
		out.Members = append(out.Members, api.AssignMember{Name: name, State: memberState(s, name)})
	}
	for slot := range s.Slots() {
		if (only == "" || slot.System == only) && (configured(s.Spec(), slot.Key) || len(slot.Outstanding) > 0) {
			out.Rows = append(out.Rows, namedRow(rowOf(s, slot)))
		}
	}
	for _, id := range sortedKeys(s.Spec().Systems) {
		sys := s.Spec().Systems[id]
		if sys.Split == fsm.Replicate && (only == "" || id == only) {
			out.Rows = append(out.Rows, replicated(s, sys)...)
		}
	}
	for _, m := range maintenanceOf(s) {
		if only == "" || m.System == "" || m.System == only {
			out.Maintenance = append(out.Maintenance, m)
		}
	}
	// Slots come in order; what is replicated goes between them.
	slices.SortStableFunc(out.Rows, func(a, b api.Row) int { return cmp.Compare(a.System, b.System) })
	return out
}

// memberNames is every member that the configuration or the log names.
func memberNames(s *fsm.State, spec *fsm.Spec) []fsm.MemberID {
	names := sortedKeys(spec.Servers)
	for id := range s.Members() {
		if _, known := spec.Servers[id]; !known {
			names = append(names, id)
		}
	}
	slices.Sort(names)
	return names
}

func memberState(s *fsm.State, name fsm.MemberID) string {
	m, known := s.Member(name)
	switch {
	case !known:
		return api.MemberNever
	case !m.Up:
		return api.MemberDown
	case m.Leaving:
		return api.MemberLeaving
	case !m.Settled:
		return api.MemberUnsettled
	default:
		return api.MemberUp
	}
}

// up reports whether a member runs, for all that the log knows.
func up(state string) bool {
	return state == api.MemberUp || state == api.MemberUnsettled || state == api.MemberLeaving
}

func replicated(s *fsm.State, sys fsm.System) []api.Row {
	var rows []api.Row
	for _, item := range sys.Items {
		for _, m := range serversOf(s.Spec(), sys.Name) {
			row := api.Row{
				System: sys.Name, Item: item.ID, Type: sys.Split.String(), Guarantee: sys.Guarantee.String(),
				Owner: m, Home: m, State: api.RowReplicated, Reason: "every server of the system holds it",
			}
			key := fsm.Key{System: sys.Name, Item: item.ID}
			if f, failed := s.FailureOf(m, key); failed {
				row.State, row.Why = api.RowStarting, "its hook failed there: "+f.Err
				row.Do = "look at the log of flip on " + string(m)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// configured reports whether a slot is of an item that is to be held. A slot
// outlives its item for as long as a member may still hold it.
func configured(spec *fsm.Spec, k fsm.Key) bool {
	sys := spec.Systems[k.System]
	if sys.Split != fsm.Shard && sys.Split != fsm.ChooseOne || k.Rank >= sys.Ranks() {
		return false
	}
	_, found := slices.BinarySearchFunc(sys.Items, k.Item, func(i fsm.Item, id fsm.ItemID) int { return cmp.Compare(i.ID, id) })
	return found
}

// serversOf is the members that list a system, by name.
func serversOf(spec *fsm.Spec, id fsm.SystemID) []fsm.MemberID {
	var out []fsm.MemberID
	for _, name := range sortedKeys(spec.Servers) {
		if slices.Contains(spec.Servers[name].Systems, id) {
			out = append(out, name)
		}
	}
	return out
}

func rowOf(s *fsm.State, slot fsm.Slot) api.Row {
	row := api.Row{
		System: slot.System, Item: slot.Item, Rank: slot.Rank,
		Owner: slot.Owner, Token: slot.Token, Home: slot.Home, Since: fsm.Index(slot.Token),
		Previous: slot.Previous, Reason: slot.Reason, Guarantee: fsm.AtLeastOne.String(),
	}
	if slot.AtMostOne {
		row.Guarantee = fsm.AtMostOne.String()
	}
	if sys, known := s.Spec().Systems[slot.System]; known {
		row.Type = sys.Split.String()
	}
	owner, _ := s.Member(slot.Owner)
	for _, e := range slot.Outstanding {
		row.Outstanding = append(row.Outstanding, outstanding(s, slot, e, owner))
	}
	row.State, row.Why, row.Do = slotState(s, slot, row.Outstanding)
	row.Braked = brakedWords(s, slot)
	row.Seen = seenOf(slot)
	return row
}

// namedRow puts the row's item into what it says is to be done.
func namedRow(r api.Row) api.Row {
	r.Do = named(r.Do, r.System, r.Item)
	for i := range r.Outstanding {
		r.Outstanding[i].Do = named(r.Outstanding[i].Do, r.System, r.Item)
	}
	return r
}

// slotState says how far the owner has come, why it is no further, and what
// helps.
func slotState(s *fsm.State, slot fsm.Slot, outs []api.Outstanding) (state, why, do string) {
	owner, _ := s.Member(slot.Owner)
	who := string(slot.Owner)
	if !configured(s.Spec(), slot.Key) {
		return api.RowRemoved, "no longer in the configuration", ""
	}
	b, braked := brakeOf(s, slot.System)
	switch {
	case slot.Owner == "" && braked:
		return api.RowNobody, "assigned to nobody, and " + brakeWords(b), easeSystem(slot.System)
	case slot.Owner == "":
		return api.RowNobody, "assigned to nobody", "start a server of system " + string(slot.System) + ", or see what keeps those that run from it: `flip why " + someItem + "`"
	case braked && !up(memberState(s, slot.Owner)):
		return api.RowWaiting, who + " is down, and " + brakeWords(b), easeSystem(slot.System) + "; or start flip on " + who
	}
	if !up(memberState(s, slot.Owner)) && s.Maintained(slot.System) {
		return api.RowWaiting, who + " is down, and under maintenance nothing is moved", "start flip on " + who + ", or end the maintenance: " + endIt(s, slot.System)
	}
	if !up(memberState(s, slot.Owner)) {
		return api.RowWaiting, who + " is down and no other server of the system can take it",
			"start flip on " + who + " or on another server of system " + string(slot.System)
	}
	if slot.Acquired != 0 && slot.Acquired == owner.Epoch {
		return api.RowAcquired, "", ""
	}
	for _, o := range outs {
		if o.Blocks {
			return api.RowWaiting, o.Why, orRelease(o.Do)
		}
	}
	if slot.AtMostOne && !owner.Settled {
		return api.RowWaiting, who + " has come back as another machine or data directory and waits until its predecessor's lease has ended", "nothing: it takes a moment"
	}
	if f, failed := s.FailureOf(slot.Owner, slot.Key); failed && s.Spec().Systems[slot.System].Action == fsm.ActionIP {
		return api.RowStarting, who + " cannot hold it: " + f.Err, mendIt(slot.Owner)
	} else if failed {
		why, do = failedThere(s, slot, f.Err)
		return api.RowStarting, why, do
	}
	if why, do = unclaimed(s, slot); why != "" {
		return api.RowStarting, why, do
	}
	return api.RowStarting, who + " has not reported it yet", ""
}

// outstanding explains one entry. owner is the slot's owner: an entry of the
// same machine does not block it.
func outstanding(s *fsm.State, slot fsm.Slot, e fsm.Entry, owner fsm.Member) api.Outstanding {
	o := api.Outstanding{
		Member: e.Member, Epoch: e.Epoch, Token: e.Token, Machine: e.Host.Machine, Instance: e.Host.Instance,
		Gated: e.Gated, Void: e.Void,
	}
	own := e.Member == slot.Owner && e.Host.Machine == owner.Host.Machine
	o.Blocks = slot.AtMostOne && !e.Void && !own
	who := string(e.Member)
	held := slot.Acquired != 0 && slot.Acquired == owner.Epoch
	switch {
	case e.Void:
		o.Why = who + " was forced to let go; it still owes `down` and a report"
	case !slot.AtMostOne && slot.Acquired == 0:
		o.Why = who + " keeps it until " + string(slot.Owner) + " has acquired it"
	case actionOf(s, slot, e) == fsm.ActionIP && held && s.Bet(slot, e) > 0:
		o.Blocks = false
		o.Why = "the kernel of " + who + " has taken the address away by its lifetime; " + who + " still owes a report"
	case actionOf(s, slot, e) == fsm.ActionIP:
		o.Why, o.Do = outstandingAddress(s, slot, e)
	case s.Bet(slot, e) > 0:
		o.Why = fmt.Sprintf("bets on %s's guard: taken over at most %s after its Down", who, seconds(s.Bet(slot, e)))
		o.Do = "nothing to do: takeover_after says how long others wait"
	case actionOf(s, slot, e) == fsm.ActionClient:
		o.Why, o.Do = outstandingProgram(s, slot, e)
	default:
		o.Why, o.Do = outstandingHook(s, slot, e)
	}
	return o
}
