package server

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// actionOf is how an entry was acquired.
func actionOf(s *fsm.State, slot fsm.Slot, e fsm.Entry) fsm.Action {
	if e.Recipe != nil {
		return e.Recipe.Action
	}
	return s.Spec().Systems[slot.System].Action
}

// seconds is a time as alarms say it, never shorter than it is.
func seconds(d time.Duration) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", math.Ceil(d.Seconds()*10)/10), ".0") + " s"
}

// outstandingAddress explains an entry of addresses whose member is down, or was
// replaced. It says nothing of one that lets go by itself in a moment.
func outstandingAddress(s *fsm.State, slot fsm.Slot, e fsm.Entry) (why, do string) {
	who := string(e.Member)
	if bet := s.Bet(slot, e); bet > 0 {
		return fmt.Sprintf("waits for %s's address lifetime, at most %s from its Down", who, seconds(bet)),
			"nothing to do: the kernel of " + who + " takes the address away by then, and flip takes it over"
	}
	back := "start flip on " + who + " again: it takes the address away and reports, then the item moves"
	now, known := s.Member(e.Member)
	sys := s.Spec().Systems[slot.System]
	switch {
	case known && now.Up && now.Host.Machine != e.Host.Machine && !now.Settled:
		return fmt.Sprintf("the former machine of %s (%s) may still hold it on a lease of its own", who, e.Host.Machine),
			"nothing to do: it takes a moment"
	case known && now.Up && now.Host.Machine == e.Host.Machine:
		return who + " runs and is letting go of it", "if it stays: look at the log of flip on " + who
	case !e.AtMostOne:
		return fmt.Sprintf("%s (epoch %d) is down and held it as at-least-one: it may keep it for ever", who, e.Epoch), back
	case sys.TakeoverAfter == fsm.NeverTakeOver:
		return fmt.Sprintf("%s (epoch %d) is down, has no kernel gate and may still hold it, and takeover_after is never", who, e.Epoch), back
	default:
		return fmt.Sprintf("%s (epoch %d) may still hold it", who, e.Epoch), back
	}
}

// seenOf puts into words what another member found on the wire.
func seenOf(slot fsm.Slot) *api.Seen {
	s := slot.Seen
	if s == nil || s.Token != slot.Token {
		return nil
	}
	out := &api.Seen{By: s.By, Verified: s.OK}
	switch {
	case s.OK:
		out.Words = fmt.Sprintf("%s asked on the wire, and %s answers", s.By, slot.Owner)
	case s.Answer == "":
		out.Words = fmt.Sprintf("%s asked on the wire, and nobody answers", s.By)
	default:
		out.Words = fmt.Sprintf("%s asked on the wire: %s", s.By, s.Answer)
	}
	return out
}

// seenAlarms are acquired addresses for which not their owner answers, grouped
// by who saw what.
func seenAlarms(s *fsm.State) []api.Alarm {
	g := groups{}
	for slot := range s.Slots() {
		if slot.Seen == nil || slot.Seen.OK {
			continue
		}
		row := rowOf(s, slot)
		if row.Seen == nil || row.State != api.RowAcquired {
			continue
		}
		g.add(slot.System, slot.Item, api.Alarm{
			Severity: api.Critical, What: fmt.Sprintf(" of %s: %s", slot.Owner, row.Seen.Words),
			Do: fmt.Sprintf("find who else has the address; if nobody answers, look at the network between %s and %s", row.Seen.By, slot.Owner),
		})
	}
	return g.alarms()
}

// ungated names who makes takeovers wait: systems without the gate by choice,
// and members without it that serve one that wants it.
func ungated(st api.Status, s *fsm.State) []api.Alarm {
	var out []api.Alarm
	var gated []fsm.System
	spec := s.Spec()
	for _, id := range sortedKeys(spec.Systems) {
		sys := spec.Systems[id]
		switch {
		case sys.Action != fsm.ActionIP || sys.Guarantee != fsm.AtMostOne || len(sys.Items) == 0:
		case sys.IP.NoGate:
			out = append(out, api.Alarm{
				Severity: api.Note, What: fmt.Sprintf("the kernel gate is off for system %s: takeovers of its addresses %s", id, wait(s, sys, "the lost member")),
				Do: "nothing, if that is meant; else leave `gate` out of the file",
			})
		default:
			gated = append(gated, sys)
		}
	}
	for _, m := range st.Members {
		if reg, known := s.Member(m.Name); !known || !reg.Up || reg.Gate {
			continue
		}
		var waits []string
		for _, sys := range gated {
			if w := wait(s, sys, "it"); slices.Contains(serversOf(spec, sys.Name), m.Name) && !slices.Contains(waits, w) {
				waits = append(waits, w)
			}
		}
		why := ""
		if m.Name == st.Node.ID && st.Node.Gate.Why != "" {
			why = " (" + st.Node.Gate.Why + ")"
		}
		if len(waits) > 0 {
			out = append(out, api.Alarm{
				Severity: api.Note, What: fmt.Sprintf("%s has no kernel gate%s: takeovers of its addresses %s", m.Name, why, strings.Join(waits, ", or ")),
				Do: "see `flip status` on " + string(m.Name) + " for why; the gate takes nf_tables in its kernel and CAP_NET_ADMIN",
			})
		}
	}
	return out
}

// wait is for how long a takeover without the gate waits.
func wait(s *fsm.State, sys fsm.System, who string) string {
	if sys.TakeoverAfter == fsm.NeverTakeOver {
		return "wait until " + who + " is back"
	}
	return "wait " + seconds(max(fsm.SafeTakeover(s.MaxTTL()), sys.TakeoverAfter))
}
