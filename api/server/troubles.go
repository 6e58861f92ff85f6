package server

import (
	"fmt"
	"strings"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// releaseIt is what an operator does who knows more than flip can.
const releaseIt = "`flip item release " + someItem + " --force`"

// orRelease adds that to what is to be done, unless there is nothing.
func orRelease(do string) string {
	if strings.HasPrefix(do, "nothing") {
		return do
	}
	return do + "; or, once it is surely gone from there: " + releaseIt
}

// failureAlarms are what members could not do.
func failureAlarms(failures []api.Failure, spec *fsm.Spec) []api.Alarm {
	g := groups{}
	for _, f := range failures {
		a := api.Alarm{
			Severity: api.Warning, What: fmt.Sprintf(": a hook failed on %s: %s", f.Member, f.Error),
			Do: fmt.Sprintf("look at the log of flip on %s; once mended, `flip cleanup %s` has the failure forgotten and tried again", f.Member, word(string(f.System))),
		}
		if spec.Systems[f.System].Action == fsm.ActionIP {
			a.What, a.Do = fmt.Sprintf(" cannot be held on %s: %s", f.Member, f.Error), mendIt(f.Member)
		}
		g.add(f.System, f.Item, a)
	}
	return g.alarms()
}

func mendIt(m fsm.MemberID) string {
	return fmt.Sprintf("mend it: flip on %s looks again by itself; if the failure stays, its log says why; `flip cleanup` has it forgotten", m)
}

// withheldAlarms are the items whose `down` fails here.
func withheldAlarms(n api.Node) []api.Alarm {
	g := groups{}
	for _, w := range n.Withheld {
		g.add(w.System, w.Item, api.Alarm{
			Severity: api.Critical, What: fmt.Sprintf(" is withheld: its `down` fails on %s: %s", n.ID, w.Error),
			Do: "mend the hook: it is tried again by itself, at the latest every 30 s; or, once what it undoes is surely gone from " + string(n.ID) + ": " + releaseIt,
		})
	}
	return g.alarms()
}

// guardAlarms say that nobody releases what this node holds if its daemon cannot.
func guardAlarms(st api.Status) []api.Alarm {
	if st.Node.Guard.State != api.GuardNone {
		return nil
	}
	what := "no guard stands by here"
	if why := st.Node.Guard.Why; why != "" {
		what += " (" + why + ")"
	}
	return []api.Alarm{{
		Severity: api.Warning, What: what + ": if this daemon is killed, what its hooks hold stays until flip runs here again",
		Do: "it is started again by itself; if it stays away, the log of flip on " + string(st.Node.ID) + " says why",
	}}
}

// muchLoss is what on a member's own link ends a lease by mistake once in two
// hours, with six heartbeats in a lease; a fifth of it: once in 5,000.
const muchLoss = 50

// lossAlarms say that heartbeats get lost on the way to a member or back.
func lossAlarms(m api.Member) []api.Alarm {
	var lost []string
	for _, way := range []struct {
		permille *int64
		words    string
	}{{m.LossPermille, "to"}, {m.LossFromPermille, "from"}} {
		if way.permille != nil && *way.permille >= muchLoss {
			lost = append(lost, fmt.Sprintf("%.1f %% %s %s", float64(*way.permille)/10, way.words, m.Name))
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return []api.Alarm{{
		Severity: api.Warning, What: "heartbeats get lost: " + strings.Join(lost, ", ") + ": leases may end although nobody is down",
		Do: "look for errors and drops on the links between (`ip -s link`), or choose a slower timing",
	}}
}
