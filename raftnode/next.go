package raftnode

import (
	"slices"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/placement"
)

// Look is one consistent view of all that a leader decides from.
type Look struct {
	State    *fsm.State
	Now      time.Duration                      // the leader's clock, of any origin; never goes back
	Unix     int64                              // milliseconds, for the commands
	Downs    []fsm.Down                         // those that count now; their moves are empty
	Goodbyes []fsm.Goodbye                      // of processes already called down
	Leased   func(fsm.MemberID, fsm.Epoch) bool // as in Config
}

// Agenda is what one leader remembers from one Look to the next. The zero value
// is that of a leader that has just passed its Barrier; a new leader begins
// with a new one.
type Agenda struct {
	begun    bool
	released bool          // planned moves are not held back (any more)
	ready    time.Duration // since when a majority of the voters-to-be have their vote; -1: not yet
	planned  *fsm.State    // for which moves was computed
	moves    []fsm.Move
	waiting  map[fsm.SystemID]*waiting
}

// waiting is a system's planned moves that its delay holds back.
type waiting struct {
	since time.Duration
	moves []fsm.Move
}

// Next decides what the leader proposes now: nil, or one command that holds the
// cause and the moves. It is called again after each proposal, whenever
// something changed, and at the time it returns (0: not needed). It is pure:
// what it knows comes with the Look, what it remembers is in the Agenda.
//
// First come the Downs, which nothing holds back; what one command cannot carry
// (fsm.MaxMoves) follows as planned moves, which `delay` does not concern since
// their owner is down. Then goodbyes, then who has left for good, then
// the next phase of a rotation of the key, then planned moves.
func Next(a *Agenda, l Look) (fsm.Command, time.Duration) {
	if l.State.Spec().Version == 0 {
		return nil, 0
	}
	if d, ok := nextDown(l); ok {
		return d, l.Now
	}
	if g, ok := nextGoodbye(l); ok {
		return g, l.Now
	}
	if cmd, ok := nextRemoval(l); ok {
		return cmd, l.Now
	}
	if g, ok := nextKey(l); ok {
		return g, l.Now
	}
	if again, held := a.hold(l); held {
		return nil, again
	}
	if a.planned != l.State {
		a.planned, a.moves = l.State, placement.Plan(placement.View{State: l.State}).Moves
	}
	moves, again := a.due(l)
	if len(moves) == 0 {
		return nil, again
	}
	if len(moves) > fsm.MaxMoves {
		moves = moves[:fsm.MaxMoves]
	}
	return fsm.Assign{Moves: moves, At: l.Unix}, l.Now
}

// nextDown is the first Down by name that the State does not refuse, with the
// moves of what that member owns. All members that are to be called down are
// unusable at once, so that nothing moves from one to the next.
func nextDown(l Look) (fsm.Down, bool) {
	unusable := make(map[fsm.MemberID]string)
	var first *fsm.Down
	for i, d := range l.Downs {
		m, ok := l.State.Member(d.Member)
		if !ok || !m.Up || m.Epoch != d.Epoch {
			continue
		}
		unusable[d.Member] = "is down"
		if first == nil || d.Member < first.Member {
			first = &l.Downs[i]
		}
	}
	if first == nil {
		return fsm.Down{}, false
	}
	d := *first
	d.At = l.Unix
	d.Moves = nil
	for _, m := range placement.Plan(placement.View{State: l.State, Unusable: unusable}).Moves {
		if slot, ok := l.State.Slot(m.Key); ok && slot.Owner == d.Member && len(d.Moves) < fsm.MaxMoves {
			d.Moves = append(d.Moves, m)
		}
	}
	return d, true
}

func nextGoodbye(l Look) (fsm.Goodbye, bool) {
	if len(l.Goodbyes) == 0 {
		return fsm.Goodbye{}, false
	}
	return slices.MinFunc(l.Goodbyes, func(x, y fsm.Goodbye) int {
		return strings.Compare(string(x.Member), string(y.Member))
	}), true
}

