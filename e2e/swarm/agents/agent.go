package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/client"
	reading "github.com/flip-ha/flip/client/agent"
	"github.com/flip-ha/flip/e2e/mono"
	"github.com/flip-ha/flip/e2e/swarm"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
	"github.com/flip-ha/flip/liveness/udp"
	"github.com/flip-ha/flip/secure"
)

// agent is one of them: what `flip run` makes of a server without a vote, but for the
// effects.
type agent struct {
	noted
	herd    *herd
	name    fsm.MemberID
	host    fsm.Host
	process fsm.Nonce
	conn    *net.UDPConn
	end     *udp.Endpoint
	peers   *client.Peers
	node    *reading.Node
	exec    *actions.Executor
	beats   chan struct{} // capacity 1 each: what the Endpoint answers may have changed
	news    chan struct{}

	lapses, epochs atomic.Int64
	cancel         context.CancelFunc
	dead           atomic.Bool
}

func newNonce() (n fsm.Nonce) {
	_, _ = rand.Read(n[:])
	return n
}

func (h *herd) newAgent(name fsm.MemberID) (*agent, error) {
	server, known := h.spec.Servers[name]
	if !known {
		return nil, fmt.Errorf("the configuration does not name %s", name)
	}
	addr, err := netip.ParseAddrPort(server.Addr)
	if err != nil {
		return nil, fmt.Errorf("the address of %s: %w", name, err)
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, fmt.Errorf("the socket of %s: %w", name, err)
	}
	process := newNonce()
	id := secure.Identity{Name: name, Instance: hex.EncodeToString(process[:8])}
	a := &agent{
		herd: h, name: name, process: process, conn: conn,
		host:  fsm.Host{Machine: "machine of " + string(name), Boot: h.boot, Instance: id.Instance},
		beats: make(chan struct{}, 1), news: make(chan struct{}, 1),
	}
	p := liveness.New(liveness.Config{
		Self: name, Instance: id.Instance, Host: a.host, Process: process, Gate: true,
		Started: udp.Boottime(), NewNonce: newNonce, Wire: [2]uint16{secure.WireVersion, secure.WireVersion}, Seed: h.spec,
	})
	a.end = udp.New(udp.Config{
		Self: name, Resolve: a.resolve, Cluster: a.cluster, Clock: udp.Boottime, Log: zerolog.Nop(),
		Measure: udp.Measure{Lapse: func() { a.lapses.Add(1) }},
	}, &counted{conn, h.traffic}, h.keys.Box(secure.Sender{Name: name, Instance: id.Instance, Process: process}), p)
	a.peers = client.NewPeersOver(h.connect(id))
	a.node = reading.New(reading.Config{
		Self: name, Instance: id.Instance, Seed: h.spec, Peers: reading.Over(a.peers),
		Detector: detector{a}, Registrar: a.end, Log: zerolog.Nop(),
	})
	effects := map[fsm.Action]actions.Driver{fsm.ActionIP: nothing{}, fsm.ActionHooks: nothing{}}
	a.exec = actions.New(actions.Config{
		Core: actions.CoreConfig{Self: name, Machine: a.host.Machine}, Drivers: effects,
		Interval: h.spec.Timing.Heartbeat, Clock: udp.Boottime, Log: zerolog.Nop(),
	})
	return a, nil
}

// detector is the Endpoint with its signal told to two.
type detector struct{ *agent }

// Read implements agent.Detector.
func (d detector) Read(s *fsm.State, at fsm.Index, leading bool, leader fsm.VoterID) {
	d.end.Read(s, at, leading, leader)
}

// Behind implements agent.Detector.
func (d detector) Behind() bool { return d.end.Behind() }

// Changed implements agent.Detector.
func (d detector) Changed() <-chan struct{} { return d.beats }

// nothing has no effect, and at once.
type nothing struct{}

// Acquire implements actions.Driver.
func (nothing) Acquire(context.Context, fsm.Job) error { return nil }

// Release implements actions.Driver.
func (nothing) Release(context.Context, fsm.Job) error { return nil }

func (a *agent) spec() *fsm.Spec {
	if s, _ := a.node.View(); s.Spec().Version != 0 {
		return s.Spec()
	}
	return &a.herd.spec
}

