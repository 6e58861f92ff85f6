package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/guard"
	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/actions/programs"
	"github.com/flip-ha/flip/api/metrics"
	"github.com/flip-ha/flip/api/server"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/client/agent"
	"github.com/flip-ha/flip/config"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
	"github.com/flip-ha/flip/liveness/udp"
	"github.com/flip-ha/flip/raftnode"
	"github.com/flip-ha/flip/secure"
)

// daemon is one node of the cluster: where the concrete parts meet.
type daemon struct {
	file    *config.File
	from    origin
	paths   paths
	log     zerolog.Logger
	started time.Time
	self    secure.Identity
	host    fsm.Host
	fresh   bool // the data directory was empty at the start

	store    *raftnode.Store
	keys     *keyring
	certs    *secure.Certificates // nil: the key makes them
	as       secure.Credentials   // on the servers' TLS port
	port     *secure.Listener     // the server's TCP port
	peers    peers
	list     *ledger.List
	left     inherited
	ground   *ground      // nil: this node plumbs no addresses
	guard    *guard.Guard // nil: a test took it away
	hold     *guard.Hold
	beat     *heartbeat
	news     struct{ feed, name, stop, guard, programs <-chan struct{} } // of beat, a reader each
	node     *seat
	doors    *doors // of Raft
	dials    raftDialler
	stage    *stage // who shows beat what is agreed: one of …
	readers  struct{ raft, agent *reader }
	votes    votingTime
	parts    *server.Parts
	away     *away // who answers what this node cannot, while it is an agent
	exec     *actions.Executor
	hooks    *actions.Hooks
	programs *programs.Driver
	claims   chan struct{} // capacity 1: a program has claimed a system, or does no longer
	effects  chan struct{} // capacity 1: what the executor knows has changed
	fencer   *fencer
	metrics  *metrics.Exporter
	local    *server.Turning // on the unix socket
	members  *server.Server  // on the server's port, for members only
	remote   *server.Turning // on the server's port, for operators
	socket   net.Listener

	metricsPort net.Listener // nil: metrics are on the unix socket only …
	noMetrics   string       // … although the file names a port, and why

	dog      *watchdog
	late     *lateness
	turn     *pulse        // of feed
	stopping chan struct{} // closed when a stop in order begins

	undo []func() error // of what open has opened, for a failed start
}

