package config

import (
	"maps"
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// removeOnFailure reads Flip's key from where it had it, or from the top level.
func (p *parser) removeOnFailure(top, cluster object, sys *systems) bool {
	above, a := top.boolean("remove_on_failure")
	inside, f := cluster.boolean("remove_on_failure")
	switch {
	case a.set && f.set:
		p.fail(f.keyAt, f.key, "keep one of the two", "is at the top level too")
		return true
	case a.set:
		inside, f = above, a
	}
	if !f.good {
		return true // Flip's default
	}
	if inside {
		return true
	}
	for _, s := range sys.list {
		if s.Guarantee == fsm.AtMostOne {
			p.fail(f.at, f.key, "leave it out, or make the system at-least-one",
				"false keeps everything when a daemon stops, which breaks at-most-one of system %s", s.Name)
		}
	}
	return false
}

// serving are the servers that list a system, by name.
func serving(id fsm.SystemID, servers map[fsm.MemberID]fsm.Server) []fsm.Server {
	var out []fsm.Server
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		if slices.Contains(servers[name].Systems, id) {
			out = append(out, servers[name])
		}
	}
	return out
}

// served reports systems that nobody serves.
func (p *parser) served(sys *systems, servers map[fsm.MemberID]fsm.Server) {
	for _, s := range sys.list {
		found := s.Split == fsm.Nothing || len(serving(s.Name, servers)) > 0
		if !found && len(servers) > 0 {
			p.fail(s.at, "cluster.system."+string(s.Name), `add it to the "systems" of a server`, "no server serves this system")
		}
	}
}
