package sim_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/config"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
	"github.com/flip-ha/flip/liveness/udp"
	"github.com/flip-ha/flip/raftnode"
	"github.com/flip-ha/flip/secure"
)

// keys are derived once for all tests: Argon2id is meant to be slow.
var keys = sync.OnceValue(func() *secure.Keys {
	k, err := secure.Derive([]byte("a key for tests only"))
	if err != nil {
		panic(err)
	}
	return k
})

// disk is a data directory: what survives a process.
type disk struct {
	instance string
	cluster  atomic.Value // of string
	store    *raft.InmemStore
	snaps    *raft.InmemSnapshotStore
}

// id is the cluster that the directory belongs to; "": none yet.
func (d *disk) id() string {
	id, _ := d.cluster.Load().(string)
	return id
}

// node is one process: the shipped parts, put together as cmd/flip does.
type node struct {
	w       *world
	name    fsm.MemberID
	disk    *disk
	machine *machine
	host    fsm.Host
	process fsm.Nonce

	conn  *conn
	trans *transport
	beat  *heartbeat
	raft  *raftnode.Node
	exec  *actions.Executor

	told     chan struct{} // SIGTERM: closed once
	killed   chan struct{} // SIGKILL, or the end
	killOnce sync.Once
	ended    chan struct{}
	err      error // what it ended with; valid after ended

	// Guarded by world.mu:
	slice fsm.Slice
	// excused: it stops, and could not hand over what it lets go of now.
	excused  bool
	farewell bool // it says goodbye: the gate stays shut
}

func (p *node) id() fsm.VoterID { return fsm.NewVoterID(p.name, p.disk.instance) }

func (p *node) dead() bool { return closed(p.killed) }

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// nonce makes nonces that are never equal.
func (w *world) nonce() fsm.Nonce {
	var n fsm.Nonce
	n[0] = 1
	binary.BigEndian.PutUint64(n[8:], w.serial.Add(1))
	return n
}

// start runs a member's daemon on its machine and its disk.
func (w *world) start(name fsm.MemberID) *node {
	w.t.Helper()
	d, m := w.disks[name], w.machines[name]
	p := &node{
		w: w, name: name, disk: d, machine: m, process: w.nonce(),
		host: fsm.Host{Machine: m.name, Boot: fmt.Sprintf("%s-boot%d", m.name, m.boots), Instance: d.instance},
		told: make(chan struct{}), killed: make(chan struct{}), ended: make(chan struct{}),
	}
	log := w.log.With().Str("n", string(name)).Logger()
	live := liveness.New(liveness.Config{
		Self: name, Instance: d.instance, Host: p.host, Process: p.process, Gate: true, Started: m.clock(),
		NewNonce: w.nonce, Wire: [2]uint16{1, 1}, Seed: w.spec, Voter: true, Without: w.rules.liveness,
	})
	box := keys().Box(secure.Sender{Name: name, Instance: d.instance, Process: p.process})
	p.conn = w.net.listen(name)
	p.beat = newHeartbeat(udp.New(udp.Config{
		Self: name, Clock: m.clock, Log: log, Cluster: p.cluster, Servers: w.names,
		Resolve: w.net.resolve,
	}, p.conn, box, live))
	p.trans = newTransport(w.net, p, raftnode.Address(w.spec.Servers[name].Addr, p.id()))
	var err error
	p.raft, err = raftnode.Open(raftnode.Config{
		Self: name, Instance: d.instance, Cluster: d.id(), DataDir: "/" + string(name), Seed: w.spec,
		Digest: p.digest, Version: "test", Wire: [2]uint16{1, 1}, Hears: p.beat.Hears, Log: log,
		SaveCluster: func(id string) error { d.cluster.Store(id); return nil },
	}, raftnode.Deps{
		Logs: d.store, Stable: d.store, Snaps: d.snaps, Trans: p.trans,
		Detector: detector{p.beat, w.rules.blind}, Registrar: p.beat, Farewells: p.beat, Peers: peers{w.net, p},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	p.exec = actions.New(actions.Config{
		Core: actions.CoreConfig{
			Self: name, Machine: m.name, MaxParallel: 16, RetryFirst: 100 * time.Millisecond, RetryMax: time.Second,
		},
		Drivers:  map[fsm.Action]actions.Driver{fsm.ActionHooks: driver{m, p}, fsm.ActionIP: driver{m, p}},
		Interval: w.spec.Timing.Heartbeat, Clock: m.clock, Log: log,
	})
	m.sweep()
	w.add(p)
	go p.run()
	return p
}

// digest is of the file's voters.
func (p *node) digest(s fsm.Spec) [32]byte {
	if p.w.rules.strangers {
		return sha256.Sum256([]byte(p.name))
	}
	return config.VotersDigest(s)
}

// detector is the heartbeat's; blind leaves out that anybody is ever called down.
type detector struct {
	*heartbeat
	blind bool
}

// Downs implements raftnode.Detector.
func (d detector) Downs() []fsm.Down {
	if d.blind {
		return nil
	}
	return d.heartbeat.Downs()
}

// heartbeat tells the Endpoint's news twice, as cmd/flip does: a channel wakes
// one reader only.
type heartbeat struct {
	*udp.Endpoint
	node, feed chan struct{}
}

func newHeartbeat(e *udp.Endpoint) *heartbeat {
	return &heartbeat{Endpoint: e, node: make(chan struct{}, 1), feed: make(chan struct{}, 1)}
}

// Changed implements raftnode.Detector.
func (h *heartbeat) Changed() <-chan struct{} { return h.node }

// spread passes the Endpoint's signal on.
func (h *heartbeat) spread(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.Endpoint.Changed():
		}
		for _, c := range []chan struct{}{h.node, h.feed} {
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}
}

func (p *node) cluster() string {
	if p.raft != nil {
		if s, _ := p.raft.View(); s.Cluster() != "" {
			return s.Cluster()
		}
	}
	return p.disk.id()
}

// run is the process until SIGTERM (a stop in order), SIGKILL, or its own end.
func (p *node) run() {
	defer close(p.ended)
	running, cancel := context.WithCancel(context.Background())
	defer cancel()
	g, running := errgroup.WithContext(running)
	for _, actor := range []func(context.Context) error{
		p.beat.Run, p.beat.spread, p.raft.Run, p.feed, p.gating,
		func(ctx context.Context) error { return p.exec.Run(ctx, p.report) },
	} {
		g.Go(func() error { return actor(running) })
	}
	select {
	case <-p.killed:
	case <-p.told:
		p.stop(running)
	case <-running.Done():
	}
	p.gone()
	cancel()
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		p.err = err
	}
	p.w.ended(p)
}

