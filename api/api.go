// Package api is what travels over flip's control API: HTTP and JSON under
// /v1, on the daemon's unix socket and, for members only, on each server's own
// port.
//
// The types are values for the wire: every field has a snake_case name, a
// duration is a number of milliseconds in a field ending in _ms. A field may be
// added; none changes its meaning.
package api

import (
	"encoding/hex"
	"fmt"

	"github.com/flip-ha/flip/fsm"
)

// The paths of the unix socket.
const (
	PathStatus  = "/v1/status"
	PathAssign  = "/v1/assign" // ?system=NAME
	PathVersion = "/v1/version"
	PathHealth  = "/v1/health"
)

// The paths of the members-only port.
const (
	PathHello   = "/v1/peer/hello"
	PathPropose = "/v1/peer/propose"
)

// Consistent is the query parameter that makes a reading request ask the leader
// first; without it the answer is this node's own, as old as its stamp says.
const Consistent = "consistent"

// HandedOnBy is the header of a request that an agent hands on to a server: its name.
// Such a request is handed on no further.
const HandedOnBy = "Flip-Handed-On-By"

// Stamp stands in every answer: what it was read from.
type Stamp struct {
	Index  fsm.Index `json:"index"`  // of the log, as applied by this node
	AgeMS  int64     `json:"age_ms"` // since this node last knew itself up to date; -1: never
	Leader string    `json:"leader"` // "" when none is known
}

// Version is what a binary is made of.
type Version struct {
	Version string    `json:"version"`
	Commit  string    `json:"commit"`
	Go      string    `json:"go"`
	Raft    string    `json:"raft"`
	Wire    [2]uint16 `json:"wire"` // the range of wire versions understood
}

// Health is the short answer for a probe: 200 when ready, else 503.
type Health struct {
	Ready   bool     `json:"ready"`
	Phase   string   `json:"phase"`
	Waiting []string `json:"waiting,omitempty"`
}

// Digest is 32 bytes, written as hexadecimal.
type Digest [32]byte

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(d)) {
		return fmt.Errorf("decode digest: %d characters instead of %d", len(text), hex.EncodedLen(len(d)))
	}
	if _, err := hex.Decode(d[:], text); err != nil {
		return fmt.Errorf("decode digest: %w", err)
	}
	return nil
}

// Hello is what two nodes tell each other before and beside Raft: who they are,
// whether they have founded, and which list of voters their file names.
type Hello struct {
	Wire      [2]uint16    `json:"wire"`
	Name      fsm.MemberID `json:"name"`
	Instance  string       `json:"instance"`
	Cluster   string       `json:"cluster"` // "" before founding
	Version   string       `json:"version"`
	Empty     bool         `json:"empty"`  // the data directory holds no cluster
	Voters    Digest       `json:"voters"` // of the file's voters, names and addresses
	VoterList []string     `json:"voter_list"`
	Applied   fsm.Index    `json:"applied"`
	RunningMS int64        `json:"running_ms"`
	Hears     bool         `json:"hears"` // every member that is up in its log
	// What the sender's log has of the receiver: that the configuration makes it an
	// agent, and that the committed list names it.
	YouAgent bool     `json:"you_agent,omitempty"`
	YouVote  bool     `json:"you_vote,omitempty"`
	Keys     *KeyHint `json:"keys,omitempty"`
}
