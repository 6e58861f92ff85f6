package api

import "github.com/flip-ha/flip/fsm"

// PathPart is a POST of a PartRequest on the members-only port. Its answer does not
// end: PartFrames as JSON lines, for as long as the asker reads and the voter lives.
const PathPart = "/v1/peer/part"

// MaxPart is the longest line of that answer: a Part of 100,000 items with their
// configuration is a third of it.
const MaxPart = 128 << 20

// PartRequest asks a voter for what concerns one member of all that is agreed on.
type PartRequest struct {
	Member   fsm.MemberID `json:"member"`
	Instance string       `json:"instance"`
	Cluster  string       `json:"cluster,omitempty"` // that it belongs to; "" when it knows none yet
	// Have is how far the asker has read. A voter that has not come as far waits a
	// moment and then answers with CodeBehind: nobody reads backwards.
	Have fsm.Index `json:"have"`
}

// PartFrame is one line of the answer. The first has a whole Part, the others what
// has changed since the frame before, or no Part: nothing has, for this member, up to
// Index. One comes at least each third of the lease, and when the leader changes.
type PartFrame struct {
	Index fsm.Index `json:"index"` // how far the voter has read
	// AgeMS is how long ago the voter last knew itself up to date; -1: never.
	AgeMS      int64        `json:"age_ms"`
	Leader     fsm.MemberID `json:"leader,omitempty"` // "" when the voter knows none
	LeaderAddr string       `json:"leader_addr,omitempty"`
	Part       []byte       `json:"part,omitempty"` // for fsm.DecodePart
}
