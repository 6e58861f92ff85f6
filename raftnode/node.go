package raftnode

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/wake"
)

// Node is one server of the cluster. Everything but Open and Run may be called
// from any goroutine, before Run too.
type Node struct {
	cfg     Config
	deps    Deps
	log     zerolog.Logger
	self    fsm.VoterID
	machine *machine
	guard   *guardedStore
	trans   *patient
	raft    atomic.Pointer[raft.Raft] // nil before Run
	started time.Time
	hadData bool // Raft state was in the data directory at the start

	fatal chan error    // capacity 1: the first error that ends Run
	over  chan struct{} // closed when Run ends: nothing is proposed any more

	// futures counts the goroutines that wait for an answer of Raft's.
	futures inFlight

	// readMu serializes what the Detector is shown.
	readMu  sync.Mutex
	leading bool // the leader's loop runs: its Barrier is behind it
	shown   shown

	leaderMoved wake.Pulse    // another leader, or none
	wakeLoop    chan struct{} // capacity 1 each: look again
	wakeMember  chan struct{}
	wakeGreeter chan struct{}
	wakeTakeIn  chan struct{}
	nudges      chan struct{}
	lastCommit  atomic.Int64 // when anything last committed, since started
	batch       batcher
	met         *acquaintances

	seen     Sightings
	planning sync.WaitGroup          // plans that are being made
	outlook  atomic.Pointer[Outlook] // the leader's; nil: this node does not lead
	follower onlooker
}

// Open prepares a Node; Run starts it.
func Open(cfg Config, deps Deps) (*Node, error) {
	if err := check(cfg); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, deps: deps,
		log:         cfg.Log,
		self:        fsm.NewVoterID(cfg.Self, cfg.Instance),
		started:     time.Now(),
		fatal:       make(chan error, 1),
		over:        make(chan struct{}),
		wakeLoop:    make(chan struct{}, 1),
		wakeMember:  make(chan struct{}, 1),
		wakeGreeter: make(chan struct{}, 1),
		wakeTakeIn:  make(chan struct{}, 1),
		nudges:      make(chan struct{}, 1),
		met:         newAcquaintances(),
	}
	n.batch.init()
	n.machine = newMachine(n.die)
	n.guard = newGuardedStore(deps.Logs, deps.Stable, n.die)
	n.machine.watch = &stopwatch{Measure: cfg.Measure}
	n.guard.watch = n.machine.watch
	n.trans = newPatient(deps.Trans, patience(n.timing()))
	had, err := raft.HasExistingState(deps.Logs, deps.Stable, deps.Snaps)
	if err != nil {
		return nil, fmt.Errorf("look for Raft state in %s: %w", cfg.DataDir, err)
	}
	n.hadData = had
	return n, nil
}

func check(cfg Config) error {
	switch {
	case cfg.Self == "" || cfg.Instance == "":
		return errors.New("open node: no name or no instance")
	case cfg.Digest == nil:
		return errors.New("open node: no digest of the voters")
	}
	if _, ok := cfg.Seed.Servers[cfg.Self]; !ok {
		return fmt.Errorf("open node: %q is none of the servers in its own configuration", cfg.Self)
	}
	return nil
}

// die ends Run with err; only the first one counts.
func (n *Node) die(err error) {
	select {
	case n.fatal <- err:
	default:
	}
}

// Run takes part in the cluster until ctx ends (nil) or something fatal
// happens: a write to the disk fails, an entry of the log is unknown, or this
// leader can commit nothing. On an error the transport is already closed, so
// that the others elect another leader; the caller closes its other listeners
// and exits. A goroutine stuck in a hung disk may stay behind.
func (n *Node) Run(ctx context.Context) error {
	defer close(n.over)
	r, err := n.startRaft(ctx)
	if r == nil {
		n.closeTransport()
		return err
	}
	seen := make(chan raft.Observation, 16)
	observer := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	r.RegisterObserver(observer)
	defer r.DeregisterObserver(observer)

	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	var actors sync.WaitGroup
	actors.Go(func() { n.feed(inner, seen) })
	actors.Go(func() { n.spread(inner) })
	actors.Go(func() {
		watchLeadership(inner, r.LeaderCh(), func(term context.Context) { n.lead(term, r) })
	})
	actors.Go(func() { n.member(inner) })
	actors.Go(func() { n.greeter(inner) })
	actors.Go(func() { n.forgetLeader(inner, r) })
	actors.Go(func() { n.batch.run(inner, n.apply) })

	var end error
	select {
	case <-ctx.Done():
	case end = <-n.fatal:
		n.log.Error().Err(end).Msg("this server stops")
		n.closeTransport()
	}
	cancel()
	actors.Wait()
	if end != nil {
		n.stopRaft(r, quietDead)
		return end
	}
	n.stopRaft(r, quiet)
	n.planning.Wait()
	return nil
}

