// Package fsm is what the cluster has agreed: the replicated State, the
// commands that change it, and the slice of it that one member must make true.
//
// The package is pure: it reads no clock, draws no random number, does no I/O
// and writes no log. A command carries everything that Apply needs, the time
// included, so that every replica computes the same next State.
package fsm

import (
	"strings"
	"time"
)

type (
	// MemberID is a member's name, unique in the cluster.
	MemberID string
	// SystemID names a set of data with its hooks, type and guarantee.
	SystemID string
	// ItemID names one piece of a system's data.
	ItemID string
	// VoterID is Raft's server id, "name/instance": a wiped disk is another voter.
	VoterID string
	// Index is an index of the Raft log.
	Index uint64
	// Epoch is the log index at which one run of a member's daemon registered.
	Epoch uint64
	// Token is the log index at which a slot was assigned: its fencing token.
	Token uint64
	// Nonce is 128 random bits; the zero Nonce means none.
	Nonce [16]byte
)

// NewVoterID joins a member's name and the instance of its data directory.
func NewVoterID(m MemberID, instance string) VoterID { return VoterID(string(m) + "/" + instance) }

// Member is the name in front of the slash.
func (v VoterID) Member() MemberID {
	name, _, _ := strings.Cut(string(v), "/")
	return MemberID(name)
}

// Instance is what stands behind the slash.
func (v VoterID) Instance() string {
	_, instance, _ := strings.Cut(string(v), "/")
	return instance
}

// Key names a slot.
type Key struct {
	System SystemID
	Item   ItemID
	Rank   int
}

// Host says where a process runs: what a copied disk does not take along
// (Machine), which boot of it (Boot), and which data directory (Instance).
type Host struct{ Machine, Boot, Instance string }

// BootMachine begins the Machine of a host that has no number of its own: its
// boot id stands in, so after a reboot it is another machine.
const BootMachine = "boot "

// Entry is a member that may still hold a slot although it is not, or no
// longer under this token, its owner (LEASES.md, L9).
type Entry struct {
	Member    MemberID
	Epoch     Epoch
	Token     Token
	Host      Host
	Addrs     []string // the item's addresses when the entry arose
	Gated     bool     // the kernel lets go by itself when the lease ends
	AtMostOne bool
	Void      bool // forced: blocks nobody, still wants `down` and a report
	// Recipe is how to let go of it, once the Spec no longer says what it said
	// when the item was acquired; nil: as the Spec says.
	Recipe *Recipe `codec:",omitempty"`
}

// Recipe is what letting go of an item takes. Entries share it: nobody may
// change one.
type Recipe struct {
	Action      Action
	Down        string
	Config      []byte
	StopTimeout time.Duration
}

// Slot is one (system, item, rank) and who has it.
type Slot struct {
	Key
	Home     MemberID // where it returns to; stored when it is first placed
	Owner    MemberID // "" when nobody has it
	Token    Token
	Previous MemberID // the owner before this token; "" at the first
	Reason   string   // of the move that gave Token, in words
	// Gated and AtMostOne are fixed with Token.
	Gated, AtMostOne bool
	Acquired         Epoch   // in which the owner said so for Token; 0: not yet
	Outstanding      []Entry // never contains Owner at Token
	Seen             *Seen   `codec:",omitempty"` // nil: nobody has looked yet
	Cause            Cause   `codec:",omitempty"` // of the move that gave Token
	// Moved is when it was moved of late from an owner that could hold it, oldest first,
	// in Unix milliseconds by the proposers' clocks: at most MaxRecent, those of
	// RecentFor.
	Moved []int64 `codec:",omitempty"`
	// Braked: it failed again where it had just been moved to. It stays with its owner
	// until somebody cleans up.
	Braked bool `codec:",omitempty"`
}

// MaxRecent moves of a slot within RecentFor are the most that are made while its owner
// is up and fit to hold it. Networks count too: an EVPN fabric gives a MAC address up that has moved five
// times in 180 s.
const (
	MaxRecent = 3
	RecentFor = 180 * time.Second
)

// Cause is what a move answers to; its reason says the same in words.
type Cause uint8

