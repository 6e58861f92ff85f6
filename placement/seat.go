package placement

import (
	"math"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// nobody stands for no member, or for one that does not serve the system.
const nobody = -1

// The grades of a member for an item. An owner of a grade above flawed keeps the item;
// a flawed one only when nobody is better.
const (
	useless = iota // down, leaving, not serving the system, or a rule forbids it
	flawed         // usable, but what it takes has failed here for this item
	young          // has not been up for as long as the system wants of a newcomer
	fit
	// ready is fit and able to act at once: an unsettled member would hold an
	// at-most-one item back for its slack (LEASES.md, L6).
	ready
)

// noLimit is the capacity of a member of which nothing is said.
const noLimit = math.MaxInt64 / 4

// seat is what a member is to one system.
type seat struct {
	id      fsm.MemberID
	usable  bool
	why     string // not usable: why, in words
	rule    string // usable, and may have nothing of the system all the same: why
	grade   int    // for an item that has not failed there
	back    bool   // it may take items from who could keep them
	well    time.Duration
	share   int64
	limit   int64
	zone    int32
	company rated // systems that go with this one and cannot be here
	counts  bool  // homes are dealt to it, if it is selected
	chosen  bool  // it matches Select
}

// seats are the members that serve a system, in Order.
func (g *group) seats() {
	zones := map[string]int32{}
	for _, id := range g.order {
		server := g.spec.Servers[id]
		if !serves(&server, g.sys.Name) {
			continue
		}
		if _, known := zones[server.Zone]; !known {
			zones[server.Zone] = int32(len(zones))
		}
		m, registered := g.state.Member(id)
		why, out := g.why[id]
		s := seat{
			id: id, usable: !out, why: why, well: g.wellFor(id), counts: registered, chosen: g.sys.Selects(server),
			share: int64(server.Share()), limit: noLimit, zone: zones[server.Zone], company: g.companyOf(&server),
		}
		if server.Capacity > 0 {
			s.limit = int64(server.Capacity)
		}
		s.rule = g.ruled(&s, m)
		s.grade = g.gradeOf(&s, m)
		s.back = s.grade == ready && g.sys.Failback != fsm.NeverFailback && s.well >= g.sys.Failback
		g.at[id] = int32(len(g.seat))
		g.seat = append(g.seat, s)
	}
	g.zones = len(zones)
}

func serves(server *fsm.Server, id fsm.SystemID) bool {
	return !server.Removing && slices.Contains(server.Systems, id)
}

// ruled says what forbids a member all of a system, "" if nothing does.
func (g *group) ruled(s *seat, m fsm.Member) string {
	if !s.chosen {
		return string(s.id) + " does not have the tags that " + string(g.sys.Name) + " selects"
	}
	if g.sys.Action == fsm.ActionClient && !slices.Contains(m.Programs, g.sys.Name) {
		return "no program on " + string(s.id) + " has claimed " + string(g.sys.Name)
	}
	return g.ties.ruled(s.id)
}

func (g *group) gradeOf(s *seat, m fsm.Member) int {
	switch {
	case !s.usable || s.rule != "":
		return useless
	case s.well < g.sys.Mature:
		return young
	case g.sys.Guarantee == fsm.AtMostOne && !m.Settled:
		return fit
	default:
		return ready
	}
}

// companyOf counts the systems that go with this one and can never be on a server.
func (g *group) companyOf(server *fsm.Server) rated {
	var n rated
	for _, id := range g.company {
		if sys := g.spec.Systems[id]; !serves(server, id) || !sys.Selects(*server) {
			n++
		}
	}
	return min(n, 1<<16-1)
}
