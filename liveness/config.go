package liveness

import (
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Config is what a Process is told once, at its start.
type Config struct {
	Self     fsm.MemberID
	Instance string
	Host     fsm.Host
	Process  fsm.Nonce        // of this run of the daemon
	Gate     bool             // the kernel gate stands
	Started  time.Duration    // CLOCK_BOOTTIME at which this process started
	NewNonce func() fsm.Nonce // for registrations; the package draws no random numbers
	Wire     [2]uint16
	Seed     fsm.Spec // until the log has one: whom to send to, and how often
	// Voter: this process has a Raft log and may be a voter; else it is an agent. See
	// SetVoter.
	Voter   bool
	Without Rule // tests only
}

// MaxTTL bounds every lease time that is calculated with: no configuration
// needs a day, and nothing within it can overflow.
const MaxTTL = 24 * time.Hour

// Numbers of this package's own.
const (
	// firstLeaseTTLs bounds the first lease of an epoch (L2).
	firstLeaseTTLs = 2
	// missedBeats is how many heartbeats the leader misses before it polls (L4).
	missedBeats = 2
	// pollsPerBeat keeps a heartbeat within one datagram: a poll is about 100
	// bytes, and 1,200 pass any path.
	pollsPerBeat = 8
	// maxVoters is more than any list of voters names; a longer one is void.
	maxVoters = 64
	// maxGoodbyes bounds what is kept of processes that have stopped.
	maxGoodbyes = 256
	// The back-off after registrations in vain (L6).
	backoffFirst, backoffMost = time.Second, 30 * time.Second
)

// The preset `lan`, for a Spec that gives no times.
const (
	defaultBeat  = 50 * time.Millisecond
	defaultLease = 300 * time.Millisecond

	defaultElection = 100 * time.Millisecond
)

// bounded is a duration that is safe to calculate with.
func bounded(ttl time.Duration) time.Duration { return min(max(ttl, 0), MaxTTL) }
