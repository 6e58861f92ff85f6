package sim

import (
	"fmt"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// firstKey is the mark of the key that a cluster is founded with.
const firstKey = "key 0"

// ring is which keys a process sends by and accepts.
type ring struct{ send, also string }

func (k ring) accepts(mark string) bool { return mark == k.send || mark != "" && mark == k.also }

// shares says whether two have a key in common: then a connection can be made.
func (k ring) shares(o ring) bool {
	return k.accepts(o.send) || o.also != "" && k.accepts(o.also)
}

// ringOf is the ring that the log asks for.
func ringOf(k fsm.Keys) ring {
	switch {
	case k.Round == 0:
		return ring{send: firstKey}
	case k.Phase == fsm.KeyBoth:
		return ring{send: k.Old, also: k.New}
	case k.Phase == fsm.KeyNew:
		return ring{send: k.New, also: k.Old}
	default:
		return ring{send: k.New}
	}
}

// keyring is what a process has made of the log's word, and its directory keeps.
type keyring struct {
	ring
	of fsm.Keys // as far as it was followed
}

// given is the ring of a machine that is given the key by hand: while one is rotated
// the old or the new one, which lead to each other.
func (w *World) given() keyring {
	k := w.checker.newest().Keys()
	r := ringOf(k)
	if r.also != "" {
		r.also = ""
		if w.chance(0.5) {
			r.send = k.Old
		}
	}
	return keyring{ring: r}
}

// turning is a process following a rotation.
type turning struct {
	busy bool          // the new ring is on its way to disk and guard
	next time.Duration // when to acknowledge again
}

// turn does what the log says of the key, and acknowledges it; the answer is when to
// look again.
func (p *Process) turn(now time.Duration) time.Duration {
	k := p.state.Keys()
	if k.Round == 0 || p.turning.busy {
		return 0
	}
	if p.keys.of.Before(k) && !p.keys.accepts(k.Old) && !p.keys.accepts(k.New) {
		// It cannot follow. When that rotation is over its key is one that somebody gave it.
		if k.Phase == fsm.KeySettled {
			p.keys.of = k
			p.disk.keys = p.keys
		}
		return 0
	}
	if p.keys.of.Before(k) {
		p.turning.busy = true
		took := p.w.between(0, 5*time.Millisecond)
		if p.w.chance(0.05) {
			took = p.w.between(0, p.ttl())
		}
		p.w.After(took, func() {
			p.do(func() {
				p.turning = turning{}
				p.keys = keyring{ring: ringOf(k), of: k}
				p.disk.keys = p.keys
				p.w.tracef("%s: %s", p.ID(), k.Phase)
			})
		})
		return 0
	}
	_, listed := p.state.Spec().Servers[p.Name]
	if !k.Same(p.keys.of) || k.Phase == fsm.KeySettled || k.Has(p.Name) || !listed || p.leader == "" {
		return 0
	}
	if now >= p.turning.next {
		p.turning.next = now + p.beat()
		p.submit(fsm.KeyAck{Member: p.Name, Round: k.Round, Phase: k.Phase})
	}
	return p.turning.next
}

// hasten, a rule left out, acknowledges for everybody, so that raftnode.Next goes on.
func (r *reign) hasten(p *Process) {
	k := p.state.Keys()
	if !p.w.cfg.Rules.KeyAcks || k.Phase == fsm.KeySettled || k.Same(r.hastened) {
		return
	}
	r.hastened = k
	for _, m := range p.state.KeyAwaited() {
		p.propose(fsm.Encode(fsm.KeyAck{Member: m, Round: k.Round, Phase: k.Phase}), nil)
	}
}

// rotation begins one, made by anybody.
func (w *World) rotation(without ...fsm.MemberID) fsm.Rotate {
	k := w.checker.newest().Keys()
	w.rotations++
	return fsm.Rotate{
		Was: k.Round, Old: ringOf(k).send, New: fmt.Sprintf("key %d", w.rotations),
		Sealed: []byte("sealed"), Back: []byte("back"), LeftOut: without, At: w.now.Milliseconds(),
	}
}

// lockedOut says whether nobody answers a process for want of a key.
func (w *World) lockedOut(p *Process) bool {
	return !p.keys.shares(ringOf(w.checker.newest().Keys()))
}

// handOut gives the key to those who are locked out, and the names of who there is now to
// those who know of nobody.
func (w *World) handOut() {
	for _, p := range w.procs {
		if p.stream != nil && p.at == 0 {
			p.seed = w.seed()
		}
		if w.lockedOut(p) {
			w.Count.add(KeysHandedOut)
			w.tracef("%s is given the key by hand", p.ID())
			p.keys = w.given()
			p.disk.keys = p.keys
		}
	}
}

// rotate begins a rotation, at times without somebody who does not run.
func (a *Adversary) rotate() {
	k := a.w.checker.newest().Keys()
	if k.Phase == fsm.KeySettled {
		a.w.Propose(a.w.rotation())
		return
	}
	for _, m := range a.w.checker.newest().KeyAwaited() {
		if p := a.w.running(m); p == nil && k.Phase != fsm.KeyOnly {
			a.w.Propose(fsm.KeyGo{Round: k.Round, LeftOut: []fsm.MemberID{m}})
			return
		}
	}
}
