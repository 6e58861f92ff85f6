package raftnode

import (
	"slices"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Look is one consistent view of all that a leader decides from.
type Look struct {
	State    *fsm.State
	Now      time.Duration                      // the leader's clock, of any origin; never goes back
	Unix     int64                              // milliseconds, for the commands
	Downs    []fsm.Down                         // those that count now; their moves are empty
	Goodbyes []fsm.Goodbye                      // of processes already called down
	Leased   func(fsm.MemberID, fsm.Epoch) bool // as in Config
	// Seen is this server's, by the same clock; nil: the Agenda begins its own.
	Seen *Sightings
}

// Next decides what the leader proposes now: nil, or one command that holds the
// cause and the moves. It is called again after each proposal, whenever
// something changed, and at the time it returns (0: not needed). It is pure:
// what it knows comes with the Look, what it remembers is in the Agenda. Only an
// Agenda that has its plans made elsewhere waits for them, for a bounded time.
//
// First come the Downs, which nothing holds back; what one command cannot carry
// (fsm.MaxMoves) follows as planned moves, which `delay` does not concern since
// their owner is down. Then goodbyes, then who has left for good, then
// the next phase of a rotation of the key, then planned moves.
func Next(a *Agenda, l Look) (fsm.Command, time.Duration) {
	if l.State.Spec().Version == 0 {
		return nil, 0
	}
	l.Unix = a.clock.now(l)
	a.ties.read(l.State.Spec())
	if d, ok := a.nextDown(l); ok {
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
	return a.nextMoves(l)
}

// nextMoves are those that are planned and due. While the plan of this Look is still
// being made they are those of the last one that give somebody what nobody has.
func (a *Agenda) nextMoves(l Look) (fsm.Command, time.Duration) {
	p, fresh := a.plan(l, nil, planPatience)
	if p == nil {
		return nil, 0
	}
	planned, again := p.result.Moves, time.Duration(0)
	if p.result.Again > 0 {
		again = max(p.at+p.result.Again, l.Now+1)
	}
	if !fresh {
		planned, again = p.stillUrgent(l, &a.ties), 0
	}
	moves, held, later := a.due(l, planned)
	if fresh {
		a.outlook = Outlook{Held: slices.Concat(p.result.Held, held), Unplaced: p.result.Unplaced}
	}
	again = sooner(again, later)
	if len(moves) == 0 {
		return nil, again
	}
	if len(moves) > fsm.MaxMoves {
		moves = moves[:fsm.MaxMoves]
	}
	a.made(l, moves)
	return fsm.Assign{Moves: moves, At: l.Unix}, l.Now
}

// nextDown is the first Down by name that the State does not refuse, with the
// moves of what that member owns. All members that are to be called down are
// unusable at once, so that nothing moves from one to the next.
func (a *Agenda) nextDown(l Look) (fsm.Down, bool) {
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
	if p, fresh := a.plan(l, unusable, downPatience); fresh {
		d.Moves = movesOf(l.State, d.Member, p.result.Moves)
	}
	return d, true
}

// movesOf are the moves of all ranks of the items of which a member owns one: a copy
// that takes its place leaves another place free.
func movesOf(s *fsm.State, owner fsm.MemberID, planned []fsm.Move) []fsm.Move {
	concerned := make(map[tie]bool)
	for _, m := range planned {
		if slot, ok := s.Slot(m.Key); ok && slot.Owner == owner {
			concerned[tie{m.System, m.Item}] = true
		}
	}
	var out []fsm.Move
	for _, m := range planned {
		if concerned[tie{m.System, m.Item}] && len(out) < fsm.MaxMoves {
			out = append(out, m)
		}
	}
	return out
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
