package api

import "github.com/flip-ha/flip/fsm"

// PathWatch streams what changes, one Event a line: a GET that ends when either
// side does. With index=N it goes on after index N, with from=now it begins with
// what is yet to happen, with neither it begins with the present state. With
// system=NAME it leaves out the items of all other systems. With beat_ms=N it says so
// often, by an event of KindIdle, how old what it has told may be.
const PathWatch = "/v1/watch"

// FromNow is the value of the parameter `from`.
const FromNow = "now"

// The kinds of an Event, besides those of fsm's journal.
const (
	KindState    = "state"    // how a slot or a member is: after a resync
	KindResync   = "resync"   // forget all; how it is by now follows
	KindIdle     = "idle"     // nothing has happened; the stream lives
	KindVoters   = "voters"   // the committed list of voters is another
	KindStarting = "starting" // a slot's owner has to acquire it (again)
	KindWaiting  = "waiting"  // a slot's owner waits, or cannot be reached
	KindChanged  = "changed"  // something else of a slot's row, or of a member
	KindGone     = "gone"     // a slot, or a member, is no more
)

// MemberGone is the MemberState of a member that neither the configuration nor the
// log names any more.
const MemberGone = "gone"

// Event is one thing that has happened, as one line of a watch.
//
// What a daemon reads at once it tells at once: events of the same Index follow
// each other, all but the last of them with More. Their slots and member states are
// as they are at Index. So whoever knows how things are at an index knows, with the
// events up to the next one without More, how they are at that one's Index, and may
// ask for what comes after it.
type Event struct {
	Index fsm.Index `json:"index"`
	// Entry is the log's entry that did it, where that is not Index itself.
	Entry fsm.Index `json:"entry,omitempty"`
	AtMS  int64     `json:"at_ms,omitempty"` // in Unix milliseconds by the proposer's clock; 0: not known
	Kind  string    `json:"kind"`
	// Resync: what was known before counts no longer. The present state follows, as
	// events of KindState up to the first without More.
	Resync bool `json:"resync,omitempty"`
	More   bool `json:"more,omitempty"`

	Member fsm.MemberID `json:"member,omitempty"`
	// MemberState is Member's by now, where it may have changed.
	MemberState string       `json:"member_state,omitempty"`
	System      fsm.SystemID `json:"system,omitempty"`
	Item        fsm.ItemID   `json:"item,omitempty"`
	Rank        int          `json:"rank,omitempty"`
	From        fsm.MemberID `json:"from,omitempty"`
	To          fsm.MemberID `json:"to,omitempty"`
	// Slot is the row by now, where it has changed. With KindGone it is the row that
	// is no more, and nothing of it but what names it counts.
	Slot   *Row          `json:"slot,omitempty"`
	Voters []fsm.VoterID `json:"voters,omitempty"`
	// AgeMS, of KindIdle: all that was agreed on up to so long ago has been told; -1: the
	// node does not know. It is there only where it was asked for.
	AgeMS *int64 `json:"age_ms,omitempty"`
	Words string `json:"words"`
}

// RowKey names a row: a replicated item has one for each of its servers.
type RowKey struct {
	fsm.Key
	Server fsm.MemberID // of a replicated item, else ""
}

// Key names the row.
func (r Row) Key() RowKey {
	k := RowKey{Key: fsm.Key{System: r.System, Item: r.Item, Rank: r.Rank}}
	if r.Type == fsm.Replicate.String() && r.Token == 0 {
		k.Server = r.Owner
	}
	return k
}
