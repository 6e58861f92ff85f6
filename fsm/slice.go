package fsm

import "time"

// Slice is all that one member should hold, read at one index.
type Slice struct {
	At    Index
	Epoch Epoch // for which it was computed
	Want  []Job // hold these
	// Owe are entries of this machine: let go of each and report it, unless the
	// same slot is wanted under a newer token: then report it once that is held.
	Owe []Owed
	// Failed are the slots of which the log remembers a failure of this member,
	// held here or not, by key: those that have ceased to be may be reported mended.
	Failed []Job
}

// Job is one slot with all that an action needs to make it true.
type Job struct {
	Key
	Token Token // 0 for a replicated item: it never moves
	// Keep: an at-least-one item that another member owns but has not acquired
	// yet: what is held stays, nothing is started for it.
	Keep             bool
	AtMostOne, Gated bool
	// Barred: an at-most-one item that the member owns and this process may not
	// hold now, since its epoch is not the newest, not up or not settled. What a
	// former process left of it must go.
	Barred   bool
	Reported bool // the log already shows it acquired in Slice.Epoch under Token
	// Maintained: what is up stays as it is; nothing that fails is repaired, started
	// again or given away for it.
	Maintained bool
	// Bet: others bet on how soon this is released (L9): the release waits for no
	// other.
	Bet                       bool
	Failed                    bool // the log already remembers its failure here under Token
	Addrs                     []string
	Interface                 string // of the item; "": as IP says
	IP                        *IP    // of ActionIP, else nil
	Action                    Action
	Alive, Down               string
	Config                    []byte
	StartTimeout, StopTimeout time.Duration
	KillOnTimeout             bool // of ActionClient: the program is killed at the end of StopTimeout
	Previous                  MemberID
	Reason                    string
	Cause                     Cause     // of the move that gave Token
	Blocked                   []Blocker // at-most-one: wait until these are gone
}

// Blocker is an entry that an at-most-one job waits for.
type Blocker struct {
	Entry
	// After > 0: the entry's epoch is over, and the job waits for it no longer than
	// this, counted from when this process first read so (L9, bets).
	After time.Duration
}

// Owed is an entry of this machine with what is needed to let go of it.
type Owed struct {
	Entry
	Job Job // Job.Token is the entry's
}
