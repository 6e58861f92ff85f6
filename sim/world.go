package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
)

// World is one simulated cluster. The caller drives it with Run; whatever is to
// happen at a later time is given to At or After before.
type World struct {
	now   time.Duration // true time
	seq   uint64        // makes events at the same instant run in the order they were made
	queue eventQueue
	rng   *rand.Rand

	net       network
	log       replicatedLog
	machines  []*Machine
	procs     []*Process // those that run, oldest first
	guards    []*Guard   // likewise
	seats     []*seat
	started   int            // processes so far
	names     []fsm.MemberID // all that there may ever be
	rotations int            // of the key
	checker   checker
	cfg       Config

	// Filter may delay or drop (false) a datagram; nil: none is looked at.
	Filter func(from, to fsm.MemberID, msg liveness.Message) (time.Duration, bool)
	// Intercept is shown each command that a member sends to the leader; it keeps
	// those it answers true for. nil: none.
	Intercept func(from *Process, c fsm.Command) bool

	// Count is what has happened so far.
	Count Counters

	trace []string
}

// Config is what a World is made of.
type Config struct {
	Seed   uint64
	Voters []fsm.MemberID // the first members' names; each is a voter
	// Others are who else there may be: agents, and who is added later. Only then do
	// members come and go, and change their roles.
	Others []fsm.MemberID
	Spec   fsm.Spec
	Gate   bool    // machines have the virtual gate
	Guard  bool    // daemons have guards
	Drift  bool    // clocks run at their own rates; else all at 1
	Rules  Without // what the shipped packages leave out
	Trace  bool
	// Manual leaders commit no probes, make no planned moves and change no voters:
	// a script does.
	Manual bool
	// Steady: nothing goes wrong, so no lease may end.
	Steady bool
	// Changes: they change voters all the same, as the configuration says.
	Changes bool
	// HoldersOnly: reports are not compared with the truth, so that a rule's
	// script shows what comes of them.
	HoldersOnly bool

	// Hook decides how long an effect takes and how it ends; nil: 5 ms, well.
	Hook func(w *World, p *Process, e Effect) Outcome
	// Dying is how long a killed process takes to be gone; nil: no time.
	Dying func(w *World) time.Duration
	// Starve decides for how long a thread that opens or renews the gate, or does an effect, stands
	// still at one place, other threads of its process going on; nil: it never does.
	Starve func(w *World, p *Process, at GateStep) time.Duration
	// Linger > 0: every address is removed so much after its time; else drawn.
	Linger time.Duration
}

// Without is what the shipped packages are told to leave out.
type Without struct {
	FSM      fsm.Rule
	Liveness liveness.Rule
	Actions  actions.Rule
	// OwnersRestored: Restore brings back who owned what, too.
	OwnersRestored bool
	// GateReread: the lease is read before the fuse is set, and not again.
	GateReread bool
	// GateFuse: a call counts however late it comes.
	GateFuse bool
	// GateClear: the gate opens whatever is up behind it.
	GateClear bool
	// GoodbyeOpen: a goodbye is said with the gate open.
	GoodbyeOpen bool
	// GuardKill: a guard takes its daemon for dead instead of killing it.
	GuardKill bool
	// GuardEndRuns: a guard lets the daemon's hooks run.
	GuardEndRuns bool
	// ToldBefore: the list and the guard are told of an effect when it has ended.
	ToldBefore bool
	// ListLost: the list is gone with the processes that wrote it.
	ListLost bool
	// ListOfInstance: what a data directory's list says is lost with the directory.
	ListOfInstance bool
	// UpUnlisted: what is up is let go of at the start, at-least-one or not.
	UpUnlisted bool
	// OrphansRun: a starting process leaves the hooks of a former one alone.
	OrphansRun bool
	// Lock: a process starts whatever else has its data directory open.
	Lock bool
	// ViewsForward: an agent reads on from any voter, however little that one has read.
	ViewsForward bool
	// KeyAcks: a phase of a key's rotation begins before all have acknowledged the last.
	KeyAcks bool
	// Bets: an eighth of the time bet on.
	Bets bool
}

// New makes the World and its log; no process runs yet.
func New(cfg Config) *World {
	w := &World{cfg: cfg, names: slices.Concat(cfg.Voters, cfg.Others), rng: rand.New(rand.NewPCG(cfg.Seed, 0x666c6970))}
	w.net.init(w)
	w.checker.init(w)
	w.log.init(w)
	return w
}

// Now is the true time.
func (w *World) Now() time.Duration { return w.now }

// At has fn run at a true time; one in the past runs next.
func (w *World) At(at time.Duration, fn func()) {
	w.seq++
	w.queue.push(event{at: max(at, w.now), seq: w.seq, fn: fn})
}

// After has fn run d from now.
func (w *World) After(d time.Duration, fn func()) { w.At(w.now+d, fn) }

// Run runs all events up to the true time given, or until a violation is found.
func (w *World) Run(until time.Duration) {
	for w.checker.found == nil && len(w.queue) > 0 && w.queue[0].at <= until {
		e := w.queue.pop()
		w.now = e.at
		e.fn()
	}
	if w.checker.found == nil {
		w.now = max(w.now, until)
	}
}

// RunUntil runs until cond holds, looked at after every event, and says whether
// it did before the true time given.
func (w *World) RunUntil(until time.Duration, cond func() bool) bool {
	for w.checker.found == nil && !cond() {
		if len(w.queue) == 0 || w.queue[0].at > until {
			w.now = max(w.now, until)
			return false
		}
		e := w.queue.pop()
		w.now = e.at
		e.fn()
	}
	return w.checker.found == nil
}

// Violation is what the checker found first; nil: nothing.
func (w *World) Violation() error {
	if w.checker.found == nil {
		return nil
	}
	return w.checker.found
}

// Trace is what happened, a line each, if Config.Trace was set.
func (w *World) Trace() []string { return w.trace }

// tracef notes one thing that happened. Callers on hot paths look at cfg.Trace
// first: boxing the arguments costs more than the rest of an event.
func (w *World) tracef(format string, args ...any) {
	if w.cfg.Trace {
		w.trace = append(w.trace, fmt.Sprintf("%9.3f ", float64(w.now)/float64(time.Millisecond))+fmt.Sprintf(format, args...))
	}
}

// between draws a duration evenly from [lo, hi].
func (w *World) between(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(w.rng.Int64N(int64(hi-lo)+1))
}

// chance is true with probability p.
func (w *World) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

type event struct {
	at  time.Duration
	seq uint64
	fn  func()
}

// eventQueue is a binary heap, earliest first. container/heap would box every
// event.
type eventQueue []event

func (q event) before(o event) bool { return q.at < o.at || q.at == o.at && q.seq < o.seq }

func (q *eventQueue) push(e event) {
	h := append(*q, e)
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !h[i].before(h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
	*q = h
}

func (q *eventQueue) pop() event {
	h := *q
	top := h[0]
	last := len(h) - 1
	h[0] = h[last]
	h[last] = event{}
	h = h[:last]
	for i := 0; ; {
		least, l := i, 2*i+1
		if l < len(h) && h[l].before(h[least]) {
			least = l
		}
		if l+1 < len(h) && h[l+1].before(h[least]) {
			least = l + 1
		}
		if least == i {
			break
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
	*q = h
	return top
}
