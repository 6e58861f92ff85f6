package sim

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Violation is a broken promise, found at a true time.
type Violation struct {
	At   time.Duration
	Kind Kind
	Text string
}

// Kind tells violations apart.
type Kind string

// What the checker looks for.
const (
	TwoHolders Kind = "two holders"
	Gap        Kind = "gap"
	BadState   Kind = "bad state"
	Diverged   Kind = "replicas differ"
	Stuck      Kind = "stuck"
	// Lapsed is a lease that ended although nothing went wrong.
	Lapsed Kind = "a lease has ended"
	// FalseReport is a report that was not true when sent.
	FalseReport Kind = "false report"
	// TwoRanks are two copies of an item on one machine.
	TwoRanks Kind = "two ranks"
	// Restless is an item that is moved more often than it may be.
	Restless Kind = "moved too often"
)

func (v *Violation) Error() string { return fmt.Sprintf("%v: %s: %s", v.At, v.Kind, v.Text) }

// checker knows the truth and looks at every event.
type checker struct {
	w      *World
	found  *Violation
	states []*applied // by index - 1
	// forced holds are excepted: somebody bet on them.
	forced map[machineKey]fsm.Token
	// had are the newest tokens under which a machine really held an item.
	had map[machineKey]fsm.Token
}

type machineKey struct {
	machine string
	key     fsm.Key
}

// applied is the state every replica must have at one index.
type applied struct {
	state *fsm.State
	res   fsm.Result
	bytes []byte
}

// at is what was reached at an index; nil: nobody has been there.
func (c *checker) at(i fsm.Index) *applied {
	if i > fsm.Index(len(c.states)) {
		return nil
	}
	return c.states[i-1]
}

// due says whether every process applies what is at an index, and the states are
// compared. Elsewhere they share the first one's: that Apply gives the same is
// tested in fsm, and here takes most of the time.
func (c *checker) due(at fsm.Index) bool { return at%bytesEvery == 0 }

func (c *checker) init(w *World) {
	c.w, c.forced, c.had = w, map[machineKey]fsm.Token{}, map[machineKey]fsm.Token{}
}

func (c *checker) fail(kind Kind, format string, args ...any) {
	if c.found == nil {
		c.found = &Violation{At: c.w.now, Kind: kind, Text: fmt.Sprintf(format, args...)}
		c.w.tracef("VIOLATION %s", c.found.Text)
	}
}

// newest is the state at the highest index that anybody has applied.
func (c *checker) newest() *fsm.State {
	for i := len(c.states) - 1; i >= 0; i-- {
		if c.states[i] != nil {
			return c.states[i].state
		}
	}
	return fsm.New()
}

// held looks at an item that one more machine may hold, or holds under a newer
// token, from now on.
func (c *checker) held(m *Machine, h *Hold) {
	if m.effective(h.Key) == nil {
		return
	}
	c.ranks(m, h)
	for _, o := range c.w.machines {
		other := o.effective(h.Key)
		if o == m || other == nil {
			continue
		}
		// What counts is the guarantee of the newer token: an item that became
		// at-least-one may be taken over while the old holder still has it.
		guarantee := h.AtMostOne
		if other.Token > h.Token {
			guarantee = other.AtMostOne
		} else if other.Token == h.Token {
			guarantee = h.AtMostOne || other.AtMostOne
		}
		if !guarantee || c.excepted(m, h) || c.excepted(o, other) {
			continue
		}
		if lostBet(m, h, o, other) {
			c.w.Count.add(BetsLost)
			c.w.tracef("a bet on %s/%s is lost", h.System, h.Item)
			continue
		}
		c.fail(TwoHolders, "%s/%s is held by %s (%s, token %d) and by %s (%s, token %d)",
			h.System, h.Item, m.Name, h.Member, h.Token, o.Name, other.Member, other.Token)
		return
	}
}

