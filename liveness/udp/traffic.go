package udp

import (
	"net"
	"net/netip"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
	"github.com/flip-ha/flip/secure"
)

// sending is a packet on its way out.
type sending struct {
	packet
	addr net.Addr
}

// receive takes one datagram in. datagram is overwritten. The loop ticks after
// it, as the process wants.
func (e *Endpoint) receive(datagram []byte, from netip.AddrPort) {
	sender, body, err := e.box.Open(datagram)
	if err != nil {
		e.drop(dropOf(err), sender, from, "")
		return
	}
	p, err := decode(body)
	if err != nil {
		e.drop(dropOf(err), sender, from, "")
		return
	}
	if why, refused := e.refuse(p); refused {
		e.drop(why, sender, from, p.cluster)
		return
	}
	e.mu.Lock()
	now := e.cfg.Clock()                                       // under the lock: the process must never see time go back
	if bye, is := p.msg.(liveness.Goodbye); !is || !bye.Dead { // that one is of a dead one's guard
		e.stats.heard(sender.Name, now)
	}
	var batch []sending
	if p.kind == kindHeartbeat {
		if gap, again := e.stats.beat(sender.Name, now); again {
			e.cfg.Measure.Gap(gap)
		}
	}
	e.stats.took(sender, p.msg, now)
	if p.kind != kindHail {
		before, _ := e.process.Lease(now)
		outs := e.process.Receive(now, liveness.From{Member: sender.Name, Instance: sender.Instance}, p.msg)
		if after, _ := e.process.Lease(now); before > 0 && after > before {
			e.cfg.Measure.Left(before)
		}
		batch = e.address(outs)
	}
	e.mu.Unlock()
	e.send(batch)
}

// refuse says why a packet that verifies is not for this process.
func (e *Endpoint) refuse(p packet) (Drop, bool) {
	mine := e.cfg.Cluster()
	switch {
	case p.to != e.cfg.Self:
		return DropMisdirected, true
	case p.cluster == mine:
		return 0, false
	case p.cluster != "" && mine != "":
		return DropCluster, true
	case p.kind == kindHail:
		return 0, false // one of the two is still to be taken in
	default:
		// Who belongs to no cluster has read no log, has no epoch in it, and can
		// mean nobody else's.
		return DropUnfounded, true
	}
}

// address turns the process's messages into packets. Called under the lock.
func (e *Endpoint) address(outs []liveness.Out) []sending {
	if len(outs) == 0 {
		return nil
	}
	cluster := e.cfg.Cluster()
	batch := make([]sending, 0, len(outs))
	for _, out := range outs {
		e.stats.gave(out)
		batch = e.addTo(batch, packet{cluster: cluster, to: out.To, kind: kindOf(out.Msg), msg: out.Msg})
	}
	return batch
}

// hails are the packets that tell every server that votes that this one is there.
func (e *Endpoint) hails() []sending {
	cluster, names := e.cfg.Cluster(), e.servers()
	e.stats.know(names, e.cfg.Self, e.cfg.Resolve)
	var batch []sending
	for _, name := range names {
		if e.process.Hails(name) {
			batch = e.addTo(batch, packet{cluster: cluster, to: name, kind: kindHail})
		}
	}
	return batch
}

// addTo adds a packet, unless nobody knows where its addressee is. What a
// process has to say to itself does not pass through here.
func (e *Endpoint) addTo(batch []sending, p packet) []sending {
	if p.to == e.cfg.Self {
		return batch
	}
	addr, ok := e.cfg.Resolve(p.to)
	if !ok {
		return batch
	}
	return append(batch, sending{packet: p, addr: addr})
}

// servers are all the servers known now. Called under the lock.
func (e *Endpoint) servers() []fsm.MemberID {
	if e.cfg.Servers != nil {
		return e.cfg.Servers()
	}
	if e.spec == nil {
		return nil
	}
	names := make([]fsm.MemberID, 0, len(e.spec.Servers))
	for name := range e.spec.Servers {
		names = append(names, name)
	}
	return names
}

// send seals and sends. Not under the lock: a full socket may make it wait.
func (e *Endpoint) send(batch []sending) {
	for _, s := range batch {
		raw, err := encode(s.packet)
		if err == nil {
			_, err = e.conn.WriteTo(e.box.Seal(raw), s.addr)
		}
		e.mu.Lock()
		e.stats.sent(s.to, err)
		e.mu.Unlock()
	}
}

// drop counts a datagram that was not taken in.
func (e *Endpoint) drop(why Drop, sender secure.Sender, from netip.AddrPort, cluster string) {
	mine := e.cfg.Cluster()
	e.mu.Lock()
	defer e.mu.Unlock()
	what := dropped{why: why, from: from, sender: sender.Name, cluster: cluster, mine: mine}
	e.stats.drop(what, e.cfg.Clock())
}
