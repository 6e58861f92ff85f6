package server

import (
	"fmt"
	"iter"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// Outlook is what stands against moving more, and what cannot be placed, as this node's
// plan has it.
type Outlook struct {
	Held     iter.Seq[api.HeldMove]
	Unplaced iter.Seq[api.Unplaced]
}

// show puts it into a status: the first ones, and by system how many there are.
func (o *Outlook) show(st *api.Status) {
	if o == nil {
		return
	}
	held, unplaced := map[fsm.SystemID]int{}, map[fsm.SystemID]int{}
	for h := range o.Held {
		if held[h.System]++; len(st.Held) < api.MostShown {
			st.Held = append(st.Held, h)
		}
	}
	for u := range o.Unplaced {
		if unplaced[u.System]++; len(st.Unplaced) < api.MostShown {
			st.Unplaced = append(st.Unplaced, u)
		}
	}
	for i := range st.Systems {
		h, u := held[st.Systems[i].Name], unplaced[st.Systems[i].Name]
		st.Systems[i].Held, st.Systems[i].Unplaced = &h, &u
	}
}

// nowhere is why slots cannot be placed.
func (o *Outlook) nowhere() map[fsm.Key]string {
	if o == nil {
		return nil
	}
	out := map[fsm.Key]string{}
	for u := range o.Unplaced {
		out[fsm.Key{System: u.System, Item: u.Item, Rank: u.Rank}] = u.Why
	}
	return out
}

// slotAlarms are the items, and the copies of them, that nobody holds.
func slotAlarms(s *fsm.State, o *Outlook) []api.Alarm {
	g := groups{}
	nowhere := o.nowhere()
	for slot := range s.Slots() {
		row := rowOf(s, slot)
		if row.State != api.RowWaiting && row.State != api.RowNobody {
			continue
		}
		if _, told := nowhere[slot.Key]; told && slot.Owner == "" {
			continue
		}
		delete(nowhere, slot.Key) // it has an owner, who is waited for
		g.add(slot.System, slot.Item, lack(slot.Key, row.Why, row.Do))
	}
	if o == nil {
		return g.alarms()
	}
	for u := range o.Unplaced {
		k := fsm.Key{System: u.System, Item: u.Item, Rank: u.Rank}
		if why, left := nowhere[k]; left {
			g.add(k.System, k.Item, lack(k, why, "`flip why "+someItem+"` says what stands against each server"))
		}
	}
	return g.alarms()
}

// lack is the alarm of a slot that nobody holds.
func lack(k fsm.Key, why, do string) api.Alarm {
	if k.Rank > 0 {
		return api.Alarm{Severity: api.Warning, What: fmt.Sprintf(" lacks a copy (replica %d): %s", k.Rank, why), Do: do}
	}
	return api.Alarm{Severity: api.Critical, What: " has no holder: " + why, Do: do}
}
