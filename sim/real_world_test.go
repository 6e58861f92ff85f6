package sim_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
	"github.com/flip-ha/flip/sim"
)

// The lease time of all these tests: the preset lan.
const (
	ttl   = 300 * time.Millisecond
	slack = ttl * 11 / 10
	// rest is the project's promise: every slot has its owner within this after
	// the last heal.
	rest = 8*ttl + 5*time.Second
)

// rules are mechanisms left out, to see that the checks find it.
type rules struct {
	liveness  liveness.Rule
	unblocked bool // acquire whatever is outstanding
	leaseless bool // the executor and the gate take a lease for granted
	blind     bool // nobody is ever called down
	abrupt    bool // a stop hands nothing over
	gullible  bool // whoever has a member's port is taken for it
	strangers bool // everybody's file names other voters
}

// world is a cluster of whole nodes in one bubble: real Raft, sealed datagrams,
// the shipped executor. Raft draws from the global math/rand, so a seed does not
// replay exactly; a failure prints what happened.
type world struct {
	t      *testing.T
	spec   fsm.Spec
	net    *network
	rules  rules
	log    zerolog.Logger
	rng    *rand.Rand // of the test's own goroutine
	serial atomic.Uint64
	began  time.Time

	disks    map[fsm.MemberID]*disk
	machines map[fsm.MemberID]*machine

	mu      sync.Mutex // guards the rest and the machines
	chance  *rand.Rand // of the hooks
	hooks   func(*world) outcome
	nodes   map[fsm.MemberID]*node // the newest process of each member
	calls   int                    // of hooks
	trace   []string
	found   string // the first violation
	digests map[fsm.Index][32]byte
	history []fsm.Index // at which something was agreed that the journal names
	looked  map[*node]fsm.Index
	tight   bool // no at-least-one item may be without a holder, for a moment even
}

// bubble runs f on n voters under a virtual clock. A violation of what is
// checked throughout fails the test, unless rules were left out: then f looks at
// it itself.
func bubble(t *testing.T, seed uint64, n int, left rules, f func(*testing.T, *world)) {
	t.Helper()
	keys()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seed, n, left)
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.watch(stop)
		}()
		defer func() {
			w.killAll()
			close(stop)
			<-done
			if w.violation() != "" && left == (rules{}) {
				t.Error(w.violation())
			}
			if t.Failed() {
				t.Log(w.story())
			}
		}()
		f(t, w)
	})
}

func newWorld(t *testing.T, seed uint64, n int, left rules) *world {
	spec := sim.NewSpec(sim.Names(n), ttl, systems(4)...)
	w := &world{
		t: t, spec: spec, net: newNetwork(seed, spec), rules: left, began: time.Now(),
		rng: rand.New(rand.NewPCG(seed, 1)), chance: rand.New(rand.NewPCG(seed, 3)), hooks: quick,
		disks: map[fsm.MemberID]*disk{}, machines: map[fsm.MemberID]*machine{}, nodes: map[fsm.MemberID]*node{},
		digests: map[fsm.Index][32]byte{}, looked: map[*node]fsm.Index{},
	}
	w.net.gullible = left.gullible
	w.log = zerolog.New(logger{w}).Level(zerolog.InfoLevel)
	for _, m := range w.names() {
		w.machines[m] = w.newMachine(m)
		w.wipe(m)
	}
	return w
}

// logger puts what the nodes log into the trace.
type logger struct{ w *world }

// Write implements io.Writer.
func (l logger) Write(b []byte) (int, error) {
	if traceLogs {
		l.w.event("%s", bytes.TrimSpace(b))
	}
	return len(b), nil
}

// traceLogs puts the nodes' logs into the trace too: a long read.
var traceLogs = os.Getenv("FLIP_REAL_LOG") != ""

// names are all members, sorted.
func (w *world) names() []fsm.MemberID { return sim.Names(len(w.spec.Servers)) }

// wipe gives a member an empty data directory.
func (w *world) wipe(m fsm.MemberID) {
	w.disks[m] = &disk{
		instance: fmt.Sprintf("i%d", w.serial.Add(1)), store: raft.NewInmemStore(), snaps: raft.NewInmemSnapshotStore(),
	}
}