// lostBet says whether the older one of two holders was bet upon, and what the bet
// assumes has failed: that its guard lives and that `down` succeeds.
func lostBet(m *Machine, h *Hold, o *Machine, other *Hold) bool {
	older, newer, at := other, h, o
	if other.Token > h.Token {
		older, newer, at = h, other, m
	}
	if older.Action != fsm.ActionHooks || !older.lost && (!newer.bet || !older.excused && !at.stunned()) {
		return false
	}
	older.lost = true
	return true
}

func (c *checker) excepted(m *Machine, h *Hold) bool {
	upTo, ok := c.forced[machineKey{m.Name, h.Key}]
	return ok && h.Token <= upTo
}

// acquired notes an `alive` that ended well.
func (c *checker) acquired(m *Machine, h *Hold) {
	mk := machineKey{m.Name, h.Key}
	c.had[mk] = max(c.had[mk], h.Token)
}

// reported looks at a report as it is sent: it must be true.
func (c *checker) reported(p *Process, r fsm.Report) {
	if c.w.cfg.HoldersOnly {
		return
	}
	m := p.machine
	for _, claim := range r.Acquired {
		h := m.holds[claim.Key]
		if h == nil || !h.OK {
			c.fail(FalseReport, "%s reports %s/%s@%d acquired, and its kernel does not have it", p.ID(), claim.System, claim.Item, claim.Token)
			return
		}
		if claim.Token != h.Token {
			c.fail(FalseReport, "%s reports %s/%s acquired under %d, and has it under %d", p.ID(), claim.System, claim.Item, claim.Token, h.Token)
		}
	}
	for _, claim := range slices.Concat(r.Released, r.Swept) {
		if h := m.holds[claim.Key]; h != nil && h.Token <= claim.Token && claim.Member == p.Name {
			c.fail(FalseReport, "%s reports %s/%s@%d released, and its kernel has it under %d", p.ID(), claim.System, claim.Item, claim.Token, h.Token)
		}
	}
}

// releasing looks at an item that a process in its right mind decides to let go of.
// If it was the last one to have an at-least-one item, the owner by the log as
// far as this process has read it must have had it by now: a fault may have
// taken it away again since, that is no planned move.
func (c *checker) releasing(p *Process, h *Hold) {
	if !h.OK || h.AtMostOne || p.stop.releasing || p.failing[h.Key] {
		return
	}
	if p.unfit(&fsm.Job{Action: h.Action}) != "" {
		return // nobody reaches it
	}
	slot, ok := c.newest().Slot(h.Key)
	if !ok || slot.Owner == "" || slot.AtMostOne {
		return
	}
	own, ok := p.state.Slot(h.Key)
	if !ok || own.AtMostOne || own.Owner == "" || p.state.Job(own).Action != h.Action {
		return // made true in another way from now on
	}
	if f, failed := c.newest().FailureOf(p.Name, h.Key); failed && f.Token <= h.Token {
		return
	}
	if rank, owns := p.state.OwnsAny(p.Name, h.System, h.Item); owns && rank < h.Rank {
		return // it takes a lower rank, and lets go of this one whoever has it next
	}
	for _, o := range c.w.machines {
		other := o.holds[h.Key]
		if o != p.machine && (other != nil && other.OK || c.had[machineKey{o.Name, h.Key}] >= own.Token) {
			return
		}
	}
	c.fail(Gap, "%s lets go of %s/%s (token %d) although nobody has had it under token %d of %s",
		p.ID(), h.System, h.Item, h.Token, own.Token, own.Owner)
}

// bytesEvery is how often the states of two replicas are compared in full: it
// costs more than all else.
const bytesEvery = 32

// applied looks at a state that a process has reached.
func (c *checker) applied(p *Process, at fsm.Index, s *fsm.State, res fsm.Result) {
	for fsm.Index(len(c.states)) < at {
		c.states = append(c.states, nil)
	}
	first := c.states[at-1]
	if first == nil {
		first = &applied{state: s, res: res}
		c.states[at-1] = first
		if err := fsm.Check(s); err != nil {
			c.fail(BadState, "at index %d: %v", at, err)
		}
		return
	}
	if first.state == s {
		return
	}
	if first.bytes == nil {
		first.bytes = encode(first.state)
	}
	if !bytes.Equal(first.bytes, encode(s)) {
		c.fail(Diverged, "%s at index %d", p.ID(), at)
	}
}

