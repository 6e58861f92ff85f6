package api

import "github.com/flip-ha/flip/fsm"

// Status is all that `flip status` shows, as one node sees it.
type Status struct {
	Stamp
	Node        Node      `json:"node"`
	Cluster     Cluster   `json:"cluster"`
	Members     []Member  `json:"members"`
	Systems     []System  `json:"systems"`
	Failures    []Failure `json:"failures,omitempty"`
	Differences []string  `json:"differences,omitempty"` // between this node's file and the log
	Alarms      []Alarm   `json:"alarms,omitempty"`
	Brakes      []Brake   `json:"brakes,omitempty"`
	// Held are moves that are wanted and held back, Unplaced slots that nobody can have: the
	// first MostShown of each.
	Held     []HeldMove `json:"held,omitempty"`
	Unplaced []Unplaced `json:"unplaced,omitempty"`
	// Partial: an agent that reaches no voter answers, and knows its own part alone.
	Partial bool `json:"partial,omitempty"`
}

// Node is the daemon that answers.
type Node struct {
	ID       fsm.MemberID `json:"id"`
	Instance string       `json:"instance"` // made with the data directory
	Version  string       `json:"version"`
	Wire     [2]uint16    `json:"wire"`
	PID      int          `json:"pid"`
	UptimeMS int64        `json:"uptime_ms"`
	Phase    string       `json:"phase"` // in words: founding, joining, running …
	// Informant is the voter that tells an agent what is agreed; "" for one that has
	// the log itself, or when there is none.
	Informant fsm.MemberID `json:"informant,omitempty"`
	Ready     bool         `json:"ready"`
	Waiting   []string     `json:"waiting,omitempty"` // not ready: for what, in words
	Epoch     fsm.Epoch    `json:"epoch"`             // this process's newest; 0: none
	Lease     Lease        `json:"lease"`
	Drops     []Drop       `json:"drops,omitempty"`
	DataDir   string       `json:"data_dir,omitempty"`
	File      string       `json:"file,omitempty"`
	Gate      Gate         `json:"gate"`
	Guard     Guard        `json:"guard"`
	// Addresses are the items that flip has plumbed here itself.
	Addresses []Address `json:"addresses,omitempty"`
	// Withheld are the items whose `down` fails here: nobody may start them.
	Withheld []Withheld `json:"withheld,omitempty"`
}

// The states of a node's kernel gate.
const (
	GateOpen      = "open"
	GateShut      = "shut"
	GateNone      = "none"       // the kernel cannot, or flip may not: Why
	GateNotNeeded = "not needed" // no at-most-one addresses here
)

// Gate is the packet filter of this node's kernel that ends at-most-one
// addresses with the lease.
type Gate struct {
	State     string `json:"state"`
	Why       string `json:"why,omitempty"` // not open: why, in words
	Owned     bool   `json:"owned"`         // nobody but flip can alter it
	Addrs     int    `json:"addrs"`         // inside it
	RenewalUS int64  `json:"renewal_us"`    // how long its last renewal took, in microseconds
	// WorstUS is the longest that a renewal has taken.
	WorstUS int64 `json:"renewal_worst_us"`
	// Refused counts the renewals that came too late for their fuse or for the
	// lease, so that the kernel opened nothing.
	Refused    uint64 `json:"refused"`
	Protection string `json:"protection,omitempty"` // Owned in words
}

// The protections that a gate's tables have.
const (
	ProtectionOwned   = "nobody but flip can alter it"
	ProtectionWatched = "watched: rebuilt within milliseconds after somebody alters it"
)

// Protect puts Owned into words.
func Protect(owned bool) string {
	if owned {
		return ProtectionOwned
	}
	return ProtectionWatched
}

// The states of a node's guard.
const (
	GuardRunning   = "running"
	GuardNone      = "none"       // wanted and not there: Why
	GuardNotNeeded = "not needed" // nothing at-most-one is served here
)

// Guard is the process that releases what the daemon holds if the daemon cannot.
type Guard struct {
	State    string `json:"state"`
	PID      int    `json:"pid,omitempty"`
	Restarts int    `json:"restarts"` // guards that died or did not answer, and were replaced
	Why      string `json:"why,omitempty"`
}

