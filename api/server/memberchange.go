package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// changeTries is how often a change of the members is made anew from a newer
// configuration: each time another change was faster.
const changeTries = 5

// respec makes the next configuration of the newest one; nil without an error:
// there is nothing to change.
type respec func(*fsm.State) (next *fsm.Spec, warnings []string, err error)

func (l local) memberAdd(r *http.Request) (any, error) {
	var in api.MemberAdd
	if err := decodeStrict(r.Body, &in); err != nil {
		return nil, err
	}
	if in.Name == "" || in.Addr == "" {
		return nil, badBody(errors.New("a member needs a name and an address"))
	}
	return l.changeMember(r, in.Name, func(s *fsm.State) (*fsm.Spec, []string, error) { return withMember(s, in) })
}

func (l local) memberRemove(r *http.Request) (any, error) {
	var in api.MemberRemove
	if err := decodeStrict(r.Body, &in); err != nil {
		return nil, err
	}
	if in.Name == "" {
		return nil, badBody(errors.New("which member?"))
	}
	return l.changeMember(r, in.Name, func(s *fsm.State) (*fsm.Spec, []string, error) { return withoutMember(s, in.Name) })
}

// changeMember commits what change makes of the newest configuration. When
// another change was faster it is made, and judged, anew.
func (l local) changeMember(r *http.Request, name fsm.MemberID, change respec) (any, error) {
	ctx, cancel, err := l.begin(r)
	if err != nil {
		return nil, err
	}
	defer cancel()
	for try := 1; ; try++ {
		state, _ := l.Node.View()
		if state.Spec().Version == 0 {
			return nil, refusal("the cluster is not founded yet", "`flip status` says what it waits for")
		}
		next, warnings, err := change(state)
		if err != nil {
			return nil, err
		}
		if next != nil {
			err = l.setSpec(ctx, state, *next)
		}
		if err == nil {
			stamp, state := l.stamp()
			return api.MemberChanged{Stamp: stamp, Member: memberInfo(state, name, stamp, holdingsOf(state)), Warnings: warnings}, nil
		}
		if newer, _ := l.Node.View(); api.CodeOf(err) != api.CodeRefused || newer.Spec().Version == state.Spec().Version || try == changeTries {
			return nil, err
		}
	}
}

func (l local) setSpec(ctx context.Context, s *fsm.State, next fsm.Spec) error {
	return l.propose(ctx, fsm.SetSpec{Was: s.Spec().Version, Spec: next, At: now()})
}

func refusal(what, hint string) error {
	return &api.Error{Code: api.CodeRefused, Message: what, Hint: hint}
}

func refusedf(hint, format string, args ...any) error {
	return refusal(fmt.Sprintf(format, args...), hint)
}

// withMember is the configuration with one more server.
func withMember(s *fsm.State, in api.MemberAdd) (*fsm.Spec, []string, error) {
	server, err := serverFor(s, in)
	if err != nil {
		return nil, nil, err
	}
	if have, there := s.Spec().Servers[in.Name]; there {
		switch {
		case have.Removing:
			return nil, nil, refusedf("`flip member show "+string(in.Name)+"` says what that waits for; add it once it is gone",
				"%s is being removed", in.Name)
		case sameServer(have, server):
			return nil, nil, nil // to ask twice does no harm
		default:
			return nil, nil, refusedf("choose another name; or `flip member remove "+string(in.Name)+"` first",
				"%s is a member already, %s at %s, serving %s", in.Name, have.Role, have.Addr, orNothing(have.Systems))
		}
	}
	if err := addressFree(s, server); err != nil {
		return nil, nil, err
	}
	if server.Votes() {
		if err := roomForVoter(s); err != nil {
			return nil, nil, err
		}
	}
	next := s.Spec().WithServer(server)
	return &next, addWarnings(s, server), nil
}

func orNothing(systems []fsm.SystemID) string {
	if len(systems) == 0 {
		return "nothing"
	}
	return joined(systems)
}

func sameServer(a, b fsm.Server) bool {
	return a.Addr == b.Addr && a.Role == b.Role && a.HasPriority == b.HasPriority && a.Priority == b.Priority && slices.Equal(a.Systems, b.Systems) &&
		sameShare(a, b)
}

// maxPriority is as in the file.
const maxPriority = 1_000_000

// serverFor reads what is asked for.
func serverFor(s *fsm.State, in api.MemberAdd) (fsm.Server, error) {
	server := fsm.Server{Name: in.Name, Role: fsm.RoleVoter}
	if !fsm.GoodServerName(string(in.Name)) {
		return server, refusedf(fmt.Sprintf("letters, digits and ._- are good, at most %d of them, with no dot or dash in front", fsm.MaxName),
			"the name of a member cannot be %q", in.Name)
	}
	addr, err := memberAddr(in.Addr)
	if err != nil {
		return server, err
	}
	server.Addr = addr.String()
	if in.Priority != nil && (*in.Priority < -maxPriority || *in.Priority > maxPriority) {
		return server, refusedf(fmt.Sprintf("from -%d to %d, lower is preferred", maxPriority, maxPriority), "the priority cannot be %d", *in.Priority)
	}
	if in.Priority != nil {
		server.Priority, server.HasPriority = *in.Priority, true
	}
	if err := withShare(&server, in); err != nil {
		return server, err
	}
	switch in.Role {
	case "", fsm.RoleVoter.String(), fsm.RoleAgent.String():
		if server.Systems, err = systemsFor(s, in.Systems); err != nil {
			return server, err
		}
	case fsm.RoleArbiter.String():
		if len(in.Systems) > 0 {
			return server, refusal("an arbiter serves no system", "an arbiter votes and holds nothing: leave out its systems, or make it a voter")
		}
	default:
		return server, refusedf("voter, arbiter or agent", "the role %q is unknown", in.Role)
	}
	switch {
	case in.Role == fsm.RoleAgent.String():
		server.Role = fsm.RoleAgent
	case len(server.Systems) == 0: // as in a file: both words vote
		server.Role = fsm.RoleArbiter
	}
	return server, nil
}

