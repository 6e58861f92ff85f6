package server

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

func (l local) memberPromote(r *http.Request) (any, error) {
	var in api.MemberPromote
	if err := decodeStrict(r.Body, &in); err != nil {
		return nil, err
	}
	return l.changeRole(r, in.Name, withVoter)
}

func (l local) memberDemote(r *http.Request) (any, error) {
	var in api.MemberDemote
	if err := decodeStrict(r.Body, &in); err != nil {
		return nil, err
	}
	return l.changeRole(r, in.Name, withAgent)
}

func (l local) changeRole(r *http.Request, name fsm.MemberID, change func(*fsm.State, fsm.Server) (*fsm.Spec, []string, error)) (any, error) {
	if name == "" {
		return nil, badBody(errors.New("which member?"))
	}
	return l.changeMember(r, name, func(s *fsm.State) (*fsm.Spec, []string, error) {
		server, listed := s.Spec().Servers[name]
		switch {
		case !listed:
			return nil, nil, unknownMember(s, name)
		case server.Removing:
			return nil, nil, refusedf("`flip member show "+string(name)+"` says what that waits for", "%s is being removed", name)
		}
		server.Name = name
		return change(s, server)
	})
}

// withVoter is the configuration in which an agent is to have a vote; nil: it is to
// have one already.
func withVoter(s *fsm.State, server fsm.Server) (*fsm.Spec, []string, error) {
	if server.Votes() {
		return nil, nil, nil
	}
	if err := roomForVoter(s); err != nil {
		return nil, nil, err
	}
	role := fsm.RoleVoter
	if len(server.Systems) == 0 { // as in a file
		role = fsm.RoleArbiter
	}
	next := s.Spec().WithRole(server.Name, role)
	warnings := evenWarning(len(next.Staying()))
	if state := memberState(s, server.Name); !up(state) {
		warnings = append(warnings, fmt.Sprintf("%s is %s: it gets its vote once it is up", server.Name, state))
	}
	return &next, warnings, nil
}

// withAgent is the configuration in which a voter is to have no vote any more; nil: it
// is an agent already.
func withAgent(s *fsm.State, server fsm.Server) (*fsm.Spec, []string, error) {
	switch {
	case !server.Votes():
		return nil, nil, nil
	case server.Role == fsm.RoleArbiter:
		return nil, nil, refusedf("`flip member remove "+string(server.Name)+"` takes it out of the cluster",
			"%s is an arbiter: without its vote nothing would be left of it", server.Name)
	}
	if err := staysAble(s, server.Name); err != nil {
		return nil, nil, err
	}
	next := s.Spec().WithRole(server.Name, fsm.RoleAgent)
	left := len(next.Staying())
	next.Quorum = mostQuorum(next.Quorum, left)
	return &next, fewWarnings(left), nil
}

// roomForVoter refuses a voter more than there may be.
func roomForVoter(s *fsm.State) error {
	n := len(s.Spec().Staying())
	if n < api.MaxVoters {
		return nil
	}
	return refusedf("demote or remove a voter first: each commit waits for a majority of them, so more make the cluster slower and no safer; "+
		"an agent needs no vote: --role agent", "the cluster has %d voters already, and that is the most", n)
}

// mostQuorum is a quorum that so many voters can still reach: more votes than there are
// others can never come together.
func mostQuorum(quorum, voters int) int { return min(quorum, max(voters/2+1, voters-1, 1)) }

// evenWarning is what is worth a word about a number of voters.
func evenWarning(n int) []string {
	if n%2 != 0 || n == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d voters bear the loss of no more than %d do: an odd number is better", n, n-1)}
}

// fewWarnings is the same, when they become fewer.
func fewWarnings(left int) []string {
	switch left {
	case 1:
		return []string{"one voter stays: when it is lost, nothing can fail over"}
	case 2:
		return []string{"two voters stay: neither can ever call the other down, so when one is lost nothing can fail over; " +
			"an arbiter would help: a member without systems on any other machine"}
	default:
		return evenWarning(left)
	}
}
