package raftnode

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/raft"
	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

// streams is a raft.StreamLayer over connections made elsewhere.
type streams struct {
	net.Listener
	dial func(context.Context, raft.ServerAddress) (net.Conn, error)
	self raft.ServerAddress
}

// Streams gives Raft its connections. l yields those that other servers made;
// dial must prove that the other side is the name and instance in the address
// (SplitAddress) and fail otherwise. self is this server's Address.
func Streams(l net.Listener, dial func(context.Context, raft.ServerAddress) (net.Conn, error), self raft.ServerAddress) raft.StreamLayer {
	return &streams{Listener: l, dial: dial, self: self}
}

// Dial implements raft.StreamLayer.
func (s *streams) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if _, _, err := SplitAddress(to); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := s.dial(ctx, to)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", to, err)
	}
	return renew(conn, func(ctx context.Context) (net.Conn, error) { return s.dial(ctx, to) }), nil
}

// Addr is this server's Address; Raft tells it to the others as the leader's.
func (s *streams) Addr() net.Addr { return address(s.self) }

// address is an Address as a net.Addr.
type address raft.ServerAddress

// Network implements net.Addr.
func (address) Network() string { return "raft" }

// String implements net.Addr.
func (a address) String() string { return string(a) }

// NewTransport makes Raft's transport over s; Run closes it. It listens at once.
func NewTransport(s raft.StreamLayer, t fsm.Timing, log zerolog.Logger) *raft.NetworkTransport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  s,
		Logger:  hcLogger(log),
		MaxPool: 3,
		// An answer that takes longer than ten elections is of no use; below a
		// second a snapshot or a slow disk would be cut off.
		Timeout: max(time.Second, 10*t.RaftElection),
		// Overlapping requests can wedge replication behind a follower whose disk
		// hangs; they bring nothing at flip's rates.
		MaxRPCsInFlight: 1,
	})
}