func (a *agent) resolve(m fsm.MemberID) (net.Addr, bool) {
	s, known := a.spec().Servers[m]
	if !known {
		return nil, false
	}
	addr, err := netip.ParseAddrPort(s.Addr)
	return net.UDPAddrFromAddrPort(addr), err == nil
}

func (a *agent) cluster() string {
	s, _ := a.node.View()
	return s.Cluster()
}

// start plays it until ctx ends, or it is killed.
func (a *agent) start(ctx context.Context) {
	ctx, a.cancel = context.WithCancel(ctx)
	for _, part := range []func(context.Context) error{
		a.end.Run, a.node.Run, a.spread, a.feed,
		func(ctx context.Context) error { return a.exec.Run(ctx, a.report) },
	} {
		go func() {
			if err := part(ctx); err != nil && ctx.Err() == nil {
				fmt.Fprintf(os.Stderr, "%s: %v\n", a.name, err)
			}
		}()
	}
}

func (a *agent) spread(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.end.Changed():
		}
		for _, c := range []chan struct{}{a.beats, a.news} {
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}
}

// feed gives the executor the newest slice, as the daemon does.
func (a *agent) feed(ctx context.Context) error {
	var seen struct {
		at    fsm.Index
		epoch fsm.Epoch
	}
	for {
		state, at := a.node.View()
		a.noteMaintenance(len(state.Maintenance()) > 0)
		epoch := a.end.Epoch()
		if epoch != 0 && at >= fsm.Index(epoch) && (at != seen.at || epoch != seen.epoch) {
			if epoch != seen.epoch {
				a.epochs.Add(1)
			}
			a.exec.Set(state.Slice(a.name, epoch, a.host.Machine, at), a.leaseOf(epoch))
			seen.at, seen.epoch = at, epoch
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.node.Changed(at):
		case <-a.news:
			a.exec.Wake()
		}
	}
}

func (a *agent) leaseOf(epoch fsm.Epoch) func() (time.Duration, bool) {
	return func() (time.Duration, bool) {
		left, ok := a.end.Lease()
		return left, ok && a.end.Epoch() == epoch
	}
}

func (a *agent) report(ctx context.Context, r fsm.Report) error {
	r.At = time.Now().UnixMilli()
	res, err := a.node.Propose(ctx, r)
	if err == nil && !res.Applied {
		return fmt.Errorf("report: %s", res.Why)
	}
	return err
}

func (a *agent) noteSource(now mono.Time) {
	if !a.isDead() {
		a.note(a.node.Source(), now)
	}
}

func (a *agent) isDead() bool { return a.dead.Load() }

// die ends it as SIGKILL ends a daemon: its sockets are closed, and nothing is said.
// With a word its guard lives, and says goodbye at once.
func (a *agent) die(word bool) (swarm.Killed, error) {
	if a.dead.Swap(true) {
		return swarm.Killed{}, fmt.Errorf("%s is dead", a.name)
	}
	var k swarm.Killed
	for _, job := range a.exec.Held() {
		k.Items = append(k.Items, string(job.Item))
	}
	say, err := a.guard(word)
	if err != nil {
		return k, err
	}
	k.At = mono.Now()
	a.cancel()
	a.peers.Close()
	return k, say()
}

// guard is what speaks for the agent when it is dead.
func (a *agent) guard(word bool) (say func() error, err error) {
	if !word {
		return func() error { return nil }, nil
	}
	file, err := a.conn.File()
	if err != nil {
		return nil, fmt.Errorf("the socket of %s: %w", a.name, err)
	}
	f, err := udp.NewFarewell(udp.FarewellConfig{
		Member: a.name, Host: a.host, Process: a.process, Key: a.herd.keys.Handover(), Nonce: newNonce(), Log: zerolog.Nop(),
	}, file)
	if err != nil {
		return nil, err
	}
	voters := map[fsm.MemberID]string{}
	for name, server := range a.spec().Servers {
		if server.Votes() {
			voters[name] = server.Addr
		}
	}
	f.Peers(a.cluster(), voters)
	epoch := a.end.Epoch()
	return func() error { return errors.Join(f.Say(epoch, nil), f.Close()) }, nil
}
