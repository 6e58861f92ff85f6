// Package agent is a member's part in the agreed log without a log of its own: what
// concerns the member it reads from a stream that any voter serves, and what it has
// to say it proposes to the leader. To a daemon it is what a Raft server's node is.
package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/enroll"
	"github.com/flip-ha/flip/liveness/wake"
)

// Config is what a Node is made of.
type Config struct {
	Self     fsm.MemberID
	Instance string // of the data directory
	Cluster  string // the cluster the data directory belongs to; "" not yet known
	// Seed names the voters to ask until one has answered.
	Seed fsm.Spec
	// Have is how far this process has read the log already, by other means: the Node
	// shows nothing older.
	Have fsm.Index
	// SaveCluster is called once with the cluster's id as soon as it is known; nil:
	// nowhere to save it.
	SaveCluster func(cluster string) error
	Peers       Peers
	Detector    Detector
	Registrar   enroll.Registrar
	Log         zerolog.Logger
	// LeaderWait bounds how long Propose waits for a leader; 0: a second, or six
	// elections if that is longer.
	LeaderWait time.Duration
}

// Peers are the ways to the voters; see Over.
type Peers interface {
	// Part asks a voter for this member's Part. The stream ends with ctx.
	Part(ctx context.Context, to client.Target, req api.PartRequest) (Stream, error)
	// Propose has the leader commit a command. An error after which the command
	// cannot have been proposed is client.ErrNotSent, or an *api.Error that says so.
	Propose(ctx context.Context, to client.Target, cmd []byte) (fsm.Result, error)
}

// Stream is what a voter tells. After an error of Next there is nothing more.
type Stream interface {
	Next() (api.PartFrame, error)
	Close() error
}

// Detector is the member's side of liveness.
type Detector interface {
	// Read shows what was read and who leads. It is called from one goroutine at a
	// time, at never decreasing indexes.
	Read(s *fsm.State, at fsm.Index, leading bool, leader fsm.VoterID)
	// Behind reports whether the voters have acknowledged, for a lease, more than
	// was read: whoever serves this member is cut off, or stands still.
	Behind() bool
	// Changed has capacity 1: what Detector or Registrar answer may have changed. The
	// Node is its only reader.
	Changed() <-chan struct{}
}

// Over makes Peers of a client of the members' ports.
func Over(p *client.Peers) Peers { return over{p} }

type over struct{ *client.Peers }

// Part implements Peers.
func (o over) Part(ctx context.Context, to client.Target, req api.PartRequest) (Stream, error) {
	s, err := o.Peers.Part(ctx, to, req)
	if err != nil {
		return nil, err // and no Stream that is not nil
	}
	return s, nil
}

// Node reads for one member. All but Run may be called from any goroutine, before
// Run too.
type Node struct {
	cfg Config
	log zerolog.Logger

	mu      sync.Mutex
	now     view
	read    bool // anything has been read
	changed chan struct{}
	leader  leader
	source  fsm.MemberID            // who serves this member; "": nobody
	fresh   time.Time               // when the source last knew itself up to date
	trouble map[fsm.MemberID]string // why a voter does not serve it

	showing sync.Mutex // serializes what the Detector is shown
	shown   shown

	moved      wake.Pulse    // of leader
	wakeEnroll chan struct{} // capacity 1 each: look again
	wakeFollow chan struct{}
	fatal      chan error    // capacity 1: the first error that ends Run
	over       chan struct{} // closed when Run ends: nothing is proposed any more
}

// view is one State and the index it stands for.
type view struct {
	state *fsm.State
	at    fsm.Index
}

// leader is who leads, as a voter says.
type leader struct {
	name fsm.MemberID
	addr string
}

// shown is what the Detector was shown last.
type shown struct {
	ever   bool
	at     fsm.Index
	leader fsm.VoterID
}

// New makes a Node; Run has it read.
func New(cfg Config) *Node {
	n := &Node{
		cfg: cfg, log: cfg.Log,
		now: view{state: fsm.New()}, changed: make(chan struct{}), trouble: map[fsm.MemberID]string{},
		wakeEnroll: make(chan struct{}, 1), wakeFollow: make(chan struct{}, 1),
		fatal: make(chan error, 1), over: make(chan struct{}),
	}
	return n
}

// Run reads, and keeps this process registered, until ctx ends (nil), or until the
// cluster's id cannot be noted. A Node runs once.
func (n *Node) Run(ctx context.Context) error {
	defer close(n.over)
	if n.cfg.Self == "" || n.cfg.Instance == "" {
		return errors.New("run an agent: no name or no instance")
	}
	ctx, cancel := context.WithCancel(ctx)
	var actors sync.WaitGroup
	defer actors.Wait()
	defer cancel()
	actors.Go(func() { newFollower(n).run(ctx) })
	actors.Go(func() { n.spread(ctx) })
	actors.Go(func() {
		loop := enroll.Loop{Node: enrolling{n}, Registrar: n.cfg.Registrar, Show: n.show, Wake: n.wakeEnroll, Log: n.log}
		loop.Run(ctx)
	})
	select {
	case <-ctx.Done():
		return nil
	case err := <-n.fatal:
		return err
	}
}

// spread passes the Detector's signal on to all that wait for it here.
func (n *Node) spread(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.cfg.Detector.Changed():
			wake.Signal(n.wakeEnroll)
			wake.Signal(n.wakeFollow)
		}
	}
}

