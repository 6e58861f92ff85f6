package api

import "github.com/flip-ha/flip/fsm"

// The paths of the cluster's key: a GET, and a POST that begins to rotate it.
const (
	PathKey       = "/v1/key"
	PathKeyRotate = "/v1/key/rotate"
)

// Secret is the query parameter with which the answer of PathKey has the key itself.
// Only the unix socket obeys it.
const Secret = "secret"

// KeyPhases is how many phases a rotation goes through.
const KeyPhases = int(fsm.KeyOnly)

// Key answers a GET of PathKey: what the cluster has agreed about its key, and how far
// this node has come.
type Key struct {
	Stamp
	Fingerprint string `json:"fingerprint"` // of the key that this node sends by
	// Phase is 0 when no rotation is under way. 1: both keys are accepted, the old one is
	// sent by; 2: the new one is sent by; 3: only the new one counts.
	Phase   int            `json:"phase"`
	Words   string         `json:"words"`
	Round   fsm.Index      `json:"round"`              // the log's entry that began the newest rotation; 0: there was none
	SinceMS int64          `json:"since_ms,omitempty"` // when the phase began, in Unix milliseconds
	Old     string         `json:"old,omitempty"`      // the fingerprint of the key that is, or was, rotated away
	New     string         `json:"new,omitempty"`
	Have    []fsm.MemberID `json:"have"`    // who has done what the phase asks
	Awaited []KeyAwaited   `json:"awaited"` // who has not: the next phase waits for them
	LeftOut []fsm.MemberID `json:"without"` // who is not waited for
	// Stale is why this node's configuration still has a key that was rotated away.
	Stale string `json:"stale,omitempty"`
	// Trouble is why this node cannot do what the phase asks.
	Trouble string `json:"trouble,omitempty"`
	Key     string `json:"key,omitempty"` // the key itself, to who may ask for it
}

// KeyAwaited is a member that a rotation waits for.
type KeyAwaited struct {
	Name  fsm.MemberID `json:"name"`
	State string       `json:"state"` // as of Member
}

// KeyRotate asks to rotate the key; without a Key for a random one. While a rotation is
// under way it may only name more members that are not to be waited for.
type KeyRotate struct {
	Key     string         `json:"key,omitempty"`
	LeftOut []fsm.MemberID `json:"without,omitempty"`
}

// KeyRotated answers it: the rotation as it is by then.
type KeyRotated struct {
	Key
	Warnings []string `json:"warnings,omitempty"`
}

// KeyHint is what a member tells another one of a rotation that is under way, so that
// who knows only one of the two keys gets the other. Each is sealed under the other.
type KeyHint struct {
	Round  fsm.Index    `json:"round"`
	Phase  fsm.KeyPhase `json:"phase"`
	Old    string       `json:"old"`
	New    string       `json:"new"`
	Sealed []byte       `json:"sealed"`
	Back   []byte       `json:"back"`
}

// HintOf is the KeyHint of a State; nil when there is nothing to tell.
func HintOf(s *fsm.State) *KeyHint {
	k := s.Keys()
	if !k.Rotating() {
		return nil
	}
	return &KeyHint{Round: k.Round, Phase: k.Phase, Old: k.Old, New: k.New, Sealed: k.Sealed, Back: k.Back}
}

// Keys is the same as the log has it.
func (h KeyHint) Keys() fsm.Keys {
	return fsm.Keys{Round: h.Round, Phase: h.Phase, Old: h.Old, New: h.New, Sealed: h.Sealed, Back: h.Back}
}
