package api

import "github.com/flip-ha/flip/fsm"

// The paths by which a program on a member's own machine is the action of a system:
// the claim is answered by a stream of ProgramEvents, one a line; what the program has
// done about them it says by ProgramAcks. They are on the unix socket only.
const (
	PathProgram    = "/v1/program"
	PathProgramAck = "/v1/program/ack"
)

// MaxProgram bounds the body of a claim or an acknowledgement: a hundred thousand
// items.
const MaxProgram = 16 << 20

// CodeClaimed answers a claim of a system that another program on this member has.
const CodeClaimed = "claimed"

// ProgramClaim claims a system for the program that sends it. Seq and Items are of a
// claim that goes on after the connection, or the daemon, was lost.
type ProgramClaim struct {
	System fsm.SystemID `json:"system"`
	Name   string       `json:"name,omitempty"` // what the program calls itself, for people
	// Session is the program's own name for the claim, which no other has; a claim that
	// goes on keeps it.
	Session string        `json:"session"`
	Seq     uint64        `json:"seq,omitempty"` // of the last event that was read
	Items   []ProgramItem `json:"items,omitempty"`
}

// ProgramItem is one item that a program has or may have, by its own account.
type ProgramItem struct {
	Item  fsm.ItemID `json:"item"`
	Rank  int        `json:"rank,omitempty"`
	Token fsm.Token  `json:"token,omitempty"` // that it has it under
	Seq   uint64     `json:"seq,omitempty"`   // of the acquire that it has it by, or is at work on
	Taken bool       `json:"taken,omitempty"` // it has acknowledged that
	// Told is of a release that it has read and not acknowledged; 0: there is none.
	Told uint64 `json:"told,omitempty"`
}

// The kinds of a ProgramEvent.
const (
	ProgramSession = "session" // the claim stands; the first line
	ProgramAcquire = "acquire" // take the item, then acknowledge
	ProgramRelease = "release" // let go of the item, then acknowledge
	ProgramToken   = "token"   // the item is held on under a newer token; nothing is to be done
	ProgramLease   = "lease"   // the stream lives, and this is the daemon's lease
)

// ProgramEvent is one line of the stream.
type ProgramEvent struct {
	Kind string `json:"kind"`
	// Session names the claim; of ProgramSession.
	Session string       `json:"session,omitempty"`
	Member  fsm.MemberID `json:"member,omitempty"` // this node; of ProgramSession

	Seq   uint64       `json:"seq,omitempty"` // of an acquire, a release or a token: larger than the last
	Item  fsm.ItemID   `json:"item,omitempty"`
	Rank  int          `json:"rank,omitempty"`
	From  fsm.MemberID `json:"from,omitempty"` // who had it, or lets go of it
	To    fsm.MemberID `json:"to,omitempty"`   // who takes it, as far as that is known
	Token fsm.Token    `json:"token,omitempty"`
	// AtMostOne: of an acquire or a token: the item may not be held on without a lease.
	AtMostOne bool `json:"at_most_one,omitempty"`
	// Stays: of a release: this member is to have the item under another rank.
	Stays  bool   `json:"stays,omitempty"`
	Cause  string `json:"cause,omitempty"`  // one word, as fsm.Cause has it
	Reason string `json:"reason,omitempty"` // the same for people

	// LeaseMS is what is left of the daemon's lease; of ProgramLease, for people: a
	// program counts what the answer to an acknowledgement says.
	LeaseMS int64 `json:"lease_ms,omitempty"`
}

// ProgramAck says what a program has done. An empty one asks for the lease.
type ProgramAck struct {
	Session string   `json:"session"`
	Seqs    []uint64 `json:"seqs,omitempty"` // of events that are done, in any order
	// Gone are items that it has let go of unasked, as it was not sure any more that
	// it may have them.
	Gone []ProgramItem `json:"gone,omitempty"`
	// Leave ends the claim: the program has let go of everything.
	Leave bool `json:"leave,omitempty"`
}

// ProgramAcked answers a ProgramAck.
type ProgramAcked struct {
	// LeaseMS is for how long at-most-one items may be held on without another answer,
	// counted from before the request was sent.
	LeaseMS int64 `json:"lease_ms"`
	// AgainMS is when to ask again, at the latest.
	AgainMS int64 `json:"again_ms"`
}
