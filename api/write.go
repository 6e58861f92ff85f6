package api

import (
	"cmp"
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// The paths of the unix socket that change something; each takes a POST. The
// answer's stamp is at or after the index at which it was agreed on.
const (
	PathCleanup     = "/v1/failures/cleanup"
	PathMaintenance = "/v1/maintenance"
	PathRelease     = "/v1/items/release"
)

// MaxWrite bounds the body of a write: some thousand claims.
const MaxWrite = 1 << 20

// Cleanup asks to forget failures: of one item, of a system, or all.
type Cleanup struct {
	System fsm.SystemID `json:"system,omitempty"`
	Item   fsm.ItemID   `json:"item,omitempty"` // wants its System
}

// Cleaned answers a Cleanup: what was remembered before.
type Cleaned struct {
	Stamp
	Forgotten []Failure `json:"forgotten"`
}

// Maintain begins or ends the maintenance of a system, or of all of them ("").
type Maintain struct {
	System fsm.SystemID `json:"system,omitempty"`
	On     bool         `json:"on"`
}

// Maintained answers a Maintain: what is under maintenance by then.
type Maintained struct {
	Stamp
	Maintenance []Maintenance `json:"maintenance"`
}

// Maintenance is a system of which nothing is moved or repaired; leases go on.
type Maintenance struct {
	System fsm.SystemID `json:"system"` // "": every system
	// SinceMS is when it began, in Unix milliseconds by the clock of the node that
	// was asked; 0: further back than the cluster's history goes.
	SinceMS int64  `json:"since_ms"`
	Words   string `json:"words"`
}

// Release asks to make the entries named void: the owner waits for them no
// longer. They must be all that block the item; else the answer is CodeChanged.
type Release struct {
	System fsm.SystemID `json:"system"`
	Item   fsm.ItemID   `json:"item"`
	Claims []Claim      `json:"claims"`
}

// Claim names one entry of an item.
type Claim struct {
	Rank   int          `json:"rank,omitempty"`
	Member fsm.MemberID `json:"member"`
	Epoch  fsm.Epoch    `json:"epoch"`
	Token  fsm.Token    `json:"token"`
}

// Released answers a Release.
type Released struct {
	Stamp
	Void []Claim `json:"void"`
}

// Blocking names the entries that the owners of rows wait for, in order: what a
// Release of their item has to name.
func Blocking(rows []Row) []Claim {
	var out []Claim
	for _, r := range rows {
		for _, o := range r.Outstanding {
			if o.Blocks {
				out = append(out, Claim{Rank: r.Rank, Member: o.Member, Epoch: o.Epoch, Token: o.Token})
			}
		}
	}
	SortClaims(out)
	return out
}

// SortClaims puts claims into the order of Blocking.
func SortClaims(claims []Claim) {
	slices.SortFunc(claims, func(a, b Claim) int {
		return cmp.Or(cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.Member, b.Member), cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Token, b.Token))
	})
}
