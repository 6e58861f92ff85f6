package sim

import (
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
)

// Link is how one direction between two members behaves.
type Link struct {
	Cut      bool // datagrams vanish
	CutTCP   bool // requests (registrations, reports) vanish
	Loss     float64
	Twice    float64 // share of datagrams that arrive twice
	Min, Max time.Duration
	// Late is the share of datagrams held back for up to LateBy: they arrive
	// after ones sent later.
	Late   float64
	LateBy time.Duration
}

// network is the datagrams and requests between members. Addresses are names:
// what goes to a name reaches every process that runs under it.
type network struct {
	w     *World
	links map[[2]fsm.MemberID]*Link
}

func (n *network) init(w *World) {
	n.w, n.links = w, map[[2]fsm.MemberID]*Link{}
}

// Link is the direction from one member to another, for reading and changing.
func (w *World) Link(from, to fsm.MemberID) *Link {
	k := [2]fsm.MemberID{from, to}
	l := w.net.links[k]
	if l == nil {
		l = &Link{Min: 200 * time.Microsecond, Max: time.Millisecond}
		w.net.links[k] = l
	}
	return l
}

// CutBoth cuts, or heals, datagrams and requests between two members, both ways.
func (w *World) CutBoth(a, b fsm.MemberID, cut bool) {
	for _, l := range []*Link{w.Link(a, b), w.Link(b, a)} {
		l.Cut, l.CutTCP = cut, cut
	}
}

// Isolate cuts a member from all others and from the log, or heals that.
func (w *World) Isolate(m fsm.MemberID, cut bool) {
	for _, o := range w.names {
		if o != m {
			w.CutBoth(m, o, cut)
		}
	}
	w.CutLog(m, cut)
}

// send puts one datagram on its way.
func (n *network) send(from *Process, to fsm.MemberID, msg liveness.Message) {
	w := n.w
	l := w.Link(from.Name, to)
	self := from.Name == to
	if l.Cut && !self {
		w.Count.add(Dropped)
		return
	}
	if !self && w.chance(l.Loss) {
		w.Count.add(Dropped)
		return
	}
	var extra time.Duration
	if w.Filter != nil {
		d, pass := w.Filter(from.Name, to, msg)
		if !pass {
			w.Count.add(Dropped)
			return
		}
		extra = d
	}
	sealed := from.keys.send
	copies := 1
	if w.chance(l.Twice) {
		copies = 2
		w.Count.add(Doubled)
	}
	for range copies {
		delay := extra + w.between(l.Min, l.Max)
		if w.chance(l.Late) {
			delay += w.between(0, l.LateBy)
			w.Count.add(Delayed)
		}
		sender := liveness.From{Member: from.Name, Instance: from.Instance}
		for _, p := range w.procs {
			if p.Name == to && !p.dead {
				w.After(delay, func() { p.open(sealed, func() { p.receive(sender, msg) }) })
			}
		}
		if _, ok := msg.(liveness.GoodbyeAck); ok {
			for _, g := range w.guards {
				if g.p.Name == to {
					w.After(delay, func() { g.p.open(sealed, func() { g.receive(msg) }) })
				}
			}
		}
	}
}

// request runs a request at another process and its answer at the first: TCP
// neither doubles nor reorders, it only fails. do is not called when the request
// was lost; answer is not called when the answer was.
func (n *network) request(from, to *Process, do func(), lost func()) {
	w := n.w
	l := w.Link(from.Name, to.Name)
	if from != to && (l.CutTCP || to.dead || !from.keys.shares(to.keys.ring)) {
		w.Count.add(LostRequests)
		w.After(w.between(time.Millisecond, 50*time.Millisecond), func() { from.do(lost) })
		return
	}
	delay := w.between(l.Min, l.Max)
	if from == to {
		delay = 0
	} else if w.chance(l.Loss) { // a lost segment is sent again later
		delay += w.between(20*time.Millisecond, 200*time.Millisecond)
	}
	w.After(delay, func() { to.do(do) })
}

// open opens a datagram by the keys that the process has when it comes.
func (p *Process) open(sealed string, fn func()) {
	if !p.keys.accepts(sealed) {
		p.w.Count.add(KeysRefused)
		return
	}
	fn()
}
