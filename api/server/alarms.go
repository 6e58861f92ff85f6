package server

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

const noLeader = "there is no leader"

// obstacle is why the loss of some member would not be made good, and what to
// do about it; do is "" for what has an alarm of its own.
type obstacle struct{ why, do string }

// obstacles are all that keep a failover from being possible now. Who knows only his
// own part cannot tell.
func obstacles(st api.Status, s *fsm.State, spec *fsm.Spec) []obstacle {
	var out []obstacle
	if st.Cluster.Leader == "" {
		out = append(out, obstacle{why: noLeader})
	}
	if st.Partial {
		return out
	}
	out = append(out, missingVotes(st)...)
	for _, sys := range st.Systems {
		if sys.Items > 0 && spec.Systems[sys.Name].Split != fsm.Replicate {
			out = append(out, obstaclesOf(s, sys, spec.Systems[sys.Name])...)
		}
	}
	return out
}

// obstaclesOf are those of one system.
func obstaclesOf(s *fsm.State, sys api.System, conf fsm.System) []obstacle {
	var out []obstacle
	if sys.Maintenance {
		out = append(out, obstacle{why: fmt.Sprintf("system %s is under maintenance: nothing of it is moved", sys.Name)})
	}
	if sys.Braked {
		out = append(out, obstacle{why: fmt.Sprintf("system %s is braked: nothing of it is moved", sys.Name)})
	}
	if n := s.Heirs(sys.Name); n < 2 {
		o := obstacle{
			fmt.Sprintf("system %s: %d of its servers run and may hold its items: they have nowhere else to go", sys.Name, n),
			"start its other servers, or let another server list it",
		}
		if conf.Action == fsm.ActionClient {
			o.do = "start its program, and flip, on its other servers"
		}
		out = append(out, o)
	}
	if conf.Guarantee == fsm.AtMostOne && conf.Action != fsm.ActionIP && conf.Fence == "" && conf.TakeoverAfter <= 0 {
		out = append(out, obstacle{
			fmt.Sprintf("system %s: at-most-one with %s: after the loss of a machine its items wait for its return", sys.Name, holding(conf.Action)),
			"nothing is broken: only the lost node itself knows that what held them is gone; a `fence`, or a bet on time (takeover_after), ends the wait; at-least-one systems do not wait",
		})
	}
	return out
}

// failover says whether the loss of any one member that runs would be noticed
// and made good.
func failover(obstacles []obstacle) api.Failover {
	var why []string
	for _, o := range obstacles {
		why = append(why, o.why)
	}
	return api.Failover{Possible: len(why) == 0, Why: why}
}

func holding(a fsm.Action) string {
	if a == fsm.ActionClient {
		return "programs"
	}
	return "hooks"
}

// missingVotes names the members whose loss nobody could decide on.
func missingVotes(st api.Status) []obstacle {
	if len(st.Cluster.Voters) == 0 {
		return []obstacle{{"the cluster has no voters yet", "start flip on the other servers of the file"}}
	}
	q, voting := st.Cluster.Quorum, 0
	var absent []string
	for _, m := range st.Members {
		switch {
		case m.Voter && up(m.State):
			voting++
		case m.Voter:
			absent = append(absent, string(m.Name)+" is "+m.State)
		}
	}
	// The member lost may itself be a voter: it does not vote on itself.
	if voting-1 >= q.Votes {
		return nil
	}
	why := fmt.Sprintf("a lost voter takes %d votes of others and %d would be there", q.Votes, max(voting-1, 0))
	if len(absent) > 0 {
		why += " (" + strings.Join(absent, ", ") + ")"
	}
	do := "start the voters that are not up"
	if q.Votes > q.Others {
		do = "add an arbiter: a server that lists no systems"
	}
	return []obstacle{{why, do}}
}

// alarms says what is wrong and what to do about it, worst first.
func alarms(st api.Status, s *fsm.State, l Local, obstacles []obstacle) []api.Alarm {
	own := func(a []api.Alarm) []api.Alarm { return ownAlarms(st.Node.ID, a) }
	out := own(slices.Clone(l.Alarms))
	out = append(out, clusterAlarms(st, obstacles)...)
	out = append(out, membersAlarms(st)...)
	out = append(out, slotAlarms(s, l.Outlook)...)
	out = append(out, brakeAlarms(st.Brakes)...)
	out = append(out, restlessAlarms(s, l.Unix)...)
	out = append(out, failureAlarms(st.Failures, s.Spec())...)
	out = append(out, seenAlarms(s)...)
	if !st.Partial { // who has a gate is not known to who knows only his own part
		out = append(out, ungated(st, s)...)
	}
	out = append(out, own(withheldAlarms(st.Node))...)
	out = append(out, own(guardAlarms(st))...)
	out = append(out, betAlarms(st)...)
	out = append(out, maintenanceAlarms(st.Cluster.Maintenance)...)
	out = append(out, keyAlarms(st, s)...)
	if len(st.Differences) > 0 {
		out = append(out, api.Alarm{
			Severity: api.Warning, Node: st.Node.ID,
			What: "this node's file differs from what the cluster has agreed, which holds: " + strings.Join(st.Differences, "; "),
			Do:   "the file counts at founding only: put back into it what the cluster has agreed",
		})
	}
	sortAlarms(out)
	return out
}

// ownAlarms are those that only the node itself can tell of.
func ownAlarms(node fsm.MemberID, alarms []api.Alarm) []api.Alarm {
	for i := range alarms {
		alarms[i].Node = node
	}
	return alarms
}

// sortAlarms puts the worst first.
func sortAlarms(alarms []api.Alarm) {
	slices.SortStableFunc(alarms, func(a, b api.Alarm) int { return rank(a.Severity) - rank(b.Severity) })
}