// open makes every part of a node; nothing runs yet. After an error nothing is
// left open.
func open(ctx context.Context, file *config.File, from origin, p paths, log zerolog.Logger) (_ *daemon, err error) {
	d := &daemon{file: file, from: from, paths: p, log: log, started: time.Now(), node: newSeat(file.Node.ID), stopping: make(chan struct{}), effects: make(chan struct{}, 1), claims: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if d.store, err = raftnode.OpenStore(ctx, p.data, log); err != nil {
		return nil, err
	}
	d.undo = append(d.undo, d.store.Close)
	d.self = secure.Identity{Name: file.Node.ID, Instance: d.store.Instance()}
	if err := d.openKeys(ctx); err != nil {
		return nil, err
	}
	if err := d.settle(ctx); err != nil {
		return nil, err
	}
	if err := d.openPort(ctx); err != nil {
		return nil, err
	}
	if d.host, err = hostOf(file.Node.Machine, d.store.Instance()); err != nil {
		return nil, err
	}
	if d.bootOnly() {
		log.Warn().Str("hint", bootOnlyDo).Msg(bootOnlyWhat)
	}
	if d.fresh, err = d.store.Empty(); err != nil {
		return nil, err
	}
	d.fresh = d.fresh && !d.from.noted
	// From here on nobody else has this node's name on this machine.
	if d.socket, err = server.ListenUnix(d.paths.socket); err != nil {
		return nil, hinted{err, socketTakenDo}
	}
	d.undo = append(d.undo, d.socket.Close)
	if err := d.openLedger(ctx); err != nil {
		return nil, err
	}
	if d.hold, err = guard.NewHold(); err != nil {
		return nil, err
	}
	d.undo = append(d.undo, d.hold.Close)
	if err := d.openGround(); err != nil {
		return nil, err
	}
	d.openMetrics()
	if err := d.openBeat(); err != nil {
		return nil, err
	}
	if err := d.openNode(); err != nil {
		return nil, err
	}
	return d, d.openEffects()
}

// openEffects makes what acts on this machine, and who answers for it.
func (d *daemon) openEffects() error {
	if err := d.openPrograms(); err != nil {
		return err
	}
	d.openExecutor()
	d.openAPI()
	return d.openWatchdog()
}

const socketTakenDo = "name another one with --socket or --dir, or stop the daemon that has it"

// close takes back what open has opened, newest first.
func (d *daemon) close() error {
	var errs []error
	for i := len(d.undo) - 1; i >= 0; i-- {
		// What ran has mostly closed its own part by then.
		if err := d.undo[i](); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	d.undo = nil
	return errors.Join(errs...)
}

func (d *daemon) me() fsm.Server { return d.file.Spec.Servers[d.self.Name] }

// inUse puts the commonest failure of listening into words.
func inUse(what, addr string, err error) error {
	err = fmt.Errorf("listen on %s %s: %w", what, addr, err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return hinted{err, "another process has this port: `ss -lnp` names it; stop it, or give this server another port in every node's file"}
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return hinted{err, "this host does not have that address: is --id right? (`ip addr` shows the addresses)"}
	default:
		return err
	}
}

func (d *daemon) openPort(ctx context.Context) error {
	tcp, err := secure.OpenPort(ctx, d.me().Addr)
	if err != nil {
		return inUse("TCP", d.me().Addr, err)
	}
	d.port = secure.ListenAs(tcp, d.as, d.log)
	d.undo = append(d.undo, d.port.Close)
	d.peers = newPeers(d.as, d.learnKey)
	return nil
}

func (d *daemon) openBeat() error {
	conn, err := listenUDP(d.me().Addr)
	if err != nil {
		return inUse("UDP", d.me().Addr, err)
	}
	process := newNonce()
	p := liveness.New(liveness.Config{
		Self: d.self.Name, Instance: d.self.Instance, Host: d.host, Process: process,
		Started: udp.Boottime(), NewNonce: newNonce, Wire: wireVersions, Seed: d.file.Spec, Voter: d.me().Role != fsm.RoleAgent,
		Gate: d.ground != nil && (d.ground.gate != nil || d.ground.pretends),
	})
	d.late = newLateness(func() fsm.Timing { return d.spec().Timing }, d.metrics.CountLateBeat, d.log)
	box := d.keys.Box(secure.Sender{Name: d.self.Name, Instance: d.self.Instance, Process: process})
	d.beat = newHeartbeat(udp.New(udp.Config{
		Self: d.self.Name, Resolve: d.resolve, Servers: d.serverNames, Cluster: d.cluster,
		Clock: udp.Boottime, Log: d.log,
		Measure: udp.Measure{Gap: d.metrics.ObserveHeartbeatGap, Left: d.metrics.ObserveLeaseLeft, Lapse: d.metrics.CountLapse, Late: d.late.late},
	}, conn, box, p))
	d.stage = newStage(d.self.Name, d.beat)
	d.readers.raft, d.readers.agent = d.stage.reader(d.beat), d.stage.reader(d.beat)
	d.news.feed, d.news.name, d.news.stop, d.news.guard, d.news.programs = d.beat.news(), d.beat.news(), d.beat.news(), d.beat.news(), d.beat.news()
	d.undo = append(d.undo, conn.Close)
	return d.openGuard(conn, process)
}

// listenUDP waits a moment for a port that is in use: the guard of a former process
// has it until it sees that this one has the data directory's lock.
func listenUDP(addr string) (net.PacketConn, error) {
	for deadline := time.Now().Add(guardGoes); ; {
		conn, err := net.ListenPacket("udp", addr)
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			return conn, err
		}
		time.Sleep(guardGoes / 20)
	}
}

// guardGoes is some times what a guard takes to notice that it is not needed any
// more: it looks each 100 ms at the latest.
const guardGoes = time.Second

// openNode has this node take its seat, in the role that it had last or that its
// file gives it.
func (d *daemon) openNode() error {
	d.doors = newDoors(d.port.Raft())
	d.dials = dialRaft(d.as)
	if d.me().Role == fsm.RoleAgent {
		a := d.newAgent(0)
		d.node.sit(func(s *seat) { s.agent, s.now = a, a })
		d.stage.turn(d.readers.agent)
		return nil
	}
	n, err := d.newRaft()
	if err != nil {
		return err
	}
	d.votes.begin()
	d.node.sit(func(s *seat) { s.raft, s.now = n, n })
	d.stage.turn(d.readers.raft)
	return nil
}

// newAgent makes what keeps this node informed from voters; have is how far it has
// read otherwise.
func (d *daemon) newAgent(have fsm.Index) *agent.Node {
	return agent.New(agent.Config{
		Self: d.self.Name, Instance: d.self.Instance, Cluster: d.cluster(), Seed: *d.spec(), Have: have,
		Peers: inWords{agent.Over(d.peers.client)}, Detector: d.readers.agent, Registrar: d.readers.agent, Log: d.log,
	})
}

// newRaft makes this node's part in Raft.
func (d *daemon) newRaft() (*raftnode.Node, error) {
	self := raftnode.Address(d.me().Addr, fsm.NewVoterID(d.self.Name, d.self.Instance))
	trans := raftnode.NewTransport(raftnode.Streams(d.doors.next(), d.dials, self), d.file.Spec.Timing, d.log)
	n, err := raftnode.Open(raftnode.Config{
		Self: d.self.Name, Instance: d.self.Instance, Cluster: d.cluster(), DataDir: d.paths.data,
		Seed: *d.spec(), Digest: config.VotersDigest, Version: thisVersion().Version, Wire: wireVersions,
		SaveCluster: d.store.SetCluster, Hears: d.beat.Hears, Running: d.votes.running, Leased: d.beat.Leased, Log: d.log,
		Measure: raftnode.Measure{
			Sync: func(took time.Duration) {
				d.metrics.ObserveDiskSync(took)
				d.late.synced(took)
			},
			Apply: func(took time.Duration) { d.metrics.ObserveStep(metrics.StepApply, took) },
			Plan:  d.metrics.ObservePlan,
		},
	}, raftnode.Deps{
		Logs: d.store.Logs(), Stable: d.store.Stable(), Snaps: d.store.Snapshots(), Trans: trans,
		Detector: d.readers.raft, Registrar: d.readers.raft, Farewells: d.readers.raft, Peers: d.peers,
	})
	if err != nil {
		return nil, errors.Join(err, trans.Close())
	}
	return n, nil
}

func (d *daemon) openAPI() {
	d.away = &away{
		self: d.self.Name, whom: d.voterAddrs,
		key: func() string { return d.keys.Keys().Send.Mark() },
		ask: func(addrs []string) *client.Client {
			return client.NewRemote(addrs, d.operator("agent "+string(d.self.Name)), secure.IsKeyMismatch)
		},
	}
	d.parts = server.NewParts(d.node)
	if _, informed := d.node.informed(); informed {
		d.parts.Serve(false)
	}
	d.local, d.remote = server.NewTurning(d.log), server.NewTurning(d.log)
	d.members = server.NewMembers(server.MembersConfig{
		Log: d.log, Node: d.node, Peer: peerNode{d.node, d.agentHello, d.learnKey}, Identify: memberOf,
		Parts: d.parts, Others: d.others, Heard: d.heardNeighbours,
	})
}

// localConfig is what answers operators: on this machine, or those from elsewhere.
func (d *daemon) localConfig(hub *server.Hub, elsewhere server.Elsewhere, remote bool) server.LocalConfig {
	writes := proposer{d.node, d.peers.client.Newest}
	c := server.LocalConfig{
		Log: d.log, Node: d.node, Status: d, Stamp: d.stamp, Verifier: writes, Proposer: writes, Version: thisVersion(),
		Metrics: d.metrics, Doctor: d, Hub: hub, Elsewhere: elsewhere, Keys: d.keys,
	}
	if remote {
		// What `flip doctor` asks is about the machine that it looks at itself.
		c.Doctor, c.Operator = nil, secure.OperatorOf
	} else {
		c.Programs = programServer{d.self.Name, d.programs, d.spec, d.beat.Lease}
	}
	return c
}

// spec is the agreed configuration, before founding the file's.
func (d *daemon) spec() *fsm.Spec {
	if s, _ := d.node.View(); s.Spec().Version != 0 {
		return s.Spec()
	}
	return &d.file.Spec
}

func (d *daemon) cluster() string {
	if s, _ := d.node.View(); s.Cluster() != "" {
		return s.Cluster()
	}
	if id := d.store.Cluster(); id != "" || d.from.seed == nil {
		return id
	}
	return d.from.seed.cluster
}

func (d *daemon) serverNames() []fsm.MemberID {
	names := make([]fsm.MemberID, 0, len(d.spec().Servers))
	for name := range d.spec().Servers {
		names = append(names, name)
	}
	return names
}

// votingNames are the servers that vote, or are to.
func (d *daemon) votingNames() []fsm.MemberID {
	var names []fsm.MemberID
	for name, s := range d.spec().Servers {
		if s.Votes() {
			names = append(names, name)
		}
	}
	return names
}

func (d *daemon) resolve(m fsm.MemberID) (net.Addr, bool) {
	s, known := d.spec().Servers[m]
	if !known {
		return nil, false
	}
	addr, err := net.ResolveUDPAddr("udp", s.Addr)
	return addr, err == nil
}
