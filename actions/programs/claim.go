package programs

import (
	"errors"
	"fmt"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Item is what a program says it has, or may have.
type Item struct {
	ID    fsm.ItemID
	Rank  int
	Token fsm.Token
	Given uint64 // the event by which it took it, or is taking it
	Taken bool   // it has acknowledged that
	// Told is a release of it that it has read and not acknowledged; 0: none.
	Told uint64
}

// Claim is a program's claim of a system.
type Claim struct {
	System  fsm.SystemID
	Session string // the program's own name for the claim
	Name    string
	Read    uint64 // the last event that it has read; 0: none
	Items   []Item // of a claim that goes on
	// Again: it counts only if it goes on.
	Again bool
}

// Taken is the error of a claim that another program has.
type Taken struct {
	System fsm.SystemID
	By     string
	Self   bool // by another claim of the same program
}

// Error implements error.
func (t *Taken) Error() string {
	if t.Self {
		return fmt.Sprintf("this program has claimed %s already", t.System)
	}
	return fmt.Sprintf("%s has claimed %s", t.By, t.System)
}

// ErrNoClaim says that a session is none of this daemon's, or not the asker's.
var ErrNoClaim = errors.New("no such claim")

// Claim gives a system to a program, or goes on with its claim, and answers with the
// stream of what it is told. The Driver has the process from then on, unless there is
// an error.
func (d *Driver) Claim(proc Process, c Claim) (*Stream, error) {
	d.mu.Lock()
	defer d.unlock()
	y := d.system(c.System)
	h := y.holder
	switch {
	case h == nil && c.Again:
		return nil, ErrNoClaim
	case h == nil:
		if err := d.cfg.Register.add(Entry{System: c.System, Session: c.Session, Name: c.Name, ProcessID: proc.ID()}); err != nil {
			return nil, err
		}
		h = d.hold(y, proc, claim{c.System, c.Session, c.Name})
		h.resumes = c.Read > 0
		d.notice = true
		d.cfg.Log.Info().Str("system", string(y.id)).Stringer("program", h).Int("items", len(c.Items)).Msg("a program has claimed the system")
	case h.proc.ID() != proc.ID():
		return nil, &Taken{System: c.System, By: h.String()}
	case h.session != c.Session:
		return nil, &Taken{System: c.System, By: h.String(), Self: true}
	case proc != h.proc:
		_ = proc.Close() // it is watched already
	}
	if h.stream != nil {
		h.stream.end()
	}
	h.stream = newStream(d, h)
	if h.resumes {
		h.resumes = false
		h.seq = max(h.seq, c.Read)
		d.reconcile(y, c.Items)
	} else {
		h.again(c.Read)
		d.compare(y, c)
	}
	return h.stream, nil
}

// hold makes a program the one that has a system, to be watched by Run.
func (d *Driver) hold(y *system, proc Process, c claim) *holder {
	h := &holder{claim: c, proc: proc, over: make(chan struct{})}
	y.holder = h
	d.waiting = append(d.waiting, h)
	select {
	case d.wake <- struct{}{}:
	default:
	}
	return h
}

// reconcile takes a program's own account of what it got from a former daemon. What
// that one's list does not name it is to let go of.
func (d *Driver) reconcile(y *system, items []Item) {
	said := map[fsm.Key]bool{}
	for i := range items {
		it := &items[i]
		k := fsm.Key{System: y.id, Item: it.ID, Rank: it.Rank}
		said[k] = true
		s := y.slot(k)
		if s.event != nil { // it was to be told to take what it has
			y.retract(s.event)
		}
		listed, wanted := s.phase == maybe, s.token
		s.token, s.given = it.Token, it.Given
		switch {
		case it.Told != 0:
			s.event = y.holder.awaits(s, it.Told, Event{Kind: Release, Key: k})
			s.turn(releasing)
		case !listed:
			s.event = d.releaseEvent(&fsm.Job{Key: k, Reason: "this node does not know that it was assigned here"}, s)
			s.turn(releasing)
			y.holder.tell(s.event)
		case !it.Taken:
			s.event = y.holder.awaits(s, it.Given, Event{Kind: Acquire, Key: k, Token: it.Token})
			s.turn(acquiring)
		default:
			s.turn(held)
			d.renew(y, s, &fsm.Job{Key: k, Token: wanted, AtMostOne: s.atMostOne, Reason: "held on by a new daemon"})
		}
	}
	for k, s := range y.slots {
		if s.phase == maybe && !said[k] {
			d.gone(y, k, s)
		}
	}
}

// awaits has an event that the program has read from another daemon acknowledged to
// this one.
func (h *holder) awaits(s *slot, seq uint64, e Event) *event {
	e.Seq = seq
	out := &event{e, s}
	at := 0
	for at < len(h.sent) && h.sent[at].Seq < seq {
		at++
	}
	h.sent = append(h.sent[:at:at], append([]*event{out}, h.sent[at:]...)...)
	return out
}

// compare finds what the program does not have any more of all that it was told to
// take, and has read that.
func (d *Driver) compare(y *system, c Claim) {
	said := map[fsm.Key]uint64{}
	for _, it := range c.Items {
		said[fsm.Key{System: y.id, Item: it.ID, Rank: it.Rank}] = it.Given
	}
	for k, s := range y.slots {
		has := s.phase == held || s.phase == acquiring && s.given != 0
		if has && s.given <= c.Read && said[k] != s.given {
			d.gone(y, k, s)
		}
	}
}

// Ack is what a program has done.
type Ack struct {
	Session string
	Seqs    []uint64
	Gone    []Item // let go of unasked
	Leave   bool   // it has let go of everything and claims no longer
}

// Acked answers an Ack.
type Acked struct {
	Lease time.Duration // what is left of it
	Again time.Duration // when to ask again, at the latest
}

const (
	// A program asks four times within a lease; where there is none it asks often
	// enough to learn soon that one has begun.
	asksInLease = 4
	leastAgain  = 5 * time.Millisecond
	mostAgain   = 250 * time.Millisecond
)

// Ack takes in what a program has done. An empty one only asks for the lease.
func (d *Driver) Ack(from ProcessID, a Ack) (Acked, error) {
	d.mu.Lock()
	defer d.unlock()
	y := d.claimed(a.Session)
	if y == nil || y.holder.proc.ID() != from || y.holder.resumes && !a.Leave {
		return Acked{}, ErrNoClaim
	}
	for _, seq := range a.Seqs {
		if e := y.holder.acked(seq); e != nil {
			d.done(y, e)
		}
	}
	for _, it := range a.Gone {
		k := fsm.Key{System: y.id, Item: it.ID, Rank: it.Rank}
		if s := y.slots[k]; s != nil && s.given == it.Given && (s.phase == held || s.phase == acquiring) {
			d.gone(y, k, s)
		}
	}
	if a.Leave {
		d.ended(y, "the program has left")
	}
	left, ok := d.cfg.Lease()
	if !ok || left <= 0 {
		return Acked{Again: mostAgain / 5}, nil
	}
	return Acked{Lease: left.Truncate(time.Millisecond), Again: min(max(left/asksInLease, leastAgain), mostAgain)}, nil
}

func (d *Driver) claimed(session string) *system {
	for _, y := range d.systems {
		if y.holder != nil && y.holder.session == session {
			return y
		}
	}
	return nil
}

// done takes note of an event that the program has acknowledged. One that another has
// taken the place of changes nothing.
func (d *Driver) done(y *system, e *event) {
	s := y.slots[e.Key]
	if s == nil || s.event != e {
		return
	}
	s.event = nil
	switch {
	case e.Kind == Acquire && s.phase == acquiring:
		s.turn(held)
	case e.Kind == Release && s.phase == releasing:
		d.free(e.Key, s)
	}
}

// Inherit takes note, before anything is acquired or claimed, of what a former daemon
// has left and of the programs that may have it: held counts as held by the Executor,
// gone is to be let go of.
func (d *Driver) Inherit(programs []Former, held, gone []fsm.Job) {
	d.mu.Lock()
	defer d.unlock()
	for _, p := range programs {
		h := d.hold(d.system(p.System), p.Process, claim{p.System, p.Session, p.Name})
		h.resumes = true
	}
	inherit := func(jobs []fsm.Job, believed bool) {
		for i := range jobs {
			j := &jobs[i]
			if j.Action != fsm.ActionClient {
				continue
			}
			y := d.system(j.System)
			s := y.slot(j.Key)
			s.token, s.atMostOne, s.believed = j.Token, j.AtMostOne, s.believed || believed
			if y.holder != nil {
				s.phase = maybe
			} else {
				s.lost = s.believed
			}
		}
	}
	inherit(held, true)
	inherit(gone, false)
}