// Withheld is an at-most-one item whose `down` fails on this node: what it undoes
// may still be in effect, so nobody may start it.
type Withheld struct {
	System fsm.SystemID `json:"system"`
	Item   fsm.ItemID   `json:"item"`
	Rank   int          `json:"rank,omitempty"`
	Fails  int          `json:"fails"` // in a row
	Error  string       `json:"error"`
}

// Address is one item of addresses as this node has plumbed it.
type Address struct {
	System    fsm.SystemID `json:"system"`
	Item      fsm.ItemID   `json:"item"`
	Interface string       `json:"interface"`
	Addresses []string     `json:"addresses"`
	Gated     bool         `json:"gated"`
	Told      int          `json:"told"`      // hosts told by unicast
	Announced int          `json:"announced"` // rounds of announcements
	Repairs   int          `json:"repairs"`   // put right after somebody altered them
	Stranger  string       `json:"stranger,omitempty"`
}

// Lease is the time for which this node may hold at-most-one items without
// hearing more.
type Lease struct {
	Running bool  `json:"running"`
	LeftMS  int64 `json:"left_ms"`
}

// Drop counts datagrams that were not taken, and from whom; Peer is "" when
// they name nobody.
type Drop struct {
	Peer   fsm.MemberID `json:"peer,omitempty"`
	Reason string       `json:"reason"` // another key, replayed, another cluster, another version
	Count  uint64       `json:"count"`
}

// Cluster is what all members share.
type Cluster struct {
	ID          string        `json:"id"` // "" before founding
	SpecVersion fsm.Index     `json:"spec_version"`
	Leader      fsm.MemberID  `json:"leader"`
	LeaderAddr  string        `json:"leader_addr"`
	Voters      []fsm.VoterID `json:"voters"`
	Quorum      Quorum        `json:"quorum"`
	Timing      Timing        `json:"timing"`
	Failover    Failover      `json:"failover"`
	Maintenance []Maintenance `json:"maintenance,omitempty"`
}

// Quorum is how many voters other than a lost one must call it down.
type Quorum struct {
	Votes  int    `json:"votes"`
	Others int    `json:"others"` // voters other than the lost one
	Words  string `json:"words"`  // "2 of the 2 others call a lost voter down"
}

// Timing is how fast a failure is found. TTL is the lease: a lost member is
// called down about that long after its last heartbeat.
type Timing struct {
	Preset          string `json:"preset"`
	HeartbeatMS     int64  `json:"heartbeat_ms"`
	TTLMS           int64  `json:"ttl_ms"`
	RaftHeartbeatMS int64  `json:"raft_heartbeat_ms"`
	RaftElectionMS  int64  `json:"raft_election_ms"`
}

// Failover says whether the loss of any one member would be made good now.
type Failover struct {
	Possible bool     `json:"possible"`
	Why      []string `json:"why,omitempty"` // not possible: why, in words
}

// The states of a member.
const (
	MemberUp        = "up"
	MemberDown      = "down"
	MemberNever     = "never seen"
	MemberLeaving   = "leaving"
	MemberUnsettled = "unsettled"
	MemberUnknown   = "not known here" // an agent knows of nobody else
)

// Member is one server, as the log has it and as this node finds it.
type Member struct {
	Name     fsm.MemberID `json:"name"`
	Address  string       `json:"address"`
	Role     string       `json:"role"`
	Voter    bool         `json:"voter"` // on the committed list of voters
	State    string       `json:"state"`
	Epoch    fsm.Epoch    `json:"epoch"`
	Instance string       `json:"instance,omitempty"`
	HeardMS  *int64       `json:"heard_ms,omitempty"` // since its last verified datagram; absent: never
	TCP      Finding      `json:"tcp"`
	UDP      Finding      `json:"udp"`
	Gate     bool         `json:"gate"` // its kernel lets go of at-most-one addresses by itself
	// RTTUS is a heartbeat's round trip to it in microseconds, LossPermille how many
	// of a thousand heartbeats to it were not answered lately, LossFromPermille how
	// many of its own did not arrive here; absent: not known.
	RTTUS            *int64 `json:"rtt_us,omitempty"`
	LossPermille     *int64 `json:"loss_permille,omitempty"`
	LossFromPermille *int64 `json:"loss_from_permille,omitempty"`
}

