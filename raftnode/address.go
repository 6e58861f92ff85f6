package raftnode

import (
	"fmt"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/flip-ha/flip/fsm"
)

// Address is where Raft finds a voter. It names the instance too, so that a
// dialler can refuse a server whose disk was wiped: that one has forgotten its
// votes and would help to elect a stale leader.
func Address(hostport string, id fsm.VoterID) raft.ServerAddress {
	return raft.ServerAddress(hostport + "/" + string(id))
}

// SplitAddress takes an Address apart.
func SplitAddress(a raft.ServerAddress) (hostport string, id fsm.VoterID, err error) {
	hostport, rest, _ := strings.Cut(string(a), "/")
	id = fsm.VoterID(rest)
	if hostport == "" || id.Member() == "" || id.Instance() == "" || strings.Contains(id.Instance(), "/") {
		return "", "", fmt.Errorf("raft address %q is not HOST:PORT/NAME/INSTANCE", a)
	}
	return hostport, id, nil
}
