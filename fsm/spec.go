package fsm

import "time"

// Guarantee is what a system promises about its holders (DESIGN.md 1).
type Guarantee uint8

// The two guarantees; the zero value is invalid.
const (
	AtLeastOne Guarantee = iota + 1
	AtMostOne
)

// String is the word the configuration file uses.
func (g Guarantee) String() string {
	switch g {
	case AtLeastOne:
		return "at-least-one"
	case AtMostOne:
		return "at-most-one"
	default:
		return "unknown"
	}
}

// Split says how a system's data are divided among its members.
type Split uint8

// The splits; the zero value is invalid.
const (
	Shard     Split = iota + 1 // every item on one member, spread evenly
	Replicate                  // every item on every member; no slots, no moves
	ChooseOne                  // all items together on one member
	Nothing                    // no items anywhere
)

// String is the word the configuration file uses.
func (s Split) String() string {
	switch s {
	case Shard:
		return "shard"
	case Replicate:
		return "replicate"
	case ChooseOne:
		return "choose_one"
	case Nothing:
		return "nothing"
	default:
		return "unknown"
	}
}

// Role says what a server does besides serving its systems.
type Role uint8

// The roles; the zero value is invalid.
const (
	RoleVoter   Role = iota + 1 // has a Raft vote
	RoleArbiter                 // has a Raft vote and serves no system
	RoleAgent                   // has neither vote nor log, and serves systems like a voter
)

// String is the word the configuration file uses.
func (r Role) String() string {
	switch r {
	case RoleVoter:
		return "voter"
	case RoleArbiter:
		return "arbiter"
	case RoleAgent:
		return "agent"
	default:
		return "unknown"
	}
}

// Action says how a system's items are made true on a member.
type Action uint8

// The actions; the zero value is invalid.
const (
	ActionHooks Action = iota + 1 // Alive and Down are started
	ActionIP                      // flip itself plumbs the items' addresses
	// ActionClient: a program on the member that has claimed the system is told what to
	// take and what to let go of.
	ActionClient
)

// String is the word the configuration file uses.
func (a Action) String() string {
	switch a {
	case ActionHooks:
		return "hooks"
	case ActionIP:
		return "ip"
	case ActionClient:
		return "client"
	default:
		return "unknown"
	}
}

// Spec is the cluster's configuration as agreed. A Spec in a State is never
// changed: whoever wants another one copies it.
type Spec struct {
	Version         Index // log index of the command that set it; 0: not yet agreed
	Timing          Timing
	Quorum          int // down votes wanted besides the majority; already lifted to it
	RemoveOnFailure bool
	Servers         map[MemberID]Server
	Systems         map[SystemID]System
}

// Timing is how fast failures are found; see DESIGN.md 7 for the presets.
type Timing struct {
	Preset    string        // lan, fast, wan, or "file" when given by Flip's keys
	Heartbeat time.Duration // from one heartbeat to the next
	Lease     time.Duration // how long a grant lasts: ttl
	// Raft's own; the leader lease is half of RaftHeartbeat.
	RaftHeartbeat, RaftElection, RaftLease time.Duration
}

// Slack is ttl lengthened by the 10 % that two clocks may differ.
func Slack(ttl time.Duration) time.Duration { return lengthened(ttl) }

// Server is one member as configured.
type Server struct {
	Name        MemberID
	Addr        string // host:port, the same number for TCP and UDP
	Role        Role
	Priority    int // lower is preferred
	HasPriority bool
	Systems     []SystemID // sorted
	// Removing: an operator wants it out of the cluster. Nothing is placed here, what
	// it has goes elsewhere, and then it is taken out of the Spec.
	Removing bool `codec:",omitempty"`
	// Weight is the share of each system's load that it is to have, relative to the
	// others'; 0: 1.
	Weight int `codec:",omitempty"`
	// Capacity is the most weight of items that it holds of any one system; 0: no limit.
	Capacity int `codec:",omitempty"`
	// Zone is what may fail all at once with it: a rack, a room, a site. Servers of
	// which nothing is said are in one zone, "".
	Zone string `codec:",omitempty"`
	Tags []Tag  `codec:",omitempty"` // sorted by name, each name once
}

// Tag is something that is said of a server, for systems to select by.
type Tag struct{ Name, Value string }