// gone takes the process off the network; what it still does reaches nobody.
func (p *node) gone() {
	p.w.net.shut(p)
	p.w.mu.Lock()
	if !p.dead() {
		p.machine.orphan(p)
	}
	p.w.mu.Unlock()
	p.killOnce.Do(func() { close(p.killed) })
}

// kill ends the process as SIGKILL does: its memory is lost, what is up stays up.
func (p *node) kill() {
	p.w.event("kill %s", p.id())
	p.gone()
}

func (p *node) report(ctx context.Context, r fsm.Report) error {
	p.machine.reported(p, r)
	res, err := p.raft.Propose(ctx, r)
	if err == nil && !res.Applied {
		return fmt.Errorf("report: %s", res.Why)
	}
	return err
}

// feed gives the executor the newest slice, as cmd/flip does.
func (p *node) feed(ctx context.Context) error {
	p.sweepLeftovers()
	began := false
	for {
		state, at := p.raft.View()
		p.w.look(p, state, at)
		if epoch := p.beat.Epoch(); epoch != 0 && at >= fsm.Index(epoch) {
			if !began {
				began = true
				p.exec.Clean(state.Rest(p.name))
			}
			slice := state.Slice(p.name, epoch, p.machine.name, at)
			if p.w.rules.unblocked {
				for i := range slice.Want {
					slice.Want[i].Blocked = nil
				}
			}
			p.w.mu.Lock()
			p.slice = slice
			p.w.mu.Unlock()
			p.exec.Set(slice, p.leaseOf(epoch))
		}
		if p.beat.Superseded() {
			return fmt.Errorf("%s: superseded", p.id())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.raft.Changed(at):
		case <-p.beat.feed:
			p.exec.Wake()
		}
	}
}

// leaseOf is the lease as long as it is that of epoch.
func (p *node) leaseOf(epoch fsm.Epoch) func() (time.Duration, bool) {
	return func() (time.Duration, bool) {
		if p.w.rules.leaseless {
			return time.Hour, true
		}
		left, ok := p.beat.Lease()
		return left, ok && p.beat.Epoch() == epoch
	}
}

// gating opens the machine's gate once the executor has it ready for a lease.
func (p *node) gating(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		epoch, clear := p.exec.Clear()
		if _, ok := p.leaseOf(epoch)(); !ok || !clear {
			continue
		}
		p.w.mu.Lock()
		if !p.dead() && !p.farewell {
			p.machine.open(p, epoch)
		}
		p.w.mu.Unlock()
	}
}

// sweepLeftovers lets go of at-most-one items that an earlier process may have
// left, at once.
func (p *node) sweepLeftovers() {
	spec := p.w.spec
	if s, _ := p.raft.View(); s.Spec().Version != 0 {
		spec = *s.Spec()
	}
	state, _, err := fsm.New().Apply(1, fsm.Encode(fsm.SetSpec{Cluster: "leftovers", Spec: spec}))
	if err != nil {
		p.w.fail("leftovers: %v", err)
		return
	}
	var left []fsm.Job
	for _, job := range state.Rest(p.name) {
		if job.AtMostOne {
			left = append(left, job)
		}
	}
	p.exec.Clean(left)
}

// digest is what replicas must agree on.
func digest(s *fsm.State) [32]byte {
	h := sha256.New()
	if err := s.Write(h); err != nil {
		panic(err)
	}
	return [32]byte(h.Sum(nil))
}
