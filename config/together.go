package config

import (
	"slices"
	"strings"

	"github.com/flip-ha/flip/fsm"
)

// together reads which systems go with which others, and apart from which.
func (p *parser) together(sys *systems) {
	byName := map[string]*system{}
	for i := range sys.list {
		byName[string(sys.list[i].Name)] = &sys.list[i]
	}
	for i := range sys.list {
		s := &sys.list[i]
		s.With = p.others(s, s.names.with, byName, sys.names)
		s.Apart = p.others(s, s.names.apart, byName, sys.names)
		for _, n := range s.names.apart {
			if slices.Contains(s.With, fsm.SystemID(n.name)) {
				p.fail(n.at, n.key, "keep one of the two", "%s is in with too", quote(n.name))
			}
		}
	}
	p.circles(sys.list, byName)
}

// others are the systems that a list names, sorted.
func (p *parser) others(s *system, list []named, byName map[string]*system, names []string) []fsm.SystemID {
	var out []fsm.SystemID
	for _, n := range list {
		other := byName[n.name]
		switch {
		case n.name == string(s.Name):
			p.fail(n.at, n.key, "", "names the system itself")
		case other == nil && !contains(names, n.name):
			rest := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == string(s.Name) })
			p.fail(n.at, n.key, meant(n.name, rest), "there is no system %s", quote(n.name))
		case other == nil: // its name is reported
		case other.Split == fsm.Replicate:
			p.fail(n.at, n.key, `"systems" of the servers, or select, says where both can be`, "every server that lists %s holds all of its items", quote(n.name))
		case other.Split == fsm.Nothing:
			p.fail(n.at, n.key, "leave it out", "system %s has no items", quote(n.name))
		default:
			out = append(out, fsm.SystemID(n.name))
		}
	}
	slices.Sort(out)
	return out
}

// circles reports systems each of which waits for the next to be placed: what others
// refer to is placed first.
func (p *parser) circles(list []system, byName map[string]*system) {
	const under, over = 1, 2
	state := map[string]int{}
	var way []string
	var walk func(s *system)
	walk = func(s *system) {
		name := string(s.Name)
		state[name] = under
		way = append(way, name)
		for _, n := range slices.Concat(s.names.with, s.names.apart) {
			to := byName[n.name]
			switch {
			case to == nil || to == s:
			case state[n.name] == under:
				circle := append(slices.Clone(way[slices.Index(way, n.name):]), n.name)
				p.fail(n.at, n.key, "with and apart hold for both: it is enough to say so of one", "goes round in a circle: %s", strings.Join(circle, " -> "))
			case state[n.name] != over:
				walk(to)
			}
		}
		way = way[:len(way)-1]
		state[name] = over
	}
	for i := range list {
		if state[string(list[i].Name)] == 0 {
			walk(&list[i])
		}
	}
}