func (w *world) add(p *node) {
	w.net.open(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[p.name] = p
	w.note("start %s", p.id())
}

// ended notes a process that has gone; nobody ends by himself.
func (w *world) ended(p *node) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.looked, p)
	w.note("%s has ended: %v", p.id(), p.err)
	if p.err != nil {
		w.violated("%s ended by itself: %v", p.id(), p.err)
	}
}

// note adds to the trace; w.mu is held.
func (w *world) note(format string, args ...any) {
	at := time.Since(w.began)
	w.trace = append(w.trace, fmt.Sprintf("%8.3f ", at.Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) event(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(format, args...)
}

// violated keeps the first violation; w.mu is held.
func (w *world) violated(format string, args ...any) {
	if w.found == "" {
		w.found = fmt.Sprintf("%.3f: ", time.Since(w.began).Seconds()) + fmt.Sprintf(format, args...)
		w.note("VIOLATION %s", w.found)
	}
}

func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violated(format, args...)
}

func (w *world) violation() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.found
}

// story is the trace's end, for a failed test.
func (w *world) story() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	const lines = 600
	from := max(0, len(w.trace)-lines)
	return "what happened:\n" + strings.Join(w.trace[from:], "\n")
}

// alive is a member's process if it runs.
func (w *world) alive(m fsm.MemberID) *node {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.nodes[m]; p != nil && !p.dead() {
		return p
	}
	return nil
}

// running are all processes that run, by name.
func (w *world) running() []*node {
	var out []*node
	for _, m := range w.names() {
		if p := w.alive(m); p != nil {
			out = append(out, p)
		}
	}
	return out
}

// halt kills a process and waits until nothing is left of it.
func (w *world) halt(p *node) {
	p.kill()
	<-p.ended
}

func (w *world) killAll() {
	for _, p := range w.running() {
		p.kill()
	}
	w.mu.Lock()
	var all []*node
	for _, p := range w.nodes {
		all = append(all, p)
	}
	w.mu.Unlock()
	for _, p := range all {
		<-p.ended
	}
}

// terminate asks a process to stop in order.
func (w *world) terminate(p *node) {
	if !closed(p.told) {
		close(p.told)
	}
}

// within waits for a condition and says whether it came.
func (w *world) within(d time.Duration, cond func() bool) bool {
	for end := time.Now().Add(d); ; time.Sleep(5 * time.Millisecond) {
		if cond() {
			return true
		}
		if !time.Now().Before(end) {
			return false
		}
	}
}

// until is within for what must come.
func (w *world) until(d time.Duration, what string, cond func() bool) {
	w.t.Helper()
	if !w.within(d, cond) {
		w.t.Fatalf("not within %v: %s; %s", d, what, w.unfinished())
	}
}

// leader is the process that leads by its own account and that a majority
// follows; nil: none.
func (w *world) leader() *node {
	votes := map[fsm.MemberID]int{}
	for _, p := range w.running() {
		if name, _ := p.raft.Leader(); name != "" {
			votes[name]++
		}
	}
	for name, n := range votes {
		p := w.alive(name)
		if p != nil && 2*n > len(w.spec.Servers) {
			if own, _ := p.raft.Leader(); own == name {
				return p
			}
		}
	}
	return nil
}

// newest is the State at the highest index that a running process has.
func (w *world) newest() (*fsm.State, fsm.Index) {
	best, at := fsm.New(), fsm.Index(0)
	for _, p := range w.running() {
		if s, i := p.raft.View(); i > at {
			best, at = s, i
		}
	}
	return best, at
}

// equal reports whether all running processes have applied the same.
func (w *world) equal() bool {
	_, newest := w.newest()
	return !slices.ContainsFunc(w.running(), func(p *node) bool {
		_, at := p.raft.View()
		return at != newest
	})
}

// boot starts all members at once and waits until the cluster works.
func (w *world) boot() {
	w.t.Helper()
	for _, m := range w.names() {
		w.start(m)
	}
	w.until(20*time.Second, "the cluster works", w.settled)
	time.Sleep(3 * slack) // everybody grants and votes
}