// The codes of a Finding; "" is: not looked at yet.
const (
	FindSelf    = "self"
	FindOK      = "ok"
	FindRefused = "refused"     // TCP: nothing listens
	FindSilent  = "silent"      // no answer at all
	FindKey     = "key"         // another shared key
	FindOldKey  = "old-key"     // one of the two has a key that was rotated away
	FindCert    = "certificate" // of the two one does not take the other's certificate
	FindCluster = "cluster"     // another cluster
	FindVoters  = "voters"      // its file names other voters
	FindWire    = "wire"        // no wire version in common
	FindName    = "name"        // another member answers at this address
)

// Finding is what this node met when it tried to reach a peer; Detail is in
// words, such as the other cluster's id.
type Finding struct {
	Code   string `json:"code"`
	Detail string `json:"detail,omitempty"`
}

// System is one system with its counts of slots.
type System struct {
	Name        fsm.SystemID   `json:"name"`
	Type        string         `json:"type"`
	Action      string         `json:"action"`
	Guarantee   string         `json:"guarantee"`
	Servers     []fsm.MemberID `json:"servers"`
	Items       int            `json:"items"`
	Owned       int            `json:"owned"`
	Acquired    int            `json:"acquired"`
	Outstanding int            `json:"outstanding"` // entries that are not void
	Unheld      int            `json:"unheld"`      // items, or primaries, that nobody is known to hold
	// Replicas is how many members hold each item; Missing are the copies besides the
	// primary that nobody is known to hold.
	Replicas int `json:"replicas"`
	Missing  int `json:"missing"`
	// Braked: nothing of it is moved until somebody cleans up. BrakedItems are its slots
	// of which that is true by themselves.
	Braked      bool `json:"braked"`
	BrakedItems int  `json:"braked_items"`
	// Held are its moves that are wanted and held back, Unplaced its slots that nobody can
	// have; absent: not known here.
	Held     *int `json:"held,omitempty"`
	Unplaced *int `json:"unplaced,omitempty"`
	// Claimed, of action client: the members on which a program has claimed it, as far as
	// it is known here.
	Claimed     []fsm.MemberID `json:"claimed,omitempty"`
	Maintenance bool           `json:"maintenance"` // nothing of it is moved or repaired
	Takeover    *Takeover      `json:"takeover_after,omitempty"`
	Fence       string         `json:"fence,omitempty"` // the command that switches a lost holder off
}

// Takeover is a bet on time: how long after a holder was called down a new owner
// takes its item although nobody has confirmed that it was let go of. A system
// without one has nil.
type Takeover struct {
	MS             int64  `json:"ms"`
	SmallestSafeMS int64  `json:"smallest_safe_ms"`
	Words          string `json:"words"`
}

// Failure is what a member could not do for an item: a hook failed, or its
// addresses cannot be held there. It is remembered until it succeeds, is reported
// mended, is forgotten by a Cleanup, or the member's daemon is started anew.
type Failure struct {
	System fsm.SystemID `json:"system"`
	Item   fsm.ItemID   `json:"item"`
	Rank   int          `json:"rank,omitempty"`
	Member fsm.MemberID `json:"member"`
	Token  fsm.Token    `json:"token"`
	Error  string       `json:"error"`
}

// The severities of an Alarm, worst first.
const (
	Critical = "critical" // something is not served, or nobody can decide
	Warning  = "warning"  // served, but the next failure may not be made good
	Note     = "note"
)

// Alarm is one thing that is wrong and what to do about it, in words.
type Alarm struct {
	Severity string `json:"severity"`
	What     string `json:"what"`
	Do       string `json:"do"`
	// Node is whose daemon says so, where it is about that machine or what it sees
	// from there; "": any node says the same.
	Node fsm.MemberID `json:"node,omitempty"`
}