// startRaft builds Raft in a goroutine of its own: a write that fails while it
// starts must end that goroutine and nothing else. It gives neither Raft nor an
// error when ctx ended first.
func (n *Node) startRaft(ctx context.Context) (*raft.Raft, error) {
	conf, err := raftConfig(n.self, n.timing(), n.log)
	if err != nil {
		return nil, err
	}
	logs, err := raft.NewLogCache(512, n.guard)
	if err != nil {
		return nil, fmt.Errorf("make the log's cache: %w", err)
	}
	type started struct {
		raft *raft.Raft
		err  error
	}
	done := make(chan started, 1)
	go func() {
		defer close(done) // also when a failed write ends this goroutine
		r, err := raft.NewRaft(conf, n.machine, logs, n.guard, n.deps.Snaps, n.trans)
		done <- started{r, err}
	}()
	select {
	case s := <-done:
		if s.err != nil {
			return nil, fmt.Errorf("start Raft from %s: %w", n.cfg.DataDir, s.err)
		}
		n.raft.Store(s.raft)
		return s.raft, nil
	case err := <-n.fatal:
		n.guard.let()
		return nil, fmt.Errorf("start Raft from %s: %w", n.cfg.DataDir, err)
	case <-ctx.Done():
		// Raft may still come up; it must not outlive Run.
		n.guard.let()
		if s := <-done; s.raft != nil {
			n.stopRaft(s.raft, quiet)
		}
		return nil, nil
	}
}

const (
	// quiet is how long a stop waits for what is on its way, and then for Raft.
	quiet = time.Second
	// quietDead is the same after a fatal error: the transport is closed, nothing
	// can be committed, and what this node holds is waiting to be let go of.
	quietDead = 100 * time.Millisecond
)

// stopRaft ends Raft and all that waits for it. What is in flight gets its
// answer first: Raft forgets futures in its queues when it shuts down.
func (n *Node) stopRaft(r *raft.Raft, quiet time.Duration) {
	n.guard.let()
	n.trans.release()
	close(n.machine.release)
	idle := n.futures.close()
	within(quiet, idle)
	done := r.Shutdown()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		if err := done.Error(); err != nil {
			n.log.Warn().Err(err).Msg("Raft did not stop in order")
		}
	}()
	if !within(quiet, stopped) {
		n.log.Warn().Msg("Raft does not stop, perhaps its disk hangs: leaving it behind")
	}
	n.closeTransport()
}

// LastIndex is where this server's own log ends, whether that is agreed on or not; 0
// before Raft is open.
func (n *Node) LastIndex() fsm.Index {
	r := n.raft.Load()
	if r == nil {
		return 0
	}
	return fsm.Index(r.LastIndex())
}

// within reports whether done was closed in time.
func within(d time.Duration, done <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// closeTransport cuts this server off from the others: its connections too,
// which a plain Close leaves open until the other side notices.
func (n *Node) closeTransport() {
	if c, ok := n.deps.Trans.(raft.WithClose); ok {
		if err := c.Close(); err != nil {
			n.log.Warn().Err(err).Msg("cannot close the transport")
		}
	}
	if c, ok := n.deps.Trans.(interface{ CloseStreams() }); ok {
		c.CloseStreams()
	}
}

// View is the newest agreed State and its index.
func (n *Node) View() (*fsm.State, fsm.Index) {
	v := n.machine.view()
	return v.state, v.index
}

// Changed is closed with the next State if View's index is not above after yet,
// else it is closed already: whoever waits for a certain index looks again.
func (n *Node) Changed(after fsm.Index) <-chan struct{} { return n.machine.after(after) }

// Leader is the present leader's name and HOST:PORT; "" when none is known.
func (n *Node) Leader() (fsm.MemberID, string) {
	id, addr := n.leader()
	if id == "" {
		return "", ""
	}
	hostport, _, err := SplitAddress(addr)
	if err != nil {
		return id.Member(), ""
	}
	return id.Member(), hostport
}

func (n *Node) leader() (fsm.VoterID, raft.ServerAddress) {
	r := n.raft.Load()
	if r == nil {
		return "", ""
	}
	addr, id := r.LeaderWithID()
	return fsm.VoterID(id), addr
}

// StepDown hands leadership to another voter; nil when this node does not lead.
// It is bounded by ctx: a transfer can hang with the disk.
func (n *Node) StepDown(ctx context.Context) error {
	r := n.raft.Load()
	if r == nil || r.State() != raft.Leader {
		return nil
	}
	_, err := await(ctx, n, func() (struct{}, error) { return struct{}{}, r.LeadershipTransfer().Error() })
	if err != nil && r.State() == raft.Leader {
		return fmt.Errorf("hand leadership over: %w", err)
	}
	return nil
}
