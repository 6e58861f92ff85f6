package api

import (
	"errors"
	"slices"

	"github.com/flip-ha/flip/fsm"
)

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
	// Spec is the version of the configuration that the asker has: of the systems that
	// it serves it need not be told that one again, which may be most of a Part.
	Spec fsm.Index `json:"spec,omitempty"`
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
	// Kept: a whole Part without the systems that the member serves. It has these: they
	// are those of the configuration of that version.
	Kept bool `json:"kept,omitempty"`
}

// LeaveOut takes out of a whole Part the systems that its member serves, for who has
// them.
func LeaveOut(p *fsm.Part) {
	mine := served(p)
	p.Systems = slices.DeleteFunc(p.Systems, func(sys fsm.System) bool { return slices.Contains(mine, sys.Name) })
}

// PutBack reverses LeaveOut with the configuration that one has.
func PutBack(p *fsm.Part, spec *fsm.Spec) error {
	if p.Head == nil || spec == nil || p.Head.Version != spec.Version {
		return errors.New("systems were left out that are not of the configuration that is known")
	}
	for _, id := range served(p) {
		if sys, there := spec.Systems[id]; there {
			p.Systems = append(p.Systems, sys)
		}
	}
	return nil
}

// served are the systems that the member serves.
func served(p *fsm.Part) []fsm.SystemID {
	if p.Head == nil {
		return nil
	}
	for _, s := range p.Head.Servers {
		if s.Name == p.Member {
			return s.Systems
		}
	}
	return nil
}
