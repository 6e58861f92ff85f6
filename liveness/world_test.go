package liveness

import (
	"container/heap"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// world is a cluster without Raft: one log that all nodes read, a network that
// delays, loses and cuts, and a clock per node. Everything that happens is
// written to a trace. One thread; a schedule repeats exactly.
type world struct {
	now      time.Duration
	seq      int
	events   queue
	nodes    map[fsm.MemberID]*node
	names    []fsm.MemberID
	states   []*fsm.State // by index
	leader   fsm.MemberID
	stalled  bool // proposals wait
	fails    bool // proposals vanish
	waiting  []func()
	cuts     map[[2]fsm.MemberID]bool // for datagrams
	delays   map[[2]fsm.MemberID]time.Duration
	offered  map[string]time.Duration // proposals on their way
	counted  map[called]bool          // epochs that some leader could call down
	seen     map[called]bool          // those found with a lease all the same
	without  Rule
	mutants  bool // scripts may leave rules out
	verbose  bool
	silent   bool // no trace: random schedules
	twice    bool // two holders of an item were found
	broken   []string
	trace    strings.Builder
	netDelay time.Duration
	logDelay time.Duration
}

// called is an epoch that may be called down.
type called struct {
	member fsm.MemberID
	epoch  fsm.Epoch
}

// event is something that happens at a moment; those of one moment happen in
// the order in which they were planned.
type event struct {
	at  time.Duration
	seq int
	do  func()
}

// node is one server: what survives its processes, and the present one.
type node struct {
	name     fsm.MemberID
	host     fsm.Host
	p        *Process // nil: not running
	runs     int
	nonces   int
	base     time.Duration // its clock at `from`
	from     time.Duration
	rate     float64
	applied  fsm.Index
	lags     bool
	wakeSeq  int
	seen     sight
	mute     bool          // never registers
	frozen   time.Duration // until then it does nothing, and what arrives waits
	register time.Duration
	agent    bool // it has no log, and reads what its source has read
	source   fsm.MemberID
	changed  time.Duration // when it changed over to that
	guard    *Goodbye      // what outlived the last process says for it, until acknowledged
}

func newWorld() *world {
	return &world{
		nodes: map[fsm.MemberID]*node{}, cuts: map[[2]fsm.MemberID]bool{},
		delays: map[[2]fsm.MemberID]time.Duration{}, offered: map[string]time.Duration{},
		counted: map[called]bool{}, seen: map[called]bool{}, states: []*fsm.State{fsm.New()},
		netDelay: time.Millisecond, logDelay: 2 * time.Millisecond,
	}
}

func (w *world) printf(format string, args ...any) {
	if w.silent {
		return
	}
	fmt.Fprintf(&w.trace, "%6dms  %s\n", w.now.Milliseconds(), fmt.Sprintf(format, args...))
}

// local is the node's own clock.
func (n *node) local(now time.Duration) time.Duration {
	return n.base + time.Duration(float64(now-n.from)*n.rate)
}

// global is the moment at which the node's own clock shows local.
func (n *node) global(local time.Duration) time.Duration {
	return n.from + time.Duration(float64(local-n.base)/n.rate) + 1
}

// node makes a server; its clock has nothing to do with any other.
func (w *world) node(name fsm.MemberID) *node {
	if n, ok := w.nodes[name]; ok {
		return n
	}
	n := &node{
		name: name, rate: 1, from: w.now,
		host: fsm.Host{Machine: "machine-" + string(name), Boot: "boot-1", Instance: "i-" + string(name)},
		base: time.Duration(len(w.nodes)+1) * 1000 * time.Second,
	}
	w.nodes[name] = n
	w.names = append(w.names, name)
	slices.Sort(w.names)
	return n
}

// at plans something.
func (w *world) at(t time.Duration, do func()) {
	w.seq++
	heap.Push(&w.events, event{max(t, w.now), w.seq, do})
}

// run lets time pass.
func (w *world) run(until time.Duration) {
	for len(w.events) > 0 && w.events[0].at <= until {
		e := heap.Pop(&w.events).(event)
		w.now = max(w.now, e.at)
		e.do()
		w.check()
	}
	w.now = max(w.now, until)
	for _, n := range w.running() {
		w.after(n)
	}
	w.check()
}

func (w *world) running() []*node {
	var out []*node
	for _, name := range w.names {
		if n := w.nodes[name]; n.p != nil {
			out = append(out, n)
		}
	}
	return out
}

// start begins a process of a node. It has read the log up to `read`.
func (w *world) start(n *node, read fsm.Index) {
	n.runs++
	process := fsm.Nonce{0: byte(n.runs), 15: 1}
	copy(process[1:], n.name)
	n.agent = w.state().Spec().Servers[n.name].Role == fsm.RoleAgent
	n.p = New(Config{
		Self: n.name, Instance: n.host.Instance, Host: n.host, Process: process, Gate: true,
		Started: n.local(w.now), Voter: !n.agent, Without: w.without, Seed: *w.state().Spec(),
		NewNonce: func() fsm.Nonce {
			n.nonces++
			nonce := fsm.Nonce{0: byte(n.nonces), 1: byte(n.nonces >> 8), 15: 2}
			copy(nonce[2:], n.name)
			return nonce
		},
	})
	n.applied, n.seen, n.register = 0, sight{}, 0
	w.printf("%s starts", n.name)
	w.read(n, read)
}

func (w *world) kill(n *node) {
	n.p = nil
	n.wakeSeq++
	w.printf("%s is gone", n.name)
}

// die kills a node's process; its guard says goodbye for it.
func (w *world) die(n *node, kept []fsm.Key) {
	n.guard = &Goodbye{Dead: true, Goodbye: fsm.Goodbye{
		Member: n.name, Host: n.host, Process: n.p.cfg.Process, Epoch: n.p.Epoch(), Kept: kept,
	}}
	w.kill(n)
	w.mourn(n, n.guard)
}

// mourn repeats a guard's goodbye to all other nodes.
func (w *world) mourn(n *node, bye *Goodbye) {
	if n.guard != bye {
		return
	}
	for _, name := range w.names {
		if name != n.name {
			w.deliver(From{Member: n.name, Instance: n.host.Instance}, Out{To: name, Msg: *bye})
		}
	}
	w.at(w.now+defaultBeat, func() { w.mourn(n, bye) })
}

// state is the newest State, and index its index.
func (w *world) state() *fsm.State { return w.states[len(w.states)-1] }
func (w *world) index() fsm.Index  { return fsm.Index(len(w.states) - 1) }

// read has a node read the log up to an index.
func (w *world) read(n *node, at fsm.Index) {
	if n.p == nil {
		return
	}
	n.applied = max(n.applied, at)
	var leader fsm.VoterID
	if l, ok := w.nodes[w.leader]; ok {
		leader = fsm.NewVoterID(l.name, l.host.Instance)
	}
	w.send(n, n.p.Read(n.local(w.now), w.shown(n, n.applied), n.applied, w.leader == n.name, leader))
	w.feedFrom(n)
}

// apart reports whether two nodes cannot reach each other at all.
func (w *world) apart(a, b fsm.MemberID) bool {
	return a != b && w.cuts[[2]fsm.MemberID{a, b}] && w.cuts[[2]fsm.MemberID{b, a}]
}

// spread lets every node read what is new.
func (w *world) spread() {
	at := w.index()
	for _, n := range w.running() {
		if n.agent {
			w.feed(n)
			continue
		}
		if n.name == w.leader && !n.lags {
			w.read(n, at)
			continue
		}
		w.at(w.now+w.logDelay, func() {
			w.catchUp(n, at)
		})
	}
}

// catchUp has a node read what is new, when it is awake and can be reached.
func (w *world) catchUp(n *node, at fsm.Index) {
	switch {
	case n.lags || w.apart(n.name, w.leader) || n.applied >= at:
	case n.frozen > w.now:
		w.at(n.frozen, func() { w.catchUp(n, at) })
	default:
		w.read(n, at)
	}
}

// append puts a State into the log.
func (w *world) append(s *fsm.State, what string) {
	w.states = append(w.states, s)
	w.printf("log %d: %s", w.index(), what)
	w.spread()
}

// commit puts a command into the log; what is refused is in it all the same.
func (w *world) commit(cmd fsm.Command) fsm.Result {
	at := w.index() + 1
	s, res, err := w.state().Apply(at, fsm.Encode(cmd))
	if err != nil {
		panic(err)
	}
	if err := fsm.Check(s); err != nil {
		w.broken = append(w.broken, err.Error())
	}
	w.append(s, describe(cmd)+verdict(res))
	return res
}

// propose commits a command a moment later, once, unless the log stands still.
func (w *world) propose(n *node, key string, cmd fsm.Command) {
	if t, ok := w.offered[key]; (ok && w.now < t) || w.leader == "" || w.apart(n.name, w.leader) {
		return
	}
	w.offered[key] = w.now + 200*time.Millisecond
	w.printf("%s proposes %s", n.name, describe(cmd))
	do := func() { w.commit(cmd) }
	switch {
	case w.fails:
		return
	case w.stalled:
		w.waiting = append(w.waiting, do)
		w.offered[key] = math.MaxInt64
		return
	}
	w.at(w.now+w.logDelay, do)
}

// flow lets the log go on; what waited is committed in order.
func (w *world) flow() {
	w.stalled, w.fails = false, false
	clear(w.offered)
	for _, do := range w.waiting {
		w.at(w.now+w.logDelay, do)
	}
	w.waiting = nil
}

// send delivers messages and then asks the node what it wants.
func (w *world) send(n *node, out []Out) {
	from := From{Member: n.name, Instance: n.host.Instance}
	w.polled(n.name, out)
	for _, o := range out {
		w.deliver(from, o)
	}
	w.after(n)
}

func (w *world) deliver(from From, o Out) {
	way := [2]fsm.MemberID{from.Member, o.To}
	lost := w.cuts[way]
	w.message(from, o, lost)
	if lost {
		return
	}
	delay := w.netDelay
	if d, ok := w.delays[way]; ok {
		delay = d
	}
	w.at(w.now+delay, func() { w.arrive(from, o) })
}

// arrive hands a message over, when its receiver is awake.
func (w *world) arrive(from From, o Out) {
	to, ok := w.nodes[o.To]
	if !ok || to.p == nil {
		if ack, is := o.Msg.(GoodbyeAck); ok && is && to.guard != nil && ack.Process == to.guard.Process {
			to.guard = nil
			w.printf("%s's guard is done", to.name)
		}
		return
	}
	if to.frozen > w.now {
		w.at(to.frozen, func() { w.arrive(from, o) })
		return
	}
	w.send(to, to.p.Receive(to.local(w.now), from, o.Msg))
}

// after does for a node what the daemon around it would.
func (w *world) after(n *node) {
	if n.frozen > w.now {
		w.at(n.frozen, func() {
			if n.p != nil {
				w.after(n)
			}
		})
		return
	}
	now := n.local(w.now)
	out, wake := n.p.Tick(now)
	if len(out) > 0 {
		w.send(n, out)
		return
	}
	n.wakeSeq++
	seq := n.wakeSeq
	w.at(n.global(wake), func() {
		if n.p != nil && n.wakeSeq == seq {
			w.after(n)
		}
	})
	w.observe(n)
	if n.p.Behind(now) {
		w.changeOver(n)
	}
	if !n.mute {
		if r, ok := n.p.Register(now); ok {
			w.propose(n, fmt.Sprintf("register %x", r.Nonce), r)
		}
	}
	if s, ok := n.p.Settled(now); ok {
		w.propose(n, fmt.Sprintf("settle %s %d", s.Member, s.Epoch), s)
	}
	for _, d := range n.p.Downs(now) {
		w.counted[called{d.Member, d.Epoch}] = true
		w.propose(n, fmt.Sprintf("down %s %d", d.Member, d.Epoch), d)
	}
	for _, g := range n.p.Goodbyes(now) {
		w.propose(n, fmt.Sprintf("goodbye %x %v", g.Process, g.Kept), g)
	}
}
