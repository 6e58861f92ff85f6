package server

import (
	"fmt"
	"net/http"
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
	if n := agentsOf(s.Spec()); n > 0 {
		v.Words += fmt.Sprintf("; %s without a vote", counted(n, "agent"))
	}
	return v
}

func agentsOf(spec *fsm.Spec) int {
	n := 0
	for _, server := range spec.Servers {
		if server.Role == fsm.RoleAgent {
			n++
		}
	}
	return n
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func memberInfo(s *fsm.State, name fsm.MemberID, stamp api.Stamp, held map[fsm.MemberID]holdings) api.MemberInfo {
	server, listed := s.Spec().Servers[name]
	reg, _ := s.Member(name)
	m := api.MemberInfo{
		Name: name, Addr: server.Addr, Systems: append([]fsm.SystemID{}, server.Systems...),
		State: memberState(s, name), Leader: string(name) == stamp.Leader, Vote: s.HasVote(name),
		Removing: server.Removing, Epoch: reg.Epoch, Instance: reg.Host.Instance,
	}
	if listed {
		m.Role = server.Role.String()
	}
	if server.HasPriority {
		m.Priority = &server.Priority
	}
	m.Weight, m.Capacity, m.Zone, m.Tags = server.Share(), server.Capacity, server.Zone, tagsOf(server)
	m.Items, m.Entries = held[name].items, held[name].entries
	switch {
	case s.Spec().Version == 0:
	case !listed:
		m.Waits = []string{"it is in the configuration no more, and is forgotten once nothing names it"}
	case server.Removing, server.Role == fsm.RoleAgent && m.State != api.MemberNever:
		m.Waits = s.Waits(name)
	default:
		m.Waits = coming(s, m)
	}
	return m
}

// holdings is how much a member owns, and how much of others it may still hold.
type holdings struct{ items, entries int }

// holdingsOf counts for each member what it has to do with the slots: one look at
// all.
func holdingsOf(s *fsm.State) map[fsm.MemberID]holdings {
	out := map[fsm.MemberID]holdings{}
	for slot := range s.Slots() {
		if slot.Owner != "" {
			h := out[slot.Owner]
			h.items++
			out[slot.Owner] = h
		}
		for _, e := range slot.Outstanding {
			h := out[e.Member]
			h.entries++
			out[e.Member] = h
		}
	}
	return out
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
