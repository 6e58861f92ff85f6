package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// memberList answers who is a member.
func (l local) memberList(r *http.Request) (any, error) {
	if err := l.verify(r); err != nil {
		return nil, err
	}
	stamp, state := l.stamp()
	return MembersOf(state, stamp), nil
}

// MembersOf is everybody that the configuration or the log names.
func MembersOf(s *fsm.State, stamp api.Stamp) api.Members {
	out := api.Members{Stamp: stamp, Voters: voterSummary(s), Members: []api.MemberInfo{}}
	held := holdingsOf(s)
	for _, name := range memberNames(s, s.Spec()) {
		out.Members = append(out.Members, memberInfo(s, name, stamp, held))
	}
	return out
}

func voterSummary(s *fsm.State) api.VoterSummary {
	list := s.Voters()
	v := api.VoterSummary{Have: len(list.IDs), Majority: list.Majority(), Quorum: quorumOf(list, s.Spec()).Votes}
	if v.Have == 0 {
		return api.VoterSummary{Words: "no voters yet: the cluster is not founded"}
	}
	v.BearsLost = v.Have - v.Majority
	lost := fmt.Sprintf("%d of them may be lost at once", v.BearsLost)
	if v.BearsLost == 0 {
		lost = "none of them may be lost"
	}
	v.Words = fmt.Sprintf("%s, a majority is %d: %s; %s", counted(v.Have, "voter"), v.Majority, lost, quorumOf(list, s.Spec()).Words)
	return v
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// voterOf is the vote that a member has, "" for none.
func voterOf(s *fsm.State, name fsm.MemberID) fsm.VoterID {
	for _, id := range s.Voters().IDs {
		if id.Member() == name {
			return id
		}
	}
	return ""
}

func memberInfo(s *fsm.State, name fsm.MemberID, stamp api.Stamp, held map[fsm.MemberID]*holdings) api.MemberInfo {
	server, listed := s.Spec().Servers[name]
	reg, _ := s.Member(name)
	m := api.MemberInfo{
		Name: name, Addr: server.Addr, Systems: slices.Concat([]fsm.SystemID{}, server.Systems),
		State: memberState(s, name), Leader: string(name) == stamp.Leader, Vote: voterOf(s, name) != "",
		Removing: server.Removing, Epoch: reg.Epoch, Instance: reg.Host.Instance,
	}
	if listed {
		m.Role = server.Role.String()
	}
	if server.HasPriority {
		m.Priority = &server.Priority
	}
	h := held[name]
	if h == nil {
		h = &holdings{}
	}
	m.Items, m.Entries = h.items, h.entries
	switch {
	case s.Spec().Version == 0:
	case server.Removing || !listed:
		m.Waits = h.leaving(s, name)
	default:
		m.Waits = coming(s, m)
	}
	return m
}

// holdings is what a member owns, and what of others it may still hold.
type holdings struct {
	items, entries int
	owned          map[fsm.SystemID]int
	blocks         map[string]int // why it is not known to have let go: how many items
}

// holdingsOf is what each member has to do with the slots: one look at all.
func holdingsOf(s *fsm.State) map[fsm.MemberID]*holdings {
	out := map[fsm.MemberID]*holdings{}
	of := func(m fsm.MemberID) *holdings {
		if out[m] == nil {
			out[m] = &holdings{owned: map[fsm.SystemID]int{}, blocks: map[string]int{}}
		}
		return out[m]
	}
	for slot := range s.Slots() {
		if slot.Owner != "" {
			h := of(slot.Owner)
			h.items++
			h.owned[slot.System]++
		}
		if len(slot.Outstanding) == 0 {
			continue
		}
		owner, _ := s.Member(slot.Owner)
		for _, e := range slot.Outstanding {
			h := of(e.Member)
			h.entries++
			h.blocks[outstanding(s, slot, e, owner).Why]++
		}
	}
	return out
}

// stuck is why items that a member owns do not move away.
func (h *holdings) stuck(s *fsm.State, name fsm.MemberID) []string {
	var out []string
	for _, id := range sortedKeys(h.owned) {
		items := fmt.Sprintf("%s of system %s", counted(h.owned[id], "item"), id)
		switch {
		case s.Maintained(id):
			out = append(out, fmt.Sprintf("%s: nothing of it is moved under maintenance: %s", items, endIt(s, id)))
		case !othersServe(s, id, name):
			out = append(out, items+": no other server of it runs")
		}
	}
	return out
}

// othersServe reports whether another member could take a system's items.
func othersServe(s *fsm.State, id fsm.SystemID, name fsm.MemberID) bool {
	return slices.ContainsFunc(serversOf(s.Spec(), id), func(m fsm.MemberID) bool {
		return m != name && !s.Spec().Servers[m].Removing && up(memberState(s, m))
	})
}

// coming is why a new member is not all there yet.
func coming(s *fsm.State, m api.MemberInfo) []string {
	switch {
	case m.State == api.MemberNever && !m.Vote:
		return []string{fmt.Sprintf("it has not been taken in yet: start flip on %s, `flip run --join %s`", m.Name, someAddr(s, m.Name))}
	case m.State == api.MemberNever:
		return []string{"it has not registered yet"}
	case !m.Vote && !up(m.State):
		return []string{fmt.Sprintf("it has no vote yet, and is %s: start flip on it", m.State)}
	case !m.Vote:
		return []string{"it has no vote yet: it gets it once its log has caught up, it hears every member, and the last change of the voters is long enough ago"}
	default:
		return nil
	}
}

// someAddr is the address of a server that has its vote, to be asked by another.
func someAddr(s *fsm.State, but fsm.MemberID) string {
	for _, id := range s.Voters().IDs {
		if server, ok := s.Spec().Servers[id.Member()]; ok && id.Member() != but && !server.Removing {
			return server.Addr
		}
	}
	return "HOST:PORT"
}

// leaving is why a removal is not done yet, in the order in which it goes on.
func (h *holdings) leaving(s *fsm.State, name fsm.MemberID) []string {
	var out []string
	if h.items > 0 {
		out = append(out, fmt.Sprintf("it still owns %s, to be moved away", counted(h.items, "item")))
		out = append(out, h.stuck(s, name)...)
	}
	for _, why := range sortedKeys(h.blocks) {
		out = append(out, fmt.Sprintf("%s: %s", counted(h.blocks[why], "item"), why))
	}
	if h.entries > 0 && !up(memberState(s, name)) {
		out = append(out, fmt.Sprintf("`flip assign` lists these items: start flip on %s again, have it fenced, or, once you know that nothing of them is left there, `flip item release SYSTEM ITEM --force`", name))
	}
	if voterOf(s, name) != "" {
		out = append(out, "it still has its vote")
	}
	if len(out) == 0 {
		out = append(out, "the leader has yet to take it out of the configuration")
	}
	return out
}

// unknownMember names the members, the nearest first.
func unknownMember(s *fsm.State, name fsm.MemberID) error {
	names := memberNames(s, s.Spec())
	hint := "the cluster is not founded yet; `flip status` says what it waits for"
	if near := api.Nearest(string(name), names); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	} else if len(names) > 0 {
		hint = "the members: " + joined(names)
	}
	return &api.Error{Code: api.CodeNotFound, Message: "no member " + string(name), Hint: hint}
}

func joined[T ~string](names []T) string {
	words := make([]string, len(names))
	for i, n := range names {
		words[i] = string(n)
	}
	return strings.Join(words, ", ")
}
