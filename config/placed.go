package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flip-ha/flip/fsm"
)

// placed compares what systems ask for with the servers that there are.
func (p *parser) placed(sys *systems, servers map[fsm.MemberID]fsm.Server) {
	may := map[fsm.SystemID][]fsm.Server{}
	for i := range sys.list {
		s := &sys.list[i]
		who := serving(s.Name, servers)
		if len(who) == 0 || unplaced(s.Split) != "" { // what nobody serves is reported
			continue
		}
		p.preferred(s, servers)
		if may[s.Name] = p.selected(s, who); len(may[s.Name]) > 0 {
			p.enough(s, may[s.Name])
			p.room(s, may[s.Name])
		}
	}
	for i := range sys.list {
		p.meeting(&sys.list[i], may)
	}
}

// preferred checks that items are to be on servers that may have them.
func (p *parser) preferred(s *system, servers map[fsm.MemberID]fsm.Server) {
	noted := map[string]bool{}
	for _, n := range s.names.prefer {
		server, known := servers[fsm.MemberID(n.name)]
		switch {
		case !known:
			p.fail(n.at, n.key, meant(n.name, plainStrings(slices.Sorted(maps.Keys(servers)))), "there is no server %s", quote(n.name))
		case !slices.Contains(server.Systems, s.Name):
			p.fail(n.at, n.key, fmt.Sprintf(`add %s to its "systems"`, quote(string(s.Name))), "server %s does not serve this system", quote(n.name))
		case !s.Selects(server) && !noted[n.name]:
			noted[n.name] = true
			p.note(n.at, n.key, "", "select leaves %s out: it holds nothing of this system", n.name)
		}
	}
	if s.Split != fsm.ChooseOne {
		return
	}
	var first []fsm.MemberID
	for _, item := range s.Items {
		switch {
		case first == nil:
			first = item.Prefer
		case item.Prefer != nil && !slices.Equal(first, item.Prefer):
			p.note(s.at, "cluster.system."+string(s.Name), "prefer the same for all", "type choose_one has all items on one server, and they prefer different ones")
			return
		}
	}
}

// enough notes more replicas than servers.
func (p *parser) enough(s *system, may []fsm.Server) {
	if n := s.Ranks(); n > len(may) {
		f := s.names.replicas
		p.note(f.at, f.key, "", "%s of this system: each item has %s there at most", plural(len(may), "server"), plural(len(may), "replica"))
	}
}

// room notes items for which the capacities are too small, with all servers up.
func (p *parser) room(s *system, may []fsm.Server) {
	load, most, sum := 0, 0, 0
	for _, item := range s.Items {
		load += item.Load()
	}
	for _, server := range may {
		if server.Capacity == 0 {
			return
		}
		most = max(most, server.Capacity)
		sum += min(server.Capacity, load) // it holds no item twice
	}
	var large []string
	for _, item := range s.Items {
		if item.Load() > most {
			large = append(large, string(item.ID))
		}
	}
	ranks := min(s.Ranks(), len(may))
	key := "cluster.system." + string(s.Name)
	switch {
	case s.Split == fsm.ChooseOne && load > most:
		p.note(s.at, key, "", "all items together weigh %d, and no server has capacity for more than %d: nobody can have them", load, most)
	case s.Split == fsm.ChooseOne:
	case len(large) > 0:
		p.note(s.at, key, "", "no server has capacity for more than %d: nobody can have %s", most, some(large))
	case load*ranks > sum:
		p.note(s.at, key, "", "the items weigh %d%s, and the servers can hold %d: some will be nobody's", load*ranks, copies(ranks), sum)
	}
}

func copies(ranks int) string {
	if ranks == 1 {
		return ""
	}
	return fmt.Sprintf(" in %d copies", ranks)
}

// meeting checks that systems which go together can, and that those apart have room
// for it.
func (p *parser) meeting(s *system, may map[fsm.SystemID][]fsm.Server) {
	mine := may[s.Name]
	if len(mine) == 0 {
		return
	}
	for _, n := range slices.Concat(s.names.with, s.names.apart) {
		theirs := may[fsm.SystemID(n.name)]
		both := map[fsm.MemberID]int{}
		for _, server := range slices.Concat(mine, theirs) {
			both[server.Name]++
		}
		common := len(mine) + len(theirs) - len(both)
		switch {
		case len(theirs) == 0 || n.name == string(s.Name): // reported, or refused
		case strings.HasSuffix(n.key, ".with") && common == 0:
			p.fail(n.at, n.key, "", "no server can hold both this system and %s", quote(n.name))
		case strings.HasSuffix(n.key, ".apart") && len(both) == 1:
			p.note(n.at, n.key, "", "one server holds this system and %s, and they cannot be there both", quote(n.name))
		}
	}
}
