package server

import (
	"fmt"

	"github.com/flip-ha/flip/fsm"
)

// unfitWarnings is what a new server lacks that systems or the other servers go by.
func unfitWarnings(s *fsm.State, server fsm.Server) []string {
	var out []string
	for _, id := range server.Systems {
		if sys := s.Spec().Systems[id]; !sys.Selects(server) {
			out = append(out, fmt.Sprintf("system %s selects servers by tags that %s has not: it will hold nothing of it", id, server.Name))
		}
	}
	if server.Zone != "" || len(server.Systems) == 0 {
		return out
	}
	for _, name := range sortedKeys(s.Spec().Servers) {
		if other := s.Spec().Servers[name]; other.Zone != "" && len(other.Systems) > 0 {
			return append(out, fmt.Sprintf("%s has no zone, %s is in zone %s: servers without one count as a zone of their own", server.Name, name, other.Zone))
		}
	}
	return out
}

// removeWarnings is what is worth a word about a removal.
func removeWarnings(s *fsm.State, name fsm.MemberID, left int) []string {
	var out []string
	if s.Spec().Servers[name].Votes() {
		out = fewWarnings(left)
	}
	for _, id := range s.Spec().Servers[name].Systems {
		sys := s.Spec().Systems[id]
		others := othersHolding(s, &sys, name)
		switch {
		case sys.Split == fsm.Nothing, !sys.Selects(s.Spec().Servers[name]):
		case others == 0 && len(sys.Select) > 0:
			out = append(out, fmt.Sprintf("no other member of system %s has the tags that it selects: its items will be nobody's", id))
		case others == 0:
			out = append(out, fmt.Sprintf("no other member serves system %s: its items will be nobody's", id))
		case sys.Split == fsm.Replicate:
		case others == 1:
			out = append(out, fmt.Sprintf("one member will serve system %s: it cannot fail over", id))
		case others < sys.Ranks():
			out = append(out, fmt.Sprintf("%d members will serve system %s: too few for %d replicas of each item", others, id, sys.Ranks()))
		}
	}
	return out
}

// othersHolding is how many members besides one may hold items of a system.
func othersHolding(s *fsm.State, sys *fsm.System, but fsm.MemberID) int {
	n := 0
	for _, m := range serversOf(s.Spec(), sys.Name) {
		if server := s.Spec().Servers[m]; m != but && !server.Removing && sys.Selects(server) {
			n++
		}
	}
	return n
}