// The causes. CauseNone: not known, or a new token without a move.
const (
	CauseNone    Cause = iota
	CauseFirst         // nobody had it yet, or any more
	CauseDown          // its owner is down
	CauseLeaving       // its owner leaves, is to be taken out, or may hold nothing for now
	CauseFailed        // it failed on its owner
	CauseRule          // its owner may not have it: it serves or is selected no longer, zones, capacity, with, apart
	CauseHome          // its home, or a member that it prefers, can have it again
	CauseBalance       // its owner had more than its share
	CauseUnfit         // its owner's machine cannot hold it for now: a link or a route is missing
)

// String is the word that the API uses.
func (c Cause) String() string {
	switch c {
	case CauseNone:
		return "none"
	case CauseFirst:
		return "first"
	case CauseDown:
		return "down"
	case CauseLeaving:
		return "leaving"
	case CauseFailed:
		return "failed"
	case CauseRule:
		return "rule"
	case CauseHome:
		return "home"
	case CauseBalance:
		return "balance"
	case CauseUnfit:
		return "unfit"
	default:
		return "unknown"
	}
}

// Brake is a system of which nothing is moved to new owners: more than half of the
// members that serve it were lost at once, and those that are left might be lost by
// what they would have to bear. It ends when somebody cleans up.
type Brake struct {
	System SystemID
	At     int64      // in Unix milliseconds
	Lost   []MemberID // sorted
}

// Seen is the newest Sighting of a slot. It counts only while its Token is the
// slot's.
type Seen struct {
	By     MemberID
	Token  Token
	OK     bool
	Answer string `codec:",omitempty"`
}

// Member is what the log knows of one member's newest epoch.
type Member struct {
	Epoch   Epoch
	Nonce   Nonce // of the registration that gave Epoch
	Process Nonce // of the process that sent it: several epochs may be one process's
	Host    Host
	Up      bool // false: called down in Epoch
	Leaving bool // a stop was announced in Epoch: nothing is placed here
	Settled bool // false: another machine, boot or instance than before (L6)
	Gate    bool // the kernel gate stands on this member
	// FirstTTL is the largest lease time the log had had at Epoch (L2's bound).
	FirstTTL time.Duration
	// Goodbye: the process of Epoch said that it holds no at-most-one item but
	// Kept and stops (L8). A later move adds no entry for what it let go of.
	Goodbye bool  `codec:",omitempty"`
	Kept    []Key `codec:",omitempty"` // sorted
	// Fenced: the machine was switched off in Epoch: it holds nothing at all.
	Fenced bool `codec:",omitempty"`
	// Lost is when Epoch was called down without a goodbye, in Unix milliseconds; else 0.
	Lost int64 `codec:",omitempty"`
	// Programs are the systems of ActionClient that a program on this member has claimed
	// in Epoch, sorted.
	Programs []SystemID `codec:",omitempty"`
}

// Failure is a hook that failed on one member, remembered so that placement
// avoids it. It is forgotten when the member's process acquires the slot after
// all, or when another process of the member registers.
type Failure struct {
	Key
	Token Token
	Err   string
	// Unfit: nothing was wrong with the item: the machine cannot hold it for now, and the
	// member says so when it can again.
	Unfit bool `codec:",omitempty"`
}

// Voters is the committed list of Raft voters; it comes from
// raft.ConfigurationStore alone, never from the latest configuration.
type Voters struct {
	Index Index
	IDs   []VoterID // sorted
}

// Has reports whether id is on the list.
func (v Voters) Has(id VoterID) bool {
	for _, have := range v.IDs {
		if have == id {
			return true
		}
	}
	return false
}

// Majority is the number of voters that are more than half of the list.
func (v Voters) Majority() int { return len(v.IDs)/2 + 1 }

// JournalEntry is one move, down or registration as history.
type JournalEntry struct {
	Index    Index
	At       int64 // Unix milliseconds by the proposer's clock; 0 when unknown
	Kind     string
	Member   MemberID `codec:",omitempty"`
	Key      Key      `codec:",omitempty"`
	From, To MemberID `codec:",omitempty"`
	Reason   string   `codec:",omitempty"`
	Evidence []Vote   `codec:",omitempty"`
}