func rank(severity string) int {
	return slices.Index([]string{api.Critical, api.Warning, api.Note}, severity)
}

func clusterAlarms(st api.Status, obstacles []obstacle) []api.Alarm {
	var out []api.Alarm
	switch {
	case st.Cluster.ID == "" && st.Partial:
		out = append(out, api.Alarm{
			Severity: api.Critical, Node: st.Node.ID, What: waiting("this agent has not been told of a cluster", st.Node.Waiting[:min(1, len(st.Node.Waiting))]),
			Do: "start flip on the voters; once they have founded the cluster one of them informs it",
		})
	case st.Cluster.ID == "":
		out = append(out, api.Alarm{
			Severity: api.Critical, What: waiting("the cluster is not founded yet", st.Node.Waiting[:min(1, len(st.Node.Waiting))]), // the peers follow
			Do: "start flip on the other servers of the file; a majority of its voters founds the cluster",
		})
	case st.Cluster.Leader == "":
		out = append(out, api.Alarm{
			Severity: api.Critical, What: "no leader: nothing can be moved until there is one",
			Do: "bring a majority of the voters up and within reach of each other; the findings below say who is missing",
		})
	case !st.Node.Ready:
		out = append(out, api.Alarm{
			Severity: api.Note, Node: st.Node.ID, What: waiting("this node is not ready yet", st.Node.Waiting),
			Do: "nothing, if it does not last; restart no other node until it is",
		})
	}
	if st.Cluster.ID != "" && st.Node.Epoch != 0 && !st.Node.Lease.Running && hasAtMostOne(st) {
		out = append(out, api.Alarm{
			Severity: api.Warning, Node: st.Node.ID, What: "this node's lease has ended: it holds no at-most-one item",
			Do: "see which voters it does not hear; the lease begins anew when a majority answers",
		})
	}
	if st.Cluster.ID != "" {
		for _, o := range obstacles {
			if o.do != "" {
				out = append(out, api.Alarm{Severity: api.Warning, What: "failover impossible: " + o.why, Do: o.do})
			}
		}
	}
	return out
}

func waiting(what string, reasons []string) string {
	if len(reasons) == 0 {
		return what
	}
	return what + ": " + strings.Join(reasons, "; ")
}

func hasAtMostOne(st api.Status) bool {
	return slices.ContainsFunc(st.Systems, func(s api.System) bool {
		return s.Guarantee == fsm.AtMostOne.String() && s.Items > 0
	})
}

func memberAlarms(st api.Status, m api.Member) []api.Alarm {
	var out []api.Alarm
	name := string(m.Name)
	switch {
	case m.Name == st.Node.ID:
		return nil
	case m.State == api.MemberDown:
		out = append(out, api.Alarm{Severity: api.Warning, What: name + " is down", Do: "start flip on " + name + ", or see its log for why it stopped"})
	case m.State == api.MemberNever && st.Cluster.ID != "":
		out = append(out, api.Alarm{Severity: api.Warning, What: name + " has never joined", Do: "start flip on " + name + " with the same file"})
	}
	if what, do := finding(m); what != "" {
		severity := api.Warning
		if m.State == api.MemberDown || m.State == api.MemberNever {
			severity = api.Note // said already that it is not there; this is how it shows
		}
		out = append(out, api.Alarm{Severity: severity, Node: st.Node.ID, What: what, Do: do})
	} else if up(m.State) {
		out = append(out, ownAlarms(st.Node.ID, lossAlarms(m))...)
	}
	return out
}

// finding puts what this node met on its way to a peer into words, the more
// telling of TCP and UDP first.
func finding(m api.Member) (what, do string) {
	name, port := string(m.Name), m.Address
	if _, p, err := net.SplitHostPort(m.Address); err == nil {
		port = p
	}
	for _, f := range []api.Finding{m.TCP, m.UDP} {
		detail := ""
		if f.Detail != "" {
			detail = " (" + f.Detail + ")"
		}
		switch f.Code {
		case api.FindKey:
			return name + " has another key" + detail, "use the same `key` on every node"
		case api.FindOldKey:
			if f.Detail != "" {
				return f.Detail, "the one without the present key gets it from the other: `flip key show --secret` prints it"
			}
			return name + " has a key that was rotated away", "give it the present key: `flip key show --secret` prints it"
		case api.FindCert:
			return name + ": a certificate is not taken" + detail, "`flip doctor` on both machines looks at their certificates"
		case api.FindCluster:
			return name + " belongs to another cluster" + detail, "two clusters share an address: check `servers`; to have it join this one, stop it and empty its data_dir"
		case api.FindVoters:
			return name + "'s file names other voters" + detail, "use the same file on every node: same servers, same addresses"
		case api.FindWire:
			return name + " runs a version that shares no wire version with this one" + detail, "upgrade the older of the two"
		case api.FindName:
			return "another member answers at " + m.Address + ", the address of " + name + detail, "check the addresses in `servers`"
		}
	}
	switch {
	case m.TCP.Code == api.FindRefused:
		return name + " refuses TCP on " + m.Address, "flip does not run there, or on another port: start it, compare the files"
	case m.TCP.Code == api.FindSilent && m.UDP.Code == api.FindOK:
		return name + " is silent on TCP while UDP works", firewall(port)
	case m.TCP.Code == api.FindSilent:
		return name + " is silent on TCP at " + m.Address, "is the machine up, the address right? " + firewall(port)
	case m.UDP.Code == api.FindSilent && m.TCP.Code == api.FindOK:
		return name + " is silent on UDP while TCP works", firewall(port)
	}
	return "", ""
}

func firewall(port string) string { return "firewall? flip needs TCP and UDP on " + port }
