package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"time"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/guard"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/udp"
)

// openGuard makes ready the small process that lets go of what this one holds if
// this one cannot. It runs on every node: also one that holds nothing says goodbye
// the sooner for it.
func (d *daemon) openGuard(conn net.PacketConn, process fsm.Nonce) error {
	if d.paths.isWithout("guard") {
		d.log.Error().Str(withoutVariable, d.paths.without).Msg("a test took the guard away: what a killed daemon held stays up")
		return nil
	}
	socket, gate, err := d.lent(conn)
	if err != nil {
		return err
	}
	timing := d.file.Spec.Timing
	hello := guard.Hello{
		Member: d.self.Name, Host: d.host, Process: process, Key: d.keys.Keys().Handover(), Cluster: d.cluster(),
		Heartbeat: timing.Heartbeat, List: d.listPath(), LogLevel: d.log.GetLevel().String(),
	}
	if gate != nil {
		hello.Gate = gateName(d.self.Name)
	}
	d.guard = guard.New(guard.Config{
		// The very program that runs, whatever an upgrade has put in its place.
		Command: []string{"/proc/self/exe", guardCommandName},
		Lock:    d.store.Lock(), Gate: gate, Socket: socket, Hold: d.hold, Hello: hello,
		Lease: func() time.Duration { return d.spec().Timing.Lease }, Log: d.log,
	})
	d.guard.Seed(d.list.Attach(d.guard))
	return nil
}

// lent are copies of the sockets that the guard goes on with.
func (d *daemon) lent(conn net.PacketConn) (socket, gate *os.File, err error) {
	if c, ok := conn.(*net.UDPConn); ok {
		if socket, err = c.File(); err != nil {
			return nil, nil, fmt.Errorf("lend the heartbeat socket to the guard: %w", err)
		}
		d.undo = append(d.undo, socket.Close)
	}
	if d.ground != nil && d.ground.gate != nil {
		if gate, err = d.ground.gate.File(); err != nil {
			return nil, nil, fmt.Errorf("lend the gate's socket to the guard: %w", err)
		}
		d.undo = append(d.undo, gate.Close)
	}
	return socket, gate, nil
}

// runGuard keeps the guard running until ctx ends.
func (d *daemon) runGuard(ctx context.Context) error {
	if d.guard == nil {
		return nil
	}
	return d.guard.Run(ctx)
}

// tellGuard keeps the guard informed of the lease, and of who is to hear a goodbye:
// at each heartbeat, and at once when the lease or what is held has changed.
func (d *daemon) tellGuard(ctx context.Context) error {
	if d.guard == nil {
		return nil
	}
	var told guardNews
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.news.guard:
		case <-d.effects:
		case <-timer.C:
		}
		d.tellLease(&told)
		d.tellPeers(&told)
		timer.Reset(d.spec().Timing.Heartbeat)
	}
}

// guardNews is what the guard has been told.
type guardNews struct {
	leased bool
	ended  time.Duration // when the lease ends, or has ended
	until  time.Duration // releasing until then; 0: not said since the lease
	spec   *fsm.Spec
	voters fsm.Index
	peers  map[fsm.MemberID]string
	known  bool
}

// tellLease says until when the lease runs, or what is done about its end: a
// healthy daemon lets go by itself, and must not be ended for it.
func (d *daemon) tellLease(told *guardNews) {
	now := udp.Boottime() // before the lease is read: never later than it is
	left, ok := d.beat.Lease()
	switch {
	case ok:
		told.leased, told.ended, told.until = true, now+left, 0
		d.guard.Lease(d.beat.Epoch(), now+left)
	case !told.leased: // none ever ran, or its end is settled
	case !d.lettingGo():
		told.leased = false
		d.guard.Released()
	default:
		// Longer as soon as nothing is left that others bet on.
		if until := told.ended + d.releaseTime(); until != told.until {
			told.until = until
			d.guard.Releasing(until)
		}
	}
}

// releaseTime is how long letting go of all at-most-one items may take.
func (d *daemon) releaseTime() time.Duration {
	entries := d.list.Entries()
	var jobs []*fsm.Job
	for i := range entries {
		if entries[i].Job.AtMostOne {
			jobs = append(jobs, &entries[i].Job)
		}
	}
	return guard.ReleaseTime(jobs, actions.DefaultGrace)
}

// tellPeers says where the voters are.
func (d *daemon) tellPeers(told *guardNews) {
	state, _ := d.node.View()
	spec, voters := d.spec(), state.Voters()
	if told.known && told.spec == spec && told.voters == voters.Index {
		return
	}
	told.known, told.spec, told.voters = true, spec, voters.Index
	peers := map[fsm.MemberID]string{}
	for _, id := range voters.IDs {
		if s, ok := spec.Servers[id.Member()]; ok && id.Member() != d.self.Name {
			peers[id.Member()] = s.Addr
		}
	}
	if maps.Equal(peers, told.peers) && len(peers) > 0 {
		return
	}
	told.peers = peers
	d.guard.Peers(guard.Peers{Cluster: d.cluster(), Heartbeat: spec.Timing.Heartbeat, Addrs: peers})
}

// dismissGuard tells the guard that it is not needed any more, unless something is
// still held: then it stays, tries on after this process's end and tells the others.
func (d *daemon) dismissGuard() {
	switch {
	case d.guard == nil:
	case d.holdsMost():
		d.log.Error().Msg("leaving to the guard what could not be released")
	default:
		if err := d.guard.Leave(); err != nil {
			d.log.Warn().Err(err).Msg("the guard does not know that this process ends in order")
		}
	}
}
