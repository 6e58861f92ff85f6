package liveness

import (
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// shown is what a node reads at an index: the State, or its Part of it.
func (w *world) shown(n *node, at fsm.Index) *fsm.State {
	if !n.agent {
		return w.states[at]
	}
	s, err := fsm.New().WithPart(w.states[at].Part(n.name, at))
	if err != nil {
		panic(err)
	}
	return s
}

// feedFrom hands what a node has read on to the agents that read from it.
func (w *world) feedFrom(n *node) {
	for _, a := range w.running() {
		if a.agent && a.source == n.name && a.applied < n.applied {
			w.at(w.now+w.netDelay, func() { w.feed(a) })
		}
	}
}

// feed has an agent read what its source has read, or change over if that is gone.
func (w *world) feed(a *node) {
	if a.p == nil || a.lags {
		return
	}
	if a.frozen > w.now {
		w.at(a.frozen, func() { w.feed(a) })
		return
	}
	if !w.serves(a.source, a) {
		w.changeOver(a)
		return
	}
	if src := w.nodes[a.source]; src.applied > a.applied {
		w.read(a, src.applied)
	}
}

// serves reports whether an agent can read from a node, and would not read an older
// log there than it has read.
func (w *world) serves(name fsm.MemberID, a *node) bool {
	src, ok := w.nodes[name]
	return ok && !src.agent && src.p != nil && !w.apart(name, a.name) && src.applied >= a.applied
}

// changeOver has an agent read from the next server that can serve it.
func (w *world) changeOver(a *node) {
	if a.changed == w.now && w.serves(a.source, a) {
		return // it has not read anything there yet
	}
	at, _ := slices.BinarySearch(w.names, a.source)
	for i := range w.names {
		name := w.names[(at+1+i)%len(w.names)]
		if name == a.source || !w.serves(name, a) {
			continue
		}
		a.source, a.changed = name, w.now
		w.printf("%s reads from %s", a.name, name)
		w.at(w.now+w.netDelay, func() { w.feed(a) })
		return
	}
}

// readFrom has an agent read what a node has read, whatever it read before.
func (w *world) readFrom(a *node, name fsm.MemberID) {
	a.source = name
	at := w.nodes[name].applied
	w.printf("%s reads from %s, at %d", a.name, name, at)
	a.applied = max(a.applied, at)
	w.send(a, a.p.Read(a.local(w.now), w.shown(a, at), at, false, w.nodes[name].p.view.leader))
}

// release reports what a member let go of.
func (w *world) release(by fsm.MemberID, item fsm.ItemID) {
	key := fsm.Key{System: "s", Item: item}
	slot, _ := w.state().Slot(key)
	m, _ := w.state().Member(by)
	var claims []fsm.Claim
	for _, e := range slot.Outstanding {
		if e.Member == by {
			claims = append(claims, fsm.Claim{Key: key, Member: by, Epoch: e.Epoch, Token: e.Token})
		}
	}
	w.commit(fsm.Report{Member: by, Epoch: m.Epoch, Released: claims})
}

// roles changes what nodes are while they run.
func (w *world) roles(names []fsm.MemberID, voter bool) {
	for _, name := range names {
		n := w.nodes[name]
		n.agent = !voter
		w.printf("%s is %s now", name, map[bool]string{true: "a voter", false: "an agent"}[voter])
		n.p.SetVoter(n.local(w.now), voter)
		w.read(n, n.applied)
		if at := w.index(); voter {
			w.at(w.now+w.logDelay, func() { w.catchUp(n, at) })
		} else {
			w.feed(n)
		}
	}
}
