package raftnode

import (
	"context"

	"github.com/flip-ha/flip/liveness/enroll"
)

// member keeps this process registered.
func (n *Node) member(ctx context.Context) {
	loop := enroll.Loop{
		Node: enrolling{n}, Registrar: n.deps.Registrar, Show: func() { n.read() }, Wake: n.wakeMember, Log: n.log,
	}
	loop.Run(ctx)
}

// enrolling is a Node as enroll sees it.
type enrolling struct{ *Node }

// Leads implements enroll.Node.
func (e enrolling) Leads() (bool, <-chan struct{}) {
	moved := e.leaderMoved.Next()
	leader, _ := e.leader()
	return leader != "", moved
}

var _ enroll.Node = enrolling{}
