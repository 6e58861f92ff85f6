// Package liveness is quorum leases and down votes (LEASES.md): failure
// detection and exclusivity as one protocol.
//
// The package is pure. Time comes in as an argument, always CLOCK_BOOTTIME of
// this machine; messages go out as values. Clocks of two machines are never
// compared. Nothing in it is safe for concurrent use: one goroutine, or one
// lock, owns a Process.
package liveness

import (
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Message is one of Heartbeat, Ack, Ballot, Goodbye and GoodbyeAck.
type Message interface{ message() }

// Heartbeat goes from every member to every voter (L1). Polls ride on the
// heartbeats of the leader; a poll that is due at once goes in an extra one.
type Heartbeat struct {
	Epoch   fsm.Epoch
	Sent    time.Duration // the sender's clock
	Voters  fsm.Index     // newest committed voter list the sender knows
	Applied fsm.Index
	Leased  bool   `codec:",omitempty"` // the sender's lease runs
	Seq     uint64 `codec:",omitempty"` // how many this process has sent: tells loss, decides nothing
	Polls   []Poll `codec:",omitempty"`
}

// Ack grants a lease of TTL counted from Sent (L1).
type Ack struct {
	Epoch   fsm.Epoch     // of the receiver of this Ack
	Sent    time.Duration // as in the heartbeat it answers
	TTL     time.Duration
	Voters  fsm.Voters // IDs only if the heartbeat named an older list
	Applied fsm.Index
}

// Poll asks a voter whether a member is down (L4).
type Poll struct {
	By      fsm.VoterID
	ByEpoch fsm.Epoch
	Of      fsm.MemberID
	Epoch   fsm.Epoch
	At      time.Duration // the poller's clock
}

// Ballot is a voter's answer "down" to a Poll, and a promise (L4).
type Ballot struct {
	Poll   Poll
	Voter  fsm.VoterID
	Voters fsm.Index
	Silent time.Duration
	TTL    time.Duration `codec:",omitempty"` // the promise is kept for slack of it
}

// Goodbye is repeated until it is acknowledged with nothing kept (L8).
//
// Dead: it is said for a process that has ended, by what has outlived it, so a
// leader need not be waited for.
type Goodbye struct {
	fsm.Goodbye
	Dead bool `codec:",omitempty"`
}

// GoodbyeAck says that the log holds the goodbye of that process, with Kept items.
type GoodbyeAck struct {
	Process fsm.Nonce
	Kept    int
}

func (Heartbeat) message()  {}
func (Ack) message()        {}
func (Ballot) message()     {}
func (Goodbye) message()    {}
func (GoodbyeAck) message() {}

// From says who sent a message; the sealed datagram vouches for it.
type From struct {
	Member   fsm.MemberID
	Instance string
}

// Voter is the sender as a Raft server.
func (f From) Voter() fsm.VoterID { return fsm.NewVoterID(f.Member, f.Instance) }

// Out is a message to be sent.
type Out struct {
	To  fsm.MemberID
	Msg Message
}
