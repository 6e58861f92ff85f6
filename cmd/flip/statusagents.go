package main

import (
	"slices"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// manyAgents is from how many on those that are well are only counted.
const manyAgents = 10

func isAgentRole(m api.Member) bool { return m.Role == fsm.RoleAgent.String() }

// askable are the members that `flip doctor` looks for: of many agents none, since each
// would be asked for the time over a connection of its own.
func askable(st api.Status) []api.Member {
	agents := 0
	for _, m := range st.Members {
		if isAgentRole(m) {
			agents++
		}
	}
	if agents <= manyAgents {
		return st.Members
	}
	return slices.DeleteFunc(slices.Clone(st.Members), isAgentRole)
}

// membersShown are the members that the table has a row for, and how many agents it
// leaves out.
func membersShown(st api.Status) (shown []api.Member, quiet int) {
	agents := 0
	for _, m := range st.Members {
		if isAgentRole(m) {
			agents++
		}
	}
	for _, m := range st.Members {
		if agents > manyAgents && isAgentRole(m) && !m.Voter && m.State == api.MemberUp && m.Name != st.Node.ID {
			quiet++
			continue
		}
		shown = append(shown, m)
	}
	return shown, quiet
}

// roleWords is the role, and the vote where it is not what the role says.
func roleWords(m api.Member) string {
	switch {
	case isAgentRole(m) && m.Voter:
		return m.Role + " (votes still)"
	case !isAgentRole(m) && !m.Voter:
		return m.Role + " (no vote yet)"
	default:
		return m.Role
	}
}

// wayWord is what was found on the way to a member: nobody looks for the way to an
// agent over TCP, and an agent only for that to the voter that informs it.
func wayWord(st api.Status, m api.Member, f api.Finding) string {
	here := slices.ContainsFunc(st.Members, func(o api.Member) bool { return o.Name == st.Node.ID && isAgentRole(o) && !o.Voter })
	if f.Code == "" && (isAgentRole(m) || here) {
		return "-"
	}
	return findingWord(f)
}