// hold keeps planned moves back at the start of a leadership that finds nothing
// assigned yet, or most servers down because all were stopped: until a majority
// of the voters-to-be are voters, and then until all have their vote and all
// servers are up, or 2 x slack has passed. Else the first server to come up would
// be given everything, and with the first assignment the votes still to be given
// would have to be spaced (L7).
func (a *Agenda) hold(l Look) (again time.Duration, held bool) {
	spec := l.State.Spec()
	first := !dealt(l.State)
	if !a.begun {
		a.begun, a.ready = true, -1
		a.released = !first && 2*countUp(l.State) > len(expected(l.State))
	}
	if a.released {
		return 0, false
	}
	votes, wanted := countVotes(l.State)
	if a.ready < 0 && 2*votes > wanted {
		a.ready = l.Now
	}
	if a.ready < 0 {
		return 0, true
	}
	until := a.ready + 2*fsm.Slack(spec.Timing.Lease)
	if (votes < wanted || countUp(l.State) < len(expected(l.State))) && l.Now < until {
		return until, true
	}
	a.released = true
	return 0, false
}

// dealt reports whether any slot was ever assigned.
func dealt(s *fsm.State) bool {
	for slot := range s.Slots() {
		if slot.Token != 0 {
			return true
		}
	}
	return false
}

// expected are the servers whose part in the cluster counts: not who is to leave, and
// once anything was dealt, not who was added and has never come.
func expected(s *fsm.State) []fsm.Server {
	founding := !dealt(s)
	var out []fsm.Server
	for id, server := range s.Spec().Servers {
		if _, registered := s.Member(id); !server.Removing && (founding || registered) {
			server.Name = id
			out = append(out, server)
		}
	}
	return out
}

// countUp is how many of them are up.
func countUp(s *fsm.State) int {
	n := 0
	for _, server := range expected(s) {
		if m, ok := s.Member(server.Name); ok && m.Up {
			n++
		}
	}
	return n
}

// countVotes is how many of their voters have their vote.
func countVotes(s *fsm.State) (have, wanted int) {
	for _, server := range expected(s) {
		if !server.Votes() {
			continue
		}
		wanted++
		if s.HasVote(server.Name) {
			have++
		}
	}
	return have, wanted
}

// due are the planned moves that may be proposed now. A system's delay begins
// anew whenever its planned moves change; it holds back only what has an owner
// in service.
func (a *Agenda) due(l Look) (moves []fsm.Move, again time.Duration) {
	held := make(map[fsm.SystemID][]fsm.Move)
	for _, m := range a.moves {
		switch slot, _ := l.State.Slot(m.Key); {
		case m.To == slot.Owner || !inService(l.State, slot.Owner):
			moves = append(moves, m)
		case unready(l, m):
			// The next State may show it settled, the next heartbeat its lease.
		case l.State.Spec().Systems[m.System].Delay == 0:
			moves = append(moves, m)
		default:
			held[m.System] = append(held[m.System], m)
		}
	}
	for id := range a.waiting {
		if len(held[id]) == 0 {
			delete(a.waiting, id)
		}
	}
	for id, now := range held {
		w := a.waiting[id]
		if w == nil || !slices.Equal(w.moves, now) {
			w = &waiting{since: l.Now, moves: now}
			if a.waiting == nil {
				a.waiting = make(map[fsm.SystemID]*waiting)
			}
			a.waiting[id] = w
		}
		until := w.since + l.State.Spec().Systems[id].Delay
		if l.Now >= until {
			moves = append(moves, now...)
		} else if again == 0 || until < again {
			again = until
		}
	}
	slices.SortStableFunc(moves, func(x, y fsm.Move) int { return x.Compare(y.Key) })
	return moves, again
}

// inService reports whether a member holds what it owns and goes on to.
func inService(s *fsm.State, id fsm.MemberID) bool {
	m, ok := s.Member(id)
	return ok && m.Up && !m.Leaving
}

// unready reports whether a move would take an at-most-one item from an owner
// in service and give it to a member that may hold nothing yet: it is not settled
// (L6), or has just registered and waits for its first lease.
func unready(l Look, m fsm.Move) bool {
	to, ok := l.State.Member(m.To)
	if !ok || l.State.Spec().Systems[m.System].Guarantee != fsm.AtMostOne {
		return false
	}
	return !to.Settled || l.Leased != nil && !l.Leased(m.To, to.Epoch)
}
