package actions

import (
	"maps"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// miniLog is the log as the Core's member sees it: a handful of slots shared
// with one other member, who obeys the rules by definition. Slices and reports
// take as long as the test likes.
type miniLog struct {
	index  fsm.Index
	epoch  fsm.Epoch // this member's newest; 0: none yet
	most   map[fsm.Key]bool
	slots  map[fsm.Key]*miniSlot
	failed map[fsm.Key]fsm.Failure

	weDown   bool      // this member's epoch is called down
	gateless bool      // it registered without a gate
	theirs   fsm.Epoch // the other member's newest epoch
	theyDown bool      // that epoch is called down

	maintained bool
}

// theBet is how long an ungated address is waited for; the kernel takes it away
// a little sooner.
const theBet = 10 * time.Second

type miniSlot struct {
	ip       bool          // addresses, plumbed by flip itself
	ungated  bool          // and nothing of them behind the gate, by choice
	gated    bool          // fixed with the token
	lifetime time.Duration // until when the kernel keeps what the other one left; 0: it lives
	mine     bool
	token    fsm.Token
	acquired fsm.Epoch
	entries  []fsm.Entry // of n1 and n2
	other    bool        // the other member holds it
	alive    string
	down     string
}

func (l *miniLog) next() fsm.Index {
	l.index++
	return l.index
}

// move gives a slot away or back, as Apply does.
func (l *miniLog) move(k fsm.Key) {
	s, at := l.slots[k], l.next()
	s.entries = append(s.entries, l.owner(k))
	s.mine, s.token, s.acquired = !s.mine, fsm.Token(at), 0
	s.gated = l.gates(k, s.mine)
}

// gates says whether a slot's new token is one behind the gate. The other member
// always has one.
func (l *miniLog) gates(k fsm.Key, mine bool) bool {
	s := l.slots[k]
	gateless := mine && l.gateless
	return l.most[k] && s.ip && !s.ungated && !gateless
}

// sorted are all slots in order: a seed replays.
func (l *miniLog) sorted() []fsm.Key {
	return slices.SortedFunc(maps.Keys(l.slots), fsm.Key.Compare)
}

// down calls an epoch down, as Apply does: what it owned moves, if there is an
// heir, then its gated entries go.
func (l *miniLog) down(member fsm.MemberID) {
	l.next()
	heir := !l.theyDown
	if member == "n2" {
		heir = !l.weDown
	}
	for _, k := range l.sorted() {
		s := l.slots[k]
		if heir && s.mine == (member == "n1") {
			l.move(k)
		}
		s.entries = slices.DeleteFunc(s.entries, func(e fsm.Entry) bool { return e.Member == member && e.Gated })
	}
}

// register begins an epoch of this member, with or without a gate: where that
// changes what a token says, it is renewed.
func (l *miniLog) register(gateless bool) {
	l.gateless, l.weDown = gateless, false
	at := l.next()
	for _, k := range l.sorted() {
		if s, g := l.slots[k], l.gates(k, true); s.mine && g != s.gated {
			s.entries = append(s.entries, l.owner(k))
			s.token, s.acquired, s.gated = fsm.Token(at), 0, g
		}
	}
	l.epoch = fsm.Epoch(at)
}

// owner is the entry of a slot's present owner.
func (l *miniLog) owner(k fsm.Key) fsm.Entry {
	s := l.slots[k]
	e := fsm.Entry{
		Member: "n2", Token: s.token, AtMostOne: l.most[k], Epoch: l.theirs, Gated: s.gated,
		Recipe: &fsm.Recipe{Action: s.action(), Down: s.down},
	}
	if s.mine {
		e.Member, e.Epoch, e.Host = "n1", max(l.epoch, 1), fsm.Host{Machine: "m1"}
	}
	return e
}

// hooks changes the `down` of a slot, as Apply does: its owner becomes
// outstanding by the old one.
func (l *miniLog) hooks(k fsm.Key, down string) {
	s, at := l.slots[k], l.next()
	if s.down == down {
		return
	}
	s.entries = append(s.entries, l.owner(k))
	s.down, s.token, s.acquired, s.gated = down, fsm.Token(at), 0, l.gates(k, s.mine)
}

func (s *miniSlot) action() fsm.Action {
	if s.ip {
		return fsm.ActionIP
	}
	return fsm.ActionHooks
}

func (s *miniSlot) blockers(member fsm.MemberID) (own, others []fsm.Entry) {
	for _, e := range s.entries {
		if e.Member == member {
			own = append(own, e)
		} else {
			others = append(others, e)
		}
	}
	return own, others
}

func (l *miniLog) job(k fsm.Key, t fsm.Token) fsm.Job {
	s := l.slots[k]
	return fsm.Job{
		Key: k, Token: t, AtMostOne: l.most[k], Gated: s.gated && s.mine, Alive: s.alive, Down: s.down,
		Action: s.action(), Reason: "assigned", Maintained: l.maintained,
	}
}

// owed is an entry with its own way to let go of it.
func (l *miniLog) owed(k fsm.Key, e fsm.Entry) fsm.Owed {
	j := l.job(k, e.Token)
	j.Down, j.Gated = e.Recipe.Down, e.Gated
	return fsm.Owed{Entry: e, Job: j}
}

func (l *miniLog) slice() fsm.Slice {
	sl := fsm.Slice{At: l.index, Epoch: l.epoch}
	for _, k := range l.sorted() {
		s := l.slots[k]
		if f, ok := l.failed[k]; ok {
			sl.Failed = append(sl.Failed, l.job(k, f.Token))
		}
		own, others := s.blockers("n1")
		j := l.job(k, s.token)
		if s.mine {
			j.Reported = s.acquired != 0 && s.acquired == l.epoch
			j.Barred = l.most[k] && l.weDown
			j.Failed = l.failed[k].Token == s.token
			if l.most[k] {
				for _, e := range others {
					b := fsm.Blocker{Entry: e}
					if s.ip && !e.Gated && (l.theyDown || e.Epoch < l.theirs) {
						b.After = theBet
					}
					j.Blocked = append(j.Blocked, b)
				}
			}
			sl.Want = append(sl.Want, j)
		} else if len(own) > 0 && !l.most[k] && s.acquired == 0 {
			j = l.owed(k, own[len(own)-1]).Job
			j.Keep = true
			sl.Want = append(sl.Want, j)
			continue
		}
		for _, e := range own {
			sl.Owe = append(sl.Owe, l.owed(k, e))
		}
	}
	return sl
}

// apply takes a report in, however old it is.
func (l *miniLog) apply(r fsm.Report) {
	l.next()
	for _, c := range r.Acquired {
		barred := l.weDown && l.most[c.Key]
		if s := l.slots[c.Key]; s.mine && s.token == c.Token && c.Epoch == l.epoch && !barred {
			s.acquired = c.Epoch
			delete(l.failed, c.Key)
			if !l.most[c.Key] {
				s.other = false // its owner serves: the other lets go
			}
		}
	}
	for _, c := range append(r.Released, r.Swept...) {
		s := l.slots[c.Key]
		var left []fsm.Entry
		for _, e := range s.entries {
			if e.Member != c.Member || e.Epoch != c.Epoch || e.Token != c.Token {
				left = append(left, e)
			}
		}
		s.entries = left
	}
	for _, f := range r.Failed {
		l.failed[f.Key] = f
	}
	for _, k := range r.Mended {
		delete(l.failed, k)
	}
}

// otherActs is the other member: it takes what is its own and lets go of the
// rest.
func (l *miniLog) otherActs(k fsm.Key) {
	s := l.slots[k]
	mine, theirs := s.blockers("n1")
	switch {
	case l.theyDown:
	case !s.mine && (!l.most[k] || len(mine) == 0):
		s.other = true
		if s.acquired == 0 {
			s.acquired = 1
			l.next()
		}
	case s.mine && len(theirs) > 0 && (l.most[k] || s.acquired != 0):
		s.other = false
		s.entries = mine
		l.next()
	}
}