// took looks at what an agent has made of the Parts it was sent: of some it asks all that
// an agent asks, and compares with the whole State.
func (c *checker) took(p *Process, at fsm.Index) {
	if at == 0 || at%partsEvery != 0 {
		return
	}
	whole := c.at(at)
	epoch, machine := p.live.Epoch(), p.machine.Name
	have, want := p.state.Slice(p.Name, epoch, machine, at), whole.state.Slice(p.Name, epoch, machine, at)
	if !reflect.DeepEqual(have, want) {
		c.fail(Diverged, "%s at index %d: its Parts give the slice %+v, the whole State %+v", p.ID(), at, have, want)
	}
}

// partsEvery is at which indexes a slice of Parts is compared.
const partsEvery = 4

func encode(s *fsm.State) []byte {
	var b bytes.Buffer
	if err := s.Write(&b); err != nil {
		return []byte(err.Error())
	}
	return b.Bytes()
}

// forcing notes the claims of a Force that was applied to the state before it.
func (c *checker) forcing(before *fsm.State, f fsm.Force) {
	for _, claim := range f.Claims {
		slot, ok := before.Slot(claim.Key)
		if !ok {
			continue
		}
		for _, e := range slot.Outstanding {
			if e.Member == claim.Member && e.Epoch == claim.Epoch && e.Token == claim.Token {
				mk := machineKey{e.Host.Machine, claim.Key}
				c.forced[mk] = max(c.forced[mk], e.Token)
			}
		}
	}
}

// Compare looks at the last states of all processes that run: at equal indexes
// equal bytes.
func (w *World) Compare() {
	byIndex := map[fsm.Index][]byte{}
	for _, p := range w.procs {
		if p.raft == nil {
			continue
		}
		b := encode(p.raft.state)
		if have, ok := byIndex[p.raft.at]; ok && !bytes.Equal(have, b) {
			w.checker.fail(Diverged, "%s at index %d", p.ID(), p.raft.at)
		}
		byIndex[p.raft.at] = b
	}
}

// Unfinished says in words what keeps the cluster from rest: a slot without an
// owner that really holds it. "" when all is well.
func (w *World) Unfinished() string {
	if w.log.leader == nil || !w.log.leader.leading {
		return "no leader"
	}
	s := w.checker.newest()
	var wrong []string
	for id, sys := range s.Spec().Systems {
		if sys.Split != fsm.Shard && sys.Split != fsm.ChooseOne {
			continue
		}
		for _, item := range sys.Items {
			for rank := range min(sys.Ranks(), w.placeable(s, id)) {
				if bad := w.unfinished(s, fsm.Key{System: id, Item: item.ID, Rank: rank}); bad != "" {
					wrong = append(wrong, bad)
				}
			}
		}
	}
	wrong = append(wrong, w.misplaced(s)...)
	slices.Sort(wrong)
	return strings.Join(wrong, "; ")
}

func (w *World) unfinished(s *fsm.State, k fsm.Key) string {
	slot, ok := s.Slot(k)
	m, _ := s.Member(slot.Owner)
	switch {
	case !ok || slot.Owner == "":
		return fmt.Sprintf("%s has no owner", slotName(k))
	case !m.Up:
		return fmt.Sprintf("%s: its owner %s is down", slotName(k), slot.Owner)
	}
	if _, failed := s.FailureOf(slot.Owner, k); failed {
		return "" // hooks that fail are excepted
	}
	p := w.running(slot.Owner)
	switch {
	case p == nil:
		return fmt.Sprintf("%s: its owner %s does not run", slotName(k), slot.Owner)
	case slot.Acquired == 0 || slot.AtMostOne && slot.Acquired != m.Epoch:
		return fmt.Sprintf("%s: %s has not acquired it (outstanding %v)", slotName(k), slot.Owner, slot.Outstanding)
	case !p.machine.Holds(k):
		return fmt.Sprintf("%s: acquired by %s says the log, and its kernel does not hold it", slotName(k), slot.Owner)
	}
	return ""
}
