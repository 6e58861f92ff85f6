package server

import (
	"fmt"
	"net/http"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// maxJoin is far above a Join.
const maxJoin = 16 << 10

// join tells a node that has the key whether it was added, and if so all that the
// cluster has agreed on.
func (m members) join(r *http.Request) (any, error) {
	name, err := m.identify(r)
	if err != nil {
		return nil, err
	}
	var in api.Join
	if err := decode(r.Body, &in); err != nil {
		return nil, err
	}
	if in.Name != name {
		return nil, &api.Error{
			Code:    api.CodeForbidden,
			Message: fmt.Sprintf("the certificate is %s's, the request says %q", name, in.Name),
		}
	}
	state, at := m.Node.View()
	leader, _ := m.Node.Leader()
	if m.Others != nil {
		if addrs, partial := m.Others(); partial {
			// At no index: whatever another one answers counts more.
			return api.Joined{Cluster: state.Cluster(), Leader: string(leader), Others: addrs}, nil
		}
	}
	return joining(state, at, leader, in)
}

// joining answers a Join.
func joining(s *fsm.State, at fsm.Index, leader fsm.MemberID, in api.Join) (api.Joined, error) {
	out := api.Joined{Cluster: s.Cluster(), Index: at, Leader: string(leader), Keys: api.HintOf(s)}
	for _, name := range sortedKeys(s.Spec().Servers) {
		if server := s.Spec().Servers[name]; name != in.Name && server.Votes() && !server.Removing {
			out.Others = append(out.Others, server.Addr)
		}
	}
	if in.Cluster != "" && out.Cluster != "" && in.Cluster != out.Cluster {
		return out, nil // who asks says so: it is his data directory
	}
	server, listed := s.Spec().Servers[in.Name]
	if out.Removing = server.Removing; !listed || server.Removing {
		return out, nil
	}
	if reg, known := s.Member(in.Name); known && reg.Up && reg.Host.Instance != in.Instance {
		return out, &api.Error{
			Code: api.CodeTaken,
			Message: fmt.Sprintf("%s is taken: a node of that name is up in cluster %s, with another data directory (instance %s, on machine %s)",
				in.Name, s.Cluster(), reg.Host.Instance, reg.Host.Machine),
			Hint: "give this node a name of its own with --id, and add it under that; if it is to replace the other one, stop that one first",
		}
	}
	out.Named, out.Spec = true, fsm.Encode(fsm.SetSpec{Cluster: s.Cluster(), Spec: *s.Spec()})
	return out, nil
}
