package fsm

// Command is one entry of the log. Encode writes it as its type byte, which is
// never reused, and a msgpack body.
type Command interface{ Type() byte }

// The type bytes. A number that is retired stays taken. The high bit marks a
// command that a replica may skip when it does not know it.
const (
	TypeBatch        byte = 0x01
	TypeRegister     byte = 0x02
	TypeSettle       byte = 0x03
	TypeDown         byte = 0x04
	TypeAssign       byte = 0x05
	TypeReport       byte = 0x06
	TypeLeave        byte = 0x07
	TypeForce        byte = 0x08
	TypeFence        byte = 0x09
	TypeSetSpec      byte = 0x0a
	TypeRemoveMember byte = 0x0b
	TypeGoodbye      byte = 0x0c
	TypeCleanup      byte = 0x0d
	TypeMaintain     byte = 0x0e
	TypeRotate       byte = 0x0f
	TypeKeyAck       byte = 0x10
	TypeKeyGo        byte = 0x11
	TypeProbe        byte = 0x80
)

// MaxMoves is the most moves one command carries (LEASES.md, L9).
const MaxMoves = 4096

// Batch is several commands under one index, applied in order; Result.Each
// answers for each. It may not contain another Batch.
type Batch struct{ Commands [][]byte }

// Register begins an epoch (L6). Apply refuses it unless Replaces is the
// member's newest epoch (0: none yet), and answers with the epoch.
type Register struct {
	Member   MemberID
	Nonce    Nonce
	Process  Nonce
	Replaces Epoch
	Host     Host
	Gate     bool
	Wire     [2]uint16 // the range of wire versions understood
	At       int64     // Unix milliseconds
}

// Settle says that an unsettled member's slack after its first lease is over.
type Settle struct {
	Member MemberID
	Epoch  Epoch
}

// Goodbye is a process that stops in order and holds no at-most-one item but
// Kept (L8). Committed on its own it only clears entries; inside Down it is the
// cause.
type Goodbye struct {
	Member  MemberID
	Host    Host
	Process Nonce
	Epoch   Epoch // the newest epoch the process knows to be its own
	Kept    []Key // at-most-one items not yet released
}

// Move gives a slot to a member. A move whose Was is no longer the slot's token
// is dropped, singly. To == "" takes the slot from its owner and gives it to
// nobody. A move to the present owner changes nothing but the home.
type Move struct {
	Key
	Was    Token
	Home   MemberID // the slot's new home; "": unchanged
	To     MemberID
	Reason string
	Cause  Cause `codec:",omitempty"`
}

// Assign is a set of planned moves.
type Assign struct {
	Moves []Move
	At    int64
}

// Vote is one voter's evidence that a member is down.
type Vote struct {
	Voter  VoterID
	Silent int64 // milliseconds since that voter accepted anything
}

// Down calls a member's epoch down and moves what it owned (L5). Apply refuses
// it when the epoch or the voters' index differs; a Goodbye needs no votes.
type Down struct {
	Member   MemberID
	Epoch    Epoch
	Voters   Index
	Evidence []Vote
	Goodbye  *Goodbye
	Moves    []Move
	At       int64
}

// Claim names an entry of a slot, or a slot's present owner in an `acquired`.
type Claim struct {
	Key
	Member MemberID
	Epoch  Epoch
	Token  Token
}

// Report says what is really true on a member, of which epoch and token.
// Released and Swept name entries; each is final.
type Report struct {
	Member          MemberID
	Epoch           Epoch
	Acquired        []Claim
	Released, Swept []Claim
	Failed          []Failure
	Mended          []Key      `codec:",omitempty"` // failures of this member that are none any more
	Seen            []Sighting `codec:",omitempty"` // what this member saw on the wire of others' items
	Programs        *Programs  `codec:",omitempty"` // nil: as they were
	At              int64
}

// Programs are the systems of ActionClient that programs on a member have claimed,
// sorted.
type Programs struct{ Systems []SystemID }

// Sighting is what a member other than the owner saw when it asked the wire who
// answers for an item's addresses.
type Sighting struct {
	Key
	Token  Token  // of the owner that was asked for
	OK     bool   // the owner answered, and nobody else
	Answer string `codec:",omitempty"` // not OK: who did, in words
}

// Leave announces a stop in order: the leader moves everything away.
type Leave struct {
	Member MemberID
	Epoch  Epoch
	At     int64
}

// Force makes the entries named void: they block nobody any more.
type Force struct{ Claims []Claim }

// Fence clears the entries of one machine up to an epoch: it was switched off.
type Fence struct {
	Member MemberID
	Host   Host
	UpTo   Epoch
}

// Cleanup forgets what the log remembers as failed, on all members: of one item,
// of a system (Item ""), or everything (System "" too). Who failed is tried again.
type Cleanup struct {
	System SystemID
	Item   ItemID
	At     int64
}

// Maintain begins or ends the maintenance of a system, or of all ("").
type Maintain struct {
	System SystemID
	On     bool
	At     int64
}

// SetSpec replaces the Spec; Was is the version it was made from. The first one
// founds the cluster and names its id.
type SetSpec struct {
	Was     Index
	Cluster string // at founding only
	Spec    Spec
	At      int64
}

// RemoveMember forgets a member; refused while it owns an item or any entry
// names it (L10).
type RemoveMember struct{ Member MemberID }

// Probe changes nothing: a leader that cannot commit one gives up.
type Probe struct{}

// Type implements Command.
func (Batch) Type() byte { return TypeBatch }

// Type implements Command.
func (Register) Type() byte { return TypeRegister }

// Type implements Command.
func (Settle) Type() byte { return TypeSettle }

// Type implements Command.
func (Down) Type() byte { return TypeDown }

// Type implements Command.
func (Assign) Type() byte { return TypeAssign }

// Type implements Command.
func (Report) Type() byte { return TypeReport }

// Type implements Command.
func (Leave) Type() byte { return TypeLeave }

// Type implements Command.
func (Force) Type() byte { return TypeForce }

// Type implements Command.
func (Fence) Type() byte { return TypeFence }

// Type implements Command.
func (SetSpec) Type() byte { return TypeSetSpec }

// Type implements Command.
func (RemoveMember) Type() byte { return TypeRemoveMember }

// Type implements Command.
func (Goodbye) Type() byte { return TypeGoodbye }

// Type implements Command.
func (Cleanup) Type() byte { return TypeCleanup }

// Type implements Command.
func (Maintain) Type() byte { return TypeMaintain }

// Type implements Command.
func (Probe) Type() byte { return TypeProbe }

// Result is Apply's answer to the proposer.
type Result struct {
	Applied bool
	Why     string   `codec:",omitempty"` // not applied: the reason, in words
	Epoch   Epoch    `codec:",omitempty"` // of an applied Register
	Dropped []Move   `codec:",omitempty"` // moves that no longer matched
	Each    []Result `codec:",omitempty"` // of a Batch
}
