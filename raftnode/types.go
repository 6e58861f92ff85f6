package raftnode

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"
	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/enroll"
)

// Errors that callers tell apart.
var (
	// ErrNotLeader means that this node did not propose the command because it
	// is not the leader: it is safe to send it to another one.
	ErrNotLeader = enroll.ErrNotLeader
	// ErrNoLeader means that no leader was known for as long as Propose waits.
	ErrNoLeader = enroll.ErrNoLeader
	// ErrUncertain means that leadership was lost while the command was on its
	// way: it may or may not enter the log.
	ErrUncertain = enroll.ErrUncertain
	// ErrStalled is what Run returns after the leader could not commit a probe:
	// its disk hangs or it is starved. Its voters must elect another one.
	ErrStalled = errors.New("this leader could not commit a probe in time (a disk that hangs?) and gave up")
	// ErrBadCommand means that a proposed command does not decode; it is never
	// put into the log, where it would stop every replica.
	ErrBadCommand = errors.New("command does not decode")
)

// Config is what a Node is told at its start.
type Config struct {
	Self     fsm.MemberID
	Instance string // of the data directory
	Cluster  string // the cluster the data directory belongs to; "" not yet known
	DataDir  string // for messages only
	// Seed is the node's own file: it founds the cluster and says whom to
	// greet until the log says so.
	Seed fsm.Spec
	// Digest is of a Spec's voters, names and addresses (config.VotersDigest).
	Digest  func(fsm.Spec) [32]byte
	Version string    // of the program, for Hello
	Wire    [2]uint16 // the range of wire versions understood
	// SaveCluster is called once with the cluster's id as soon as the log shows
	// it; nil: nowhere to save it.
	SaveCluster func(cluster string) error
	// Hears reports whether this node hears every member that is up: a newcomer
	// gets its vote only then (L7). nil: it does.
	Hears func() bool
	// Running is for how long the voter's side of liveness has run: before slack of it this
	// node does not count as hearing the others, so it gets no vote (L7). An agent that is
	// promoted begins it when it has read the log. nil: since Open.
	Running func() time.Duration
	// Leased reports whether a member has said that its lease runs: an at-most-one
	// item is taken from an owner in service only for one that can hold it at once.
	// nil: all can.
	Leased  func(fsm.MemberID, fsm.Epoch) bool
	Measure Measure
	Log     zerolog.Logger
	// LeaderWait bounds how long Propose waits for a leader; 0: a second, or six
	// elections if that is longer.
	LeaderWait time.Duration
}

// Deps are the parts of the outside world; sim/ and tests give virtual ones.
type Deps struct {
	Logs      raft.LogStore
	Stable    raft.StableStore
	Snaps     raft.SnapshotStore
	Trans     raft.Transport // closed when Run ends
	Detector  Detector
	Registrar enroll.Registrar
	Peers     Peers
	Farewells Farewells // nil: no goodbyes are collected
}

// Detector is the voter's side of liveness.
type Detector interface {
	// Read shows what the log says. leading is true only after this leader's
	// Barrier. It is called from one goroutine at a time, at never decreasing
	// indexes.
	Read(s *fsm.State, at fsm.Index, leading bool, leader fsm.VoterID)
	// Downs are those that count now; their moves are still empty.
	Downs() []fsm.Down
	// MayChangeVoters is LEASES.md L7's spacing of changes.
	MayChangeVoters() bool
	// Changed has capacity 1: what Detector, Farewells or Registrar answer may
	// have changed. The Node is its only reader.
	Changed() <-chan struct{}
}

// Farewells is what the voter's side knows of processes that have stopped (L8).
type Farewells interface {
	// Goodbyes are those of processes already called down that name fewer items
	// than the log still holds against them.
	Goodbyes() []fsm.Goodbye
	// TakeOver reports that the leader's own process has said goodbye and that
	// this voter is the one to follow it.
	TakeOver() bool
}

// Peers are requests to other nodes outside of Raft.
type Peers interface {
	// Hello greets the member at addr; an answer of another name is an error.
	Hello(ctx context.Context, addr string, name fsm.MemberID, mine Hello) (Hello, error)
	// Propose reaches ProposeBytes of the server addressed. An error after which
	// the command cannot have been proposed there (no connection, not the
	// leader) satisfies errors.Is(err, ErrNotLeader).
	Propose(ctx context.Context, to raft.ServerAddress, cmd []byte) (fsm.Result, error)
}

// Hello is how two nodes get to know each other before and outside Raft.
type Hello struct {
	Wire      [2]uint16
	Name      fsm.MemberID
	Instance  string
	Cluster   string // "" until the log or the data directory names it
	Version   string
	Empty     bool // no Raft state in the data directory
	Voters    [32]byte
	VoterList []string // "name host:port", sorted, for people
	Applied   fsm.Index
	Running   time.Duration
	Hears     bool // every member that is up in its log
	// Yours is what the sender's log has of the receiver.
	Yours Standing
}

// Standing is what somebody's log says of another server.
type Standing struct {
	Agent bool // the configuration makes it an agent
	Vote  bool // the committed list names it
}
