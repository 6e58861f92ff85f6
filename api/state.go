package api

import "github.com/flip-ha/flip/fsm"

// PathState streams all that is agreed, as package fsm writes a snapshot of it
// (fsm.Read). It is what `flip plan` reckons with.
const PathState = "/v1/state"

// The headers of such an answer: what stands in the stamp of others, and the time by
// the clock of the node that answers, in Unix milliseconds.
const (
	HeaderIndex = "Flip-Index"
	HeaderAge   = "Flip-Age-Ms"
	HeaderTime  = "Flip-Time-Ms"
)

// StateAt says of a State what it was read from.
type StateAt struct {
	Index  fsm.Index // of the log, as applied by the node that was asked
	AgeMS  int64     // since that node last knew itself up to date; -1: never
	TimeMS int64     // by its clock, in Unix milliseconds; 0: not said
}
