// Package placement says who should own what: Plan compares what the cluster
// has agreed with what would be best and answers with moves, a reason each.
//
// The package is pure and deterministic: the same View gives the same moves on
// every machine. Only the leader calls it; its result enters the log, not the
// algorithm.
package placement

import (
	"time"

	"github.com/flip-ha/flip/fsm"
)

// View is one consistent look at the cluster.
type View struct {
	State *fsm.State
	// Unusable members get nothing and lose what they own, with the reason in
	// words ("is down"). A plan adds to it those that the State shows as down,
	// leaving, to be taken out or never registered.
	Unusable map[fsm.MemberID]string
	// Well is for how long each member has been up and well, as far as the caller
	// knows; nil: all for long enough. One that is not named is not well yet.
	Well map[fsm.MemberID]time.Duration
	// Now is the time that Slot.Moved is compared with, in Unix milliseconds; 0: long
	// after all that the State knows of.
	Now    int64
	Budget int // most moves in the answer; 0: fsm.MaxMoves
}

// Result is a plan: what is to be moved now, and what stands against moving more.
type Result struct {
	// Moves are in the order in which they are to be made: what nobody usable has comes
	// first. Applying them and planning again gives none, unless the budget cut them
	// short.
	Moves []fsm.Move
	// Urgent is how many of them give somebody what nobody usable has.
	Urgent int
	// Held are moves that are wanted and may not be made yet.
	Held []Held
	// Unplaced are slots that nobody can have, or keep.
	Unplaced []Unplaced
	// Again is when to plan anew although nothing else has changed, from now; 0: never.
	Again time.Duration
}

// Held is a move that is wanted and held back.
type Held struct {
	fsm.Move
	Why string
	For time.Duration // from now; 0: until somebody does something about it
}

// Unplaced is a slot that nobody can have, and why, in words.
type Unplaced struct {
	fsm.Key
	Why string
}

// Explanation is why a slot is where it is.
type Explanation struct {
	fsm.Key
	Owner, Home fsm.MemberID
	Reason      string // of the move that brought it there, in words
	Candidates  []Candidate
	Held        *Held     // the move that is held back; nil: none is
	Unplaced    *Unplaced // nil: somebody can have it
}

// Candidate is a member that serves the slot's system, in the order of preference.
type Candidate struct {
	Member fsm.MemberID
	Can    bool
	Why    string // "has it", "could take it", or what stands against it
	// Load is the weight of the system's items that it has, of at most Capacity (0: no
	// limit).
	Load, Capacity int
}
