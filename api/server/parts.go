package server

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

const (
	// maxReaders bounds what agents take here: each a goroutine, a connection and
	// its buffers, some 60 KiB.
	maxReaders = 2000
	// lookEvery is how often it is asked who leads: no entry of the log says so. A
	// command that waits for a leader waits this much longer.
	lookEvery = 50 * time.Millisecond
	// readerPatience is how long a write may hang at least. Who takes nothing for a
	// lease has gone elsewhere by then.
	readerPatience = 2 * time.Second
	// maxSteps is how many changes a reader may be behind by: each keeps two States
	// alive, and the whole Part costs no more than some changes do.
	maxSteps = 16
	// defaultPartLease stands in for a lease that is not agreed on yet.
	defaultPartLease = 300 * time.Millisecond
)

// PartNode is what Parts reads of a node.
type PartNode interface {
	View() (*fsm.State, fsm.Index)
	// Changed is closed once View's index is above after.
	Changed(after fsm.Index) <-chan struct{}
	Leader() (name fsm.MemberID, addr string)
	// Age is how long ago the node last knew itself up to date; below 0: never.
	Age() time.Duration
}

// Parts tells members that have no log of their own what concerns them. What changes
// is found once for all of them; each has a short queue of what it has yet to be told,
// and one that falls behind further is told how things are by then instead.
type Parts struct {
	node     PartNode
	most     int           // readers let in at once
	patience time.Duration // readerPatience
	// building bounds how many Parts are made at one time: after a change that
	// concerns all, or a voter's death, hundreds are due at once, and heartbeats must
	// not wait for them.
	building chan struct{}
	encoder  fsm.PartEncoder

	mu      sync.Mutex
	off     bool
	turn    int // counts what Serve has done
	state   *fsm.State
	at      fsm.Index
	leader  leading
	readers map[fsm.MemberID][]*reader
	in      int
	news    chan struct{} // closed and replaced when any of the above has changed
}

// leading is who leads, as it is told.
type leading struct {
	name fsm.MemberID
	addr string
}

// reader is one member's stream. All but told is under Parts.mu or never changes.
type reader struct {
	member   fsm.MemberID
	instance string
	wake     chan struct{} // capacity 1: there may be something to tell
	over     chan struct{} // closed when it is to end
	queue    []*fsm.Step   // that concern it and that it was not told of
	anew     bool          // there were too many: it is to be told the whole
	told     struct {
		part   fsm.Index // of the last frame with a Part
		spec   fsm.Index // the version of the configuration that it has
		leader leading
	}
}

// NewParts makes a Parts of a node with all of the log; it serves once it runs.
func NewParts(node PartNode) *Parts {
	p := &Parts{
		node: node, most: maxReaders, patience: readerPatience,
		building: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		readers:  map[fsm.MemberID][]*reader{}, news: make(chan struct{}),
	}
	p.state, p.at = node.View()
	return p
}

// Serve lets members read here, or has them go elsewhere. A node that itself reads
// from a stream must be off: it does not have what concerns the others. NewParts is
// on.
func (p *Parts) Serve(on bool) {
	state, at := p.node.View()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off = !on
	p.turn++
	p.state, p.at = state, at
	p.endAll() // what they were told was of another node, or is no longer told
	p.tell()
}

// Readers is how many read here now.
func (p *Parts) Readers() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.in
}

// Run follows the node until ctx ends.
func (p *Parts) Run(ctx context.Context) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		at := p.step()
		select {
		case <-ctx.Done():
			return nil
		case <-p.node.Changed(at):
		case <-look.C:
		}
	}
}

// step takes the node's State and leader in, and wakes whom they concern. Only Run
// calls it; comparing two States keeps nobody waiting.
func (p *Parts) step() fsm.Index {
	p.mu.Lock()
	was, since, turn, idle := p.state, p.at, p.turn, p.in == 0
	p.mu.Unlock()
	state, at := p.node.View()
	var next leading
	next.name, next.addr = p.node.Leader()
	var step *fsm.Step
	if !idle && state != was && at >= since {
		step = state.Step(at, was, since)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.turn != turn:
		return p.at
	case at < since:
		p.endAll() // nobody reads backwards
	case step != nil:
		p.pass(step)
	case state != was:
		p.renew() // who has come in meanwhile
	}
	if p.leader != next {
		p.leader = next
		p.wakeAll()
	}
	if at != since || state != was {
		p.state, p.at = state, at
		p.tell()
	}
	return at
}

func (p *Parts) tell() {
	close(p.news)
	p.news = make(chan struct{})
}

// pass hands a step to all whom it concerns.
func (p *Parts) pass(step *fsm.Step) {
	who, all := step.Concerned()
	if all {
		for _, of := range p.readers {
			enqueue(of, step)
		}
		return
	}
	for _, m := range who {
		enqueue(p.readers[m], step)
	}
}

// renew has everybody told the whole anew.
func (p *Parts) renew() {
	for _, of := range p.readers {
		for _, r := range of {
			r.queue, r.anew = nil, true
			r.nudge()
		}
	}
}

func enqueue(readers []*reader, step *fsm.Step) {
	for _, r := range readers {
		switch {
		case r.anew:
		case len(r.queue) == maxSteps:
			r.queue, r.anew = nil, true
		default:
			r.queue = append(r.queue, step)
		}
		r.nudge()
	}
}

func (p *Parts) wakeAll() {
	for _, of := range p.readers {
		for _, r := range of {
			r.nudge()
		}
	}
}

func (r *reader) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (p *Parts) endAll() {
	for m, of := range p.readers {
		for _, r := range of {
			close(r.over)
		}
		p.in -= len(of)
		delete(p.readers, m)
	}
}

// enter lets a reader in, in place of an older one of the same instance: that one's
// connection is dead, or nobody reads it any more. What it is to be told first is the
// State returned.
func (p *Parts) enter(m fsm.MemberID, instance string) (*reader, present, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.off {
		return nil, present{}, errNoParts
	}
	for _, r := range p.readers[m] {
		if r.instance == instance {
			p.drop(r)
			close(r.over)
			break
		}
	}
	if p.in >= p.most {
		return nil, present{}, &api.Error{
			Code: api.CodeBusy, Message: fmt.Sprintf("%d members read here already, more are not let in", p.in), Hint: "ask another voter",
		}
	}
	r := &reader{member: m, instance: instance, wake: make(chan struct{}, 1), over: make(chan struct{})}
	p.readers[m] = append(p.readers[m], r)
	p.in++
	return r, present{state: p.state, at: p.at, leader: p.leader, anew: true}, nil
}

// leave forgets a reader; it may be forgotten already.
func (p *Parts) leave(r *reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(r)
}

func (p *Parts) drop(r *reader) {
	of := p.readers[r.member]
	for i, o := range of {
		if o == r {
			p.in--
			if p.readers[r.member] = append(of[:i:i], of[i+1:]...); len(of) == 1 {
				delete(p.readers, r.member)
			}
			return
		}
	}
}

// present is how things are, and what of it a reader was not told.
type present struct {
	state  *fsm.State
	at     fsm.Index
	leader leading
	steps  []*fsm.Step
	anew   bool // in place of steps: the whole
}

// take is what there is to tell a reader.
func (p *Parts) take(r *reader) present {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := present{state: p.state, at: p.at, leader: p.leader, steps: r.queue, anew: r.anew}
	r.queue, r.anew = nil, false
	return now
}

// lease is the present lease time.
func (p *Parts) lease() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.state.Spec().Timing.Lease; l > 0 {
		return l
	}
	return defaultPartLease
}
