package api

import "github.com/flip-ha/flip/fsm"

// Assign is the answer to a GET of PathAssign: one row for each slot, ordered
// by system, item and rank. A replicated item has a row for each of its
// servers.
type Assign struct {
	Stamp
	Members []AssignMember `json:"members"` // by name: the columns of a pivot
	Rows    []Row          `json:"rows"`
	// Maintenance is what of these systems is under it.
	Maintenance []Maintenance `json:"maintenance,omitempty"`
}

// AssignMember is a member as a column.
type AssignMember struct {
	Name  fsm.MemberID `json:"name"`
	State string       `json:"state"`
}

// The states of a row.
const (
	RowAcquired   = "acquired"   // the owner said so under this token
	RowStarting   = "starting"   // the owner has not said so yet
	RowWaiting    = "waiting"    // the owner must wait, or cannot be reached
	RowNobody     = "nobody"     // assigned to nobody
	RowReplicated = "replicated" // every server of the system holds it, always
	RowRemoved    = "removed"    // no longer configured; shown until nobody may hold it
)

// Row is one slot and who has it.
type Row struct {
	System      fsm.SystemID  `json:"system"`
	Item        fsm.ItemID    `json:"item"`
	Rank        int           `json:"rank"`
	Type        string        `json:"type"`
	Guarantee   string        `json:"guarantee"`
	Owner       fsm.MemberID  `json:"owner"`
	State       string        `json:"state"`
	Token       fsm.Token     `json:"token"`
	Home        fsm.MemberID  `json:"home"`
	Since       fsm.Index     `json:"since"` // index at which the owner was assigned
	Previous    fsm.MemberID  `json:"previous,omitempty"`
	Reason      string        `json:"reason,omitempty"`
	Why         string        `json:"why,omitempty"` // not acquired: why, in words
	Do          string        `json:"do,omitempty"`
	Braked      string        `json:"braked,omitempty"` // it is moved by nobody until somebody cleans up: why
	Seen        *Seen         `json:"seen,omitempty"`   // of addresses, under Token
	Outstanding []Outstanding `json:"outstanding,omitempty"`
}

// Seen is what another member found on the wire for a row's addresses.
type Seen struct {
	By       fsm.MemberID `json:"by"`
	Verified bool         `json:"verified"` // the owner answers, and nobody else
	Words    string       `json:"words"`    // "n2 asked on the wire, and n1 answers"
}

// Held reports whether the owner is known to hold the slot now.
func (r Row) Held() bool { return r.State == RowAcquired || r.State == RowReplicated }

// Outstanding is a member that may still hold a slot it does not own.
type Outstanding struct {
	Member   fsm.MemberID `json:"member"`
	Epoch    fsm.Epoch    `json:"epoch"`
	Token    fsm.Token    `json:"token"`
	Machine  string       `json:"machine"`
	Instance string       `json:"instance"`
	Gated    bool         `json:"gated"`
	Void     bool         `json:"void"`
	Blocks   bool         `json:"blocks"` // the owner waits for it
	Why      string       `json:"why"`
	Do       string       `json:"do,omitempty"`
}