// enrolling is a Node as enroll sees it.
type enrolling struct{ *Node }

// Leads implements enroll.Node.
func (e enrolling) Leads() (bool, <-chan struct{}) {
	moved := e.moved.Next()
	return e.leads().name != "", moved
}

// View is the newest State read and its index: of the cluster what concerns this
// member. It never goes back.
func (n *Node) View() (*fsm.State, fsm.Index) {
	v := n.view()
	return v.state, v.at
}

func (n *Node) view() view {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.now
}

// Changed is closed with the next State if View's index is not above after yet, else
// it is closed already.
func (n *Node) Changed(after fsm.Index) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.now.at > after {
		done := make(chan struct{})
		close(done)
		return done
	}
	return n.changed
}

// Leader is the leader's name and HOST:PORT, as the voter that serves this member
// knows it; "" when none is known, or no voter serves it.
func (n *Node) Leader() (fsm.MemberID, string) {
	l := n.leads()
	return l.name, l.addr
}

func (n *Node) leads() leader {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leader
}

// Source is the voter that serves this member; "" while none does.
func (n *Node) Source() fsm.MemberID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.source
}

// Age is how long ago what View shows was known to be up to date; below 0: never.
func (n *Node) Age() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fresh.IsZero() {
		return -time.Millisecond
	}
	return time.Since(n.fresh)
}

// Voter is one that could serve this member, and what came of asking it.
type Voter struct {
	Name    fsm.MemberID
	Addr    string
	Serves  bool
	Trouble string // why not, in words; "": it was not asked, or serves
}

// Voters are those that could serve this member, the one it prefers first.
func (n *Node) Voters() []Voter {
	spec := n.spec()
	order := preferred(n.cfg.Self, candidates(spec, n.view().state.Voters(), n.cfg.Self))
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]Voter, 0, len(order))
	for _, m := range order {
		out = append(out, Voter{Name: m, Addr: spec.Servers[m].Addr, Serves: m == n.source, Trouble: n.trouble[m]})
	}
	return out
}

// spec is the configuration as read, or the seed as long as nothing was.
func (n *Node) spec() *fsm.Spec {
	if s := n.view().state.Spec(); s.Version != 0 {
		return s
	}
	return &n.cfg.Seed
}

// defaultLease stands in for a lease that is not known yet.
const defaultLease = 300 * time.Millisecond

func (n *Node) lease() time.Duration {
	if l := n.spec().Timing.Lease; l > 0 {
		return l
	}
	return defaultLease
}

// publish shows what a voter has told. Only the follower calls it, with an index that
// is not below View's.
func (n *Node) publish(v view, from fsm.MemberID, l leader, fresh time.Time) {
	n.mu.Lock()
	n.source = from
	if fresh.After(n.fresh) {
		n.fresh = fresh
	}
	moved := l != n.leader
	n.leader = l
	if !n.read || v != n.now {
		n.now, n.read = v, true
		close(n.changed)
		n.changed = make(chan struct{})
	}
	n.mu.Unlock()
	n.keepCluster(v.state)
	if moved {
		n.moved.Fire()
		n.tellLeader(l.name, from)
	}
	n.show()
}

// lost says that no voter serves this member now.
func (n *Node) lost() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.source = ""
}

// forgetLeader says that nobody tells who leads any more.
func (n *Node) forgetLeader() {
	n.mu.Lock()
	moved := n.leader != leader{}
	n.leader = leader{}
	n.mu.Unlock()
	if moved {
		n.moved.Fire()
		n.show()
	}
}

func (n *Node) setTrouble(m fsm.MemberID, words string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if words == "" {
		delete(n.trouble, m)
		return
	}
	n.trouble[m] = words
}

// tellLeader logs who leads by now, as a voter says.
func (n *Node) tellLeader(leader, says fsm.MemberID) {
	if leader == "" {
		n.log.Info().Str("says", string(says)).Msg("there is no leader")
		return
	}
	n.log.Info().Str("leader", string(leader)).Str("says", string(says)).Msg("another node leads")
}

// keepCluster notes the cluster's id once. Only the follower calls it.
func (n *Node) keepCluster(s *fsm.State) {
	id := s.Cluster()
	if id == "" || n.cfg.Cluster != "" {
		return
	}
	n.cfg.Cluster = id
	n.log.Info().Str("cluster", id).Msg("this node belongs to a cluster")
	if n.cfg.SaveCluster == nil {
		return
	}
	if err := n.cfg.SaveCluster(id); err != nil {
		select {
		case n.fatal <- fmt.Errorf("note the cluster's id: %w", err):
		default:
		}
	}
}

// show shows the Detector what was read by now, unless it has seen it.
func (n *Node) show() {
	n.showing.Lock()
	defer n.showing.Unlock()
	n.mu.Lock()
	v, l, read := n.now, n.leader, n.read
	n.mu.Unlock()
	if !read {
		return
	}
	now := shown{true, v.at, voterOf(v.state, l.name)}
	if now != n.shown {
		n.shown = now
		n.cfg.Detector.Read(v.state, v.at, false, now.leader)
	}
}

// voterOf is a member as one of Raft's servers.
func voterOf(s *fsm.State, m fsm.MemberID) fsm.VoterID {
	for _, id := range s.Voters().IDs {
		if id.Member() == m {
			return id
		}
	}
	if m == "" {
		return ""
	}
	return fsm.NewVoterID(m, "")
}
