package fsm

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Votes reports whether a server has a Raft vote, or is to have one.
func (s Server) Votes() bool { return s.Role == RoleVoter || s.Role == RoleArbiter }

// Staying are the servers with a vote that nobody wants out of the cluster, by name.
func (s *Spec) Staying() []MemberID {
	var out []MemberID
	for id, server := range s.Servers {
		if server.Votes() && !server.Removing {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// VotesNeeded is how many down votes call a member down: the quorum that is
// configured, lifted to the majority of the voters that there are. A list that is
// shorter than the configuration will be needs no more than it can give.
func (s *Spec) VotesNeeded(list Voters) int {
	return max(list.Majority(), min(s.Quorum, len(list.IDs)-1))
}

// WithServer is the Spec with a server more, or another in the place of the one
// that has its name.
func (s *Spec) WithServer(server Server) Spec {
	out := *s
	out.Servers = maps.Clone(s.Servers)
	if out.Servers == nil {
		out.Servers = make(map[MemberID]Server)
	}
	out.Servers[server.Name] = server
	return out
}

// WithRemoving is the Spec with a server marked as to be taken out, or no longer. A
// quorum that was no more than the majority of the voters stays so: nobody asked for
// more.
func (s *Spec) WithRemoving(m MemberID, on bool) Spec {
	server, in := s.Servers[m]
	if !in {
		return *s
	}
	server.Name, server.Removing = m, on
	return s.restaffed(server)
}

// WithRole is the Spec with a server in another role; the quorum is as with WithRemoving.
func (s *Spec) WithRole(m MemberID, r Role) Spec {
	server, in := s.Servers[m]
	if !in {
		return *s
	}
	server.Name, server.Role = m, r
	return s.restaffed(server)
}

// restaffed is the Spec with another word about one of its servers.
func (s *Spec) restaffed(server Server) Spec {
	out := s.WithServer(server)
	if before := len(s.Staying())/2 + 1; s.Quorum <= before {
		out.Quorum = min(s.Quorum, len(out.Staying())/2+1)
	}
	return out
}

// WithoutServer is the Spec without a server.
func (s *Spec) WithoutServer(m MemberID) Spec {
	out := *s
	out.Servers = maps.Clone(s.Servers)
	delete(out.Servers, m)
	return out
}

// Keeping is the Spec of a file with those servers of the agreed one that the file
// does not name (any more): they are to be taken out, which takes its time. A mark
// that is there stays.
func (s *Spec) Keeping(agreed *Spec) Spec {
	out := *s
	out.Servers = maps.Clone(s.Servers)
	for id, was := range agreed.Servers {
		server, in := out.Servers[id]
		if !in {
			server, was.Removing = was, true
		}
		server.Name, server.Removing = id, was.Removing
		out.Servers[id] = server
	}
	return out
}

// short says why those who stay could not work by themselves, "" if they can.
func (s *Spec) short() string {
	staying := len(s.Staying())
	if staying == 0 {
		for _, server := range s.Servers {
			if server.Votes() || server.Role == RoleAgent {
				return "no voter would be left: one has to stay, or another to join first"
			}
		}
		return ""
	}
	if most := max(staying/2+1, staying-1); s.Quorum > most {
		return fmt.Sprintf("quorum asks for %d down votes, of the %d voters that stay %d can come together at most: lower it first",
			s.Quorum, staying, most)
	}
	return ""
}

// HasVote reports whether the committed list names a member, under any instance.
func (s *State) HasVote(m MemberID) bool { return s.voters.names(m) }

func (v Voters) names(m MemberID) bool {
	return slices.ContainsFunc(v.IDs, func(id VoterID) bool { return id.Member() == m })
}

// bars reports whether an entry keeps its member from being removed (L10). One that
// was forced does so only while the member is up and will report it: of one that is
// gone nobody ever would, and an operator has vouched for it.
func (m Member) bars(e Entry) bool { return !e.Void || m.Up }

// Drained reports whether a member owns nothing, and no entry that counts names it:
// then it may be removed (L10).
func (s *State) Drained(m MemberID) bool { return len(s.mayHold(m, 1)) == 0 && len(s.owns(m, 1)) == 0 }

// owns are the first slots of an owner, by key.
func (s *State) owns(m MemberID, most int) []Key {
	var out []Key
	for slot := range s.ownedBy(m).all() {
		if out = append(out, slot.Key); len(out) == most {
			break
		}
	}
	return out
}

// mayHold are the first slots with an entry that keeps the member in, by key.
func (s *State) mayHold(m MemberID, most int) []Key {
	me, _ := s.Member(m)
	prefix := appendPart(nil, string(m))
	var out []Key
	s.held.Root().WalkPrefix(prefix, func(k []byte, _ struct{}) bool {
		if slot, ok := s.slots.Get(k[len(prefix):]); ok && me.barredBy(m, slot) {
			out = append(out, slot.Key)
		}
		return len(out) == most
	})
	return out
}

// barredBy reports whether a slot has an entry that keeps the member in.
func (m Member) barredBy(id MemberID, slot *Slot) bool {
	return slices.ContainsFunc(slot.Outstanding, func(e Entry) bool { return e.Member == id && m.bars(e) })
}

// Waits says in words why a server is not yet what the Spec wants it to be: one that
// is to be taken out not gone, one that was added not there, an agent that still has
// the vote that it had. Nothing: it is.
func (s *State) Waits(m MemberID) []string {
	server, in := s.spec.Servers[m]
	switch {
	case !in:
		return nil
	case server.Removing:
		return s.waitsToGo(m)
	}
	var out []string
	if _, registered := s.Member(m); !registered {
		out = append(out, "it has not registered yet")
	}
	switch has := s.HasVote(m); {
	case server.Votes() && !has:
		out = append(out, "it has no vote yet: it gets one once it is there, has the log and hears the others")
	case !server.Votes() && has:
		out = append(out, s.waitsForVote(m, "votes are taken one at a time"))
	}
	return out
}

func (s *State) waitsToGo(m MemberID) []string {
	var out []string
	me, registered := s.Member(m)
	if owned := s.owns(m, 0); len(owned) > 0 {
		out = append(out, s.waitsForOwners(owned)...)
	}
	if may := s.mayHold(m, 0); len(may) > 0 {
		switch {
		case registered && me.Up:
			out = append(out, fmt.Sprintf("it has yet to confirm that it let go of %s", listed(may)))
		default:
			out = append(out, fmt.Sprintf("it is down, and may still hold %s: start it again, have it fenced, or say that it holds nothing: flip item release SYSTEM ITEM --force",
				listed(may)))
		}
	}
	if s.HasVote(m) {
		out = append(out, s.waitsForVote(m, "votes are taken one at a time, when it owns nothing any more"))
	}
	if len(out) == 0 {
		out = append(out, "the leader has yet to take it out of the configuration")
	}
	return out
}

// waitsForOwners says of what a member owns why it does not go elsewhere.
func (s *State) waitsForOwners(owned []Key) []string {
	bySystem := make(map[SystemID][]Key)
	for _, k := range owned {
		bySystem[k.System] = append(bySystem[k.System], k)
	}
	var out []string
	for _, id := range slices.Sorted(maps.Keys(bySystem)) {
		keys := bySystem[id]
		switch {
		case s.stopped(id):
			out = append(out, fmt.Sprintf("it still owns %s, and nothing of %s moves until somebody cleans up: flip cleanup %s", listed(keys), id, id))
		case s.Maintained(id):
			out = append(out, fmt.Sprintf("it still owns %s, and nothing of %s moves: it is under maintenance", listed(keys), id))
		case !s.served(id):
			out = append(out, fmt.Sprintf("it still owns %s, and no other member that is up serves %s", listed(keys), id))
		default:
			out = append(out, fmt.Sprintf("it still owns %s, which goes elsewhere", listed(keys)))
		}
	}
	return out
}

// served reports whether anybody who stays can take items of a system.
func (s *State) served(id SystemID) bool {
	for _, name := range s.spec.servedBy(id) {
		if s.inherits(name, id) {
			return true
		}
	}
	return false
}

// stopped reports whether a brake holds all of a system.
func (s *State) stopped(id SystemID) bool {
	_, is := findBrake(s.brakes, id)
	return is
}

// waitsForVote says what a vote that is to be taken waits for; rule is when nothing
// is in its way.
func (s *State) waitsForVote(m MemberID, rule string) string {
	left, up := 0, 0
	var down []string
	for _, id := range s.voters.IDs {
		name := id.Member()
		if name == m {
			continue
		}
		left++
		if o, ok := s.Member(name); ok && o.Up {
			up++
		} else {
			down = append(down, string(name))
		}
	}
	switch {
	case left == 0:
		return "it has the only vote: another server has to get one first"
	case up <= left/2:
		return fmt.Sprintf("it still has its vote: without it fewer than a majority of the voters would be up (down: %s)", strings.Join(down, ", "))
	default:
		return "it still has its vote: " + rule
	}
}

// maxListed is how many items a sentence names.
const maxListed = 3

// listed names the first of some items.
func listed(keys []Key) string {
	names := make([]string, 0, maxListed)
	for _, k := range keys[:min(len(keys), maxListed)] {
		names = append(names, string(k.System)+"/"+string(k.Item))
	}
	text := strings.Join(names, ", ")
	if more := len(keys) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
