// Package placement says who should own what: Plan compares what the cluster
// has agreed with what would be best and answers with moves, a reason each.
//
// The package is pure and deterministic: the same View gives the same moves on
// every machine. Only the leader calls it; its result enters the log, not the
// algorithm.
package placement

import "github.com/flip-ha/flip/fsm"

// View is one consistent look at the cluster.
type View struct {
	State *fsm.State
	// Unusable members get nothing and lose what they own, with the reason in
	// words ("is down"). Plan adds to it those that the State shows as down,
	// leaving, to be taken out or never registered.
	Unusable map[fsm.MemberID]string
	Budget   int // most moves in the answer; 0: fsm.MaxMoves
}
