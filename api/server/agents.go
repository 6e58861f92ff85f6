package server

import (
	"fmt"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// fewAgents is how many agents are told of one by one: a rack of them that is switched
// off is one alarm.
const fewAgents = 3

// membersAlarms are those of all members.
func membersAlarms(st api.Status) []api.Alarm {
	away := map[string][]fsm.MemberID{} // agents that are not there, by their state
	agent := func(m api.Member) bool {
		return m.Role == fsm.RoleAgent.String() && m.Name != st.Node.ID && !up(m.State)
	}
	for _, m := range st.Members {
		if agent(m) {
			away[m.State] = append(away[m.State], m.Name)
		}
	}
	var out []api.Alarm
	for _, m := range st.Members {
		if !agent(m) || len(away[m.State]) <= fewAgents {
			out = append(out, memberAlarms(st, m)...)
		}
	}
	if names := away[api.MemberDown]; len(names) > fewAgents {
		out = append(out, api.Alarm{
			Severity: api.Warning, What: fmt.Sprintf("%d agents are down: %s", len(names), someOf(names)),
			Do: "start flip on them, or see their logs for why they stopped",
		})
	}
	if names := away[api.MemberNever]; len(names) > fewAgents && st.Cluster.ID != "" {
		out = append(out, api.Alarm{
			Severity: api.Warning, What: fmt.Sprintf("%d agents have never joined: %s", len(names), someOf(names)),
			Do: "start flip on them; `flip member list` names all",
		})
	}
	return out
}

// someOf names the first of many.
func someOf(names []fsm.MemberID) string {
	if more := len(names) - fewAgents; more > 0 {
		return fmt.Sprintf("%s and %d more", joined(names[:fewAgents]), more)
	}
	return joined(names)
}
