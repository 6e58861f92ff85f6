package api

import "github.com/flip-ha/flip/fsm"

// MostShown is how many held moves, and how many slots without a place, a Status names at
// most; it counts them all, by system.
const MostShown = 100

// Brake is a system of which nothing is moved until somebody cleans up: so many of its
// servers were lost at once that the others might be lost by what they would have to
// bear.
type Brake struct {
	System fsm.SystemID   `json:"system"`
	AtMS   int64          `json:"at_ms"`
	Lost   []fsm.MemberID `json:"lost"`
	Words  string         `json:"words"`
}

// HeldMove is a move that is wanted and held back.
type HeldMove struct {
	System fsm.SystemID `json:"system"`
	Item   fsm.ItemID   `json:"item"`
	Rank   int          `json:"rank"`
	From   fsm.MemberID `json:"from"`
	To     fsm.MemberID `json:"to"`
	Reason string       `json:"reason"`           // for which it is wanted
	Why    string       `json:"why"`              // it is held back
	ForMS  int64        `json:"for_ms,omitempty"` // absent: until something else happens
}

// Unplaced is a slot that nobody can have, and why.
type Unplaced struct {
	System fsm.SystemID `json:"system"`
	Item   fsm.ItemID   `json:"item"`
	Rank   int          `json:"rank"`
	Why    string       `json:"why"`
}