// systemsFor are the systems asked for; none: all.
func systemsFor(s *fsm.State, asked []fsm.SystemID) ([]fsm.SystemID, error) {
	all := sortedKeys(s.Spec().Systems)
	if len(asked) == 0 {
		return all, nil
	}
	for _, id := range asked {
		if _, known := s.Spec().Systems[id]; known {
			continue
		}
		if near := api.Nearest(string(id), all); near != "" {
			return nil, &api.Error{Code: api.CodeNotFound, Message: "no system " + string(id), Hint: fmt.Sprintf("did you mean %s?", near)}
		}
		return nil, unknownSystem(s, id)
	}
	return slices.Compact(slices.Sorted(slices.Values(asked))), nil
}

// memberAddr reads an address that one host can have.
func memberAddr(text string) (netip.AddrPort, error) {
	const hint = "an IP address and a port, such as 10.0.0.4:2200 or [2001:db8::4]:2200; a name would make the cluster depend on a resolver"
	addr, err := netip.ParseAddrPort(text)
	if err != nil {
		return addr, refusedf(hint, "%q is no address and port", text)
	}
	ip := addr.Addr().Unmap()
	switch {
	case addr.Port() == 0:
		return addr, refusedf("a port from 1 to 65535, for TCP and UDP", "%s has no port", text)
	case ip.Zone() != "":
		return addr, refusedf("an address that means the same on every host", "%s has a zone", text)
	case ip.IsUnspecified() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return addr, refusedf("name the one that the others reach it at", "%s is no address of a single host", ip)
	}
	return netip.AddrPortFrom(ip, addr.Port()), nil
}

// addressFree refuses an address that another server, or an item, has.
func addressFree(s *fsm.State, server fsm.Server) error {
	for _, name := range sortedKeys(s.Spec().Servers) {
		if s.Spec().Servers[name].Addr == server.Addr {
			return refusedf("each member has an address and port of its own", "%s is the address of %s", server.Addr, name)
		}
	}
	addr, err := netip.ParseAddrPort(server.Addr)
	if err != nil {
		return fmt.Errorf("read the address of %s: %w", server.Name, err)
	}
	for _, id := range sortedKeys(s.Spec().Systems) {
		for _, item := range s.Spec().Systems[id].Items {
			for _, text := range item.Addrs {
				if p, err := netip.ParsePrefix(text); err == nil && p.Addr() == addr.Addr() {
					return refusedf("an address that moves must be no server's own", "%s belongs to item %s of system %s", addr.Addr(), item.ID, id)
				}
			}
		}
	}
	return nil
}

// addWarnings is what is worth a word about a new server.
func addWarnings(s *fsm.State, server fsm.Server) []string {
	var out []string
	local := func(text string) bool {
		a, err := netip.ParseAddrPort(text)
		return err == nil && a.Addr().IsLoopback()
	}
	if local(server.Addr) && slices.ContainsFunc(slices.Collect(maps.Values(s.Spec().Servers)), func(o fsm.Server) bool { return !local(o.Addr) }) {
		out = append(out, server.Addr+" is a loopback address: servers of other machines cannot reach it")
	}
	if server.Votes() {
		out = append(out, evenWarning(len(s.Spec().Staying())+1)...)
	}
	return append(out, unfitWarnings(s, server)...)
}

// withoutMember is the configuration in which a server is marked: the leader
// does the rest.
func withoutMember(s *fsm.State, name fsm.MemberID) (*fsm.Spec, []string, error) {
	server, listed := s.Spec().Servers[name]
	_, registered := s.Member(name)
	switch {
	case !listed && registered:
		return nil, nil, nil // it is forgotten as soon as nothing names it
	case !listed:
		return nil, nil, unknownMember(s, name)
	case server.Removing:
		return nil, nil, nil
	}
	if err := staysAble(s, name); err != nil {
		return nil, nil, err
	}
	next := s.Spec().WithRemoving(name, true)
	left := len(next.Staying())
	next.Quorum = mostQuorum(next.Quorum, left)
	return &next, removeWarnings(s, name, left), nil
}

// staysAble refuses to take a vote after which fewer than a majority of the voters
// would run: nothing could be agreed on any more, the taking included. Who has no
// vote yet does not count.
func staysAble(s *fsm.State, name fsm.MemberID) error {
	if !s.HasVote(name) {
		return nil
	}
	left, running := 0, 0
	var absent []string
	for _, id := range s.Voters().IDs {
		m := id.Member()
		if server := s.Spec().Servers[m]; m == name || server.Removing || !server.Votes() {
			continue
		}
		left++
		if state := memberState(s, m); up(state) {
			running++
		} else {
			absent = append(absent, string(m)+" is "+state)
		}
	}
	if left == 0 {
		return refusedf("add another member first, and wait until it has its vote: flip member add ID HOST:PORT; to end the cluster, stop flip on it",
			"%s is the last voter", name)
	}
	if majority := left/2 + 1; running < majority {
		return refusedf("bring those up, or remove or demote them first",
			"without %s only %d of %s would be there, and %d are needed (%s)", name, running, counted(left, "voter"), majority, strings.Join(absent, ", "))
	}
	return nil
}