// System is a named set of data with its hooks and guarantee.
type System struct {
	Name                      SystemID
	Split                     Split
	Guarantee                 Guarantee
	Action                    Action
	Alive, Down               string // command names; started directly, no shell
	Config                    []byte // JSON: the system's config merged over the cluster's
	Items                     []Item // sorted by ID
	StartTimeout, StopTimeout time.Duration
	Delay                     time.Duration // how long a change that is no Down may wait
	CleanOnStart              bool          // `down` once at start for all that is not assigned here
	IP                        *IP           `codec:",omitempty"` // of ActionIP, else nil; shared: nobody may change one
	// TakeoverAfter is how long a new owner waits for what a member that was called
	// down may still hold (L9, bets on time). For an ungated address 0 is the smallest
	// safe time, or no bet if there is a Fence; for a hook 0 is no bet. NeverTakeOver:
	// until that member returns.
	TakeoverAfter time.Duration `codec:",omitempty"`
	// Fence is a command that one survivor runs before a takeover that nobody has
	// confirmed: it must have switched the former holder off when it ends well. ""
	// for none.
	Fence        string        `codec:",omitempty"`
	FenceTimeout time.Duration `codec:",omitempty"`
	// Rehome: the newest change of the system was one of who serves it, or of how
	// it is divided, so homes may be balanced anew; after a change of its items
	// alone they may not. Apply sets it, whatever the command says.
	Rehome bool `codec:",omitempty"`

	// Replicas is how many members hold each item, each another rank of it; rank 0 is
	// the primary. 0: 1. With fewer members the highest ranks are nobody's.
	Replicas int `codec:",omitempty"`
	// Partitions: the items are the numbers of partitions that keys map to; nil: they
	// are what they are. Shared: nobody may change one.
	Partitions *Partitions `codec:",omitempty"`
	// Select are the members that may hold items, of those that serve the system: all of
	// these must match, or with SelectAny one; none: all members. Sorted by tag.
	Select    []Match `codec:",omitempty"`
	SelectAny bool    `codec:",omitempty"`
	// With and Apart are other systems, sorted: an item is held where one of theirs is
	// held (the one of the same id, if there is one), or where none of theirs is. They
	// form no circle.
	With  []SystemID `codec:",omitempty"`
	Apart []SystemID `codec:",omitempty"`
	// Failback is how long a member must have been up and well before its items come
	// home to it from another that could keep them. NeverFailback: they stay.
	Failback time.Duration `codec:",omitempty"`
	// Mature is how long a member must have been up before it is given anything that
	// another can have.
	Mature time.Duration `codec:",omitempty"`
	// RoundMoves is how many moves that are not urgent are made at one time, and none
	// again until RoundEvery has passed; 0: all at one time.
	RoundMoves int           `codec:",omitempty"`
	RoundEvery time.Duration `codec:",omitempty"`
	// NoBrake: items are moved whatever number of members is lost, and however often
	// they fail.
	NoBrake bool `codec:",omitempty"`
	// KillOnTimeout: of ActionClient: a program that has not let go by the end of
	// StopTimeout is killed; else the item stays with it.
	KillOnTimeout bool `codec:",omitempty"`
}

// NeverFailback is the Failback of a system whose items stay where they are for as long
// as they can.
const NeverFailback time.Duration = -1

// Partitions is how keys map to the items of a system: the hash of the key modulo Count
// is the number, in decimal, of its item.
type Partitions struct {
	Count int
	Hash  Hash
}

// Hash is a hash of keys.
type Hash uint8

// The hashes; the zero value is invalid.
const (
	FNV64a Hash = iota + 1 // FNV-1a with 64 bits
	FNV32a
)

// String is the word the configuration file uses.
func (h Hash) String() string {
	switch h {
	case FNV64a:
		return "fnv64a"
	case FNV32a:
		return "fnv32a"
	default:
		return "unknown"
	}
}

// Match is a tag with one of some values; no values: with any.
type Match struct {
	Tag    string
	Values []string `codec:",omitempty"` // sorted
}

// NeverTakeOver is the TakeoverAfter of a system that makes no bet on time.
const NeverTakeOver time.Duration = -1

// Item is one piece of a system's data.
type Item struct {
	ID ItemID
	// Addrs move together; empty for plain data. Each is "ADDRESS/BITS" with the
	// host's own address, as netip.Prefix writes it.
	Addrs     []string
	Interface string `codec:",omitempty"` // where they are plumbed; "": as the system's IP says
	// Weight is what it counts of a member's load and capacity; 0: 1.
	Weight int `codec:",omitempty"`
	// Prefer are the members that it is to be on, the first of them that can have it;
	// none: any.
	Prefer []MemberID `codec:",omitempty"`
}

// IP is how the addresses of a system are plumbed, watched and announced.
type IP struct {
	Interface string   `codec:",omitempty"` // "": the one in whose subnet the address is
	NoGate    bool     `codec:",omitempty"` // at-most-one without the kernel gate: takeovers wait
	NoProbe   bool     `codec:",omitempty"` // nobody is asked before an address is plumbed
	Track     []Track  `codec:",omitempty"` // all must stand, or nothing of the system is held here
	Notify    []Notify `codec:",omitempty"` // who is told by unicast, besides the announcements
}

// Track is one thing that must stand on a member that holds a system's items;
// exactly one field is set.
type Track struct {
	Interface string `codec:",omitempty"` // must be up and have carrier
	Route     string `codec:",omitempty"` // a prefix; the main table must have this route or one to it
}

// Notify is one set of hosts that are told of a takeover.
type Notify struct {
	// ARPCache: every neighbour that any member of the cluster knows.
	ARPCache bool `codec:",omitempty"`
	// Hosts is an address, or a prefix for all of its addresses.
	Hosts     string `codec:",omitempty"`
	Interface string `codec:",omitempty"` // only by this one; "": whichever reaches them
}
