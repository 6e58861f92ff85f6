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
)

// String is the word the configuration file uses.
func (a Action) String() string {
	switch a {
	case ActionHooks:
		return "hooks"
	case ActionIP:
		return "ip"
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
}

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
