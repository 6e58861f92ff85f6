package actions

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

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
	failed map[fsm.Key]fsm.Token
}

type miniSlot struct {
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
}

// owner is the entry of a slot's present owner.
func (l *miniLog) owner(k fsm.Key) fsm.Entry {
	s := l.slots[k]
	e := fsm.Entry{
		Member: "n2", Token: s.token, AtMostOne: l.most[k], Epoch: 1,
		Recipe: &fsm.Recipe{Action: fsm.ActionHooks, Down: s.down},
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
	s.down, s.token, s.acquired = down, fsm.Token(at), 0
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
	return fsm.Job{Key: k, Token: t, AtMostOne: l.most[k], Alive: l.slots[k].alive, Down: l.slots[k].down, Action: fsm.ActionHooks, Reason: "assigned"}
}

// owed is an entry with its own way to let go of it.
func (l *miniLog) owed(k fsm.Key, e fsm.Entry) fsm.Owed {
	j := l.job(k, e.Token)
	j.Down = e.Recipe.Down
	return fsm.Owed{Entry: e, Job: j}
}

func (l *miniLog) slice() fsm.Slice {
	sl := fsm.Slice{At: l.index, Epoch: l.epoch}
	for k, s := range l.slots {
		own, others := s.blockers("n1")
		j := l.job(k, s.token)
		if s.mine {
			j.Reported = s.acquired != 0 && s.acquired == l.epoch
			j.Failed = l.failed[k] == s.token
			if l.most[k] {
				j.Blocked = others
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
		if s := l.slots[c.Key]; s.mine && s.token == c.Token && c.Epoch == l.epoch {
			s.acquired = c.Epoch
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
		l.failed[f.Key] = f.Token
	}
}

// otherActs is the other member: it takes what is its own and lets go of the
// rest.
func (l *miniLog) otherActs(k fsm.Key) {
	s := l.slots[k]
	mine, theirs := s.blockers("n1")
	switch {
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

// world is one run: the Core behind its oracle, the log, and what is under way
// between them.
type world struct {
	*miniLog
	o       *oracle
	keys    []fsm.Key
	reports []fsm.Report
	leaseOf fsm.Epoch // the epoch whose lease runs; 0: none runs
	lapsed  fsm.Epoch // no lease up to this epoch runs again
}

func newWorld(t *rapid.T) *world {
	w := &world{
		miniLog: &miniLog{
			index: 10, most: map[fsm.Key]bool{}, slots: map[fsm.Key]*miniSlot{}, failed: map[fsm.Key]fsm.Token{},
		},
		o: newOracle(CoreConfig{
			Self: "n1", Machine: "m1", MaxParallel: rapid.IntRange(1, 4).Draw(t, "limit"),
		}),
	}
	for i := range rapid.IntRange(1, 4).Draw(t, "items") {
		k := fsm.Key{System: "s", Item: fsm.ItemID(rune('a' + i))}
		w.keys = append(w.keys, k)
		w.most[k] = i%2 == 0
		s := &miniSlot{mine: rapid.Bool().Draw(t, "mine"), token: fsm.Token(i + 5), alive: "up", down: "down"}
		w.slots[k] = s
		// What a former process of this member had it may have left up.
		w.o.item[k] = newThing()
		if s.mine {
			w.o.item[k].by["down"] = 0
		}
		// So it may have by other hooks.
		for token, down := range []string{"down", "down1"} {
			if !rapid.Bool().Draw(t, "left over") || s.mine && down == "down" {
				continue
			}
			s.entries = append(s.entries, fsm.Entry{
				Member: "n1", Epoch: 1, Token: fsm.Token(token + 1), Host: fsm.Host{Machine: "m1"}, AtMostOne: w.most[k],
				Recipe: &fsm.Recipe{Action: fsm.ActionHooks, Down: down},
			})
			w.o.item[k].by[down] = 0
		}
	}
	return w
}

func (w *world) leaseRuns() bool { return w.leaseOf != 0 && w.leaseOf == w.o.slice.Epoch }

func (w *world) step() { w.o.Step(w.leaseRuns()) }

// check looks for what no cluster may show.
func (w *world) check(t *rapid.T) {
	if len(w.o.wrong) > 0 {
		t.Fatalf("%s", strings.Join(w.o.wrong, "\n"))
	}
	for _, k := range w.keys {
		if s := w.slots[k]; w.most[k] && s.other && w.o.item[k].maybe() {
			t.Fatalf("%v has two holders", k)
		}
	}
}

func (w *world) pick(t *rapid.T) fsm.Key { return rapid.SampledFrom(w.keys).Draw(t, "key") }

// actions are what may happen, at any time and in any order.
func (w *world) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"move": func(t *rapid.T) { w.move(w.pick(t)) },
		"register": func(t *rapid.T) {
			// L6: no lease of the former epoch runs any more.
			w.lapsed, w.leaseOf = w.epoch, 0
			w.epoch = fsm.Epoch(w.next())
		},
		"lease begins": func(t *rapid.T) {
			if w.epoch > w.lapsed {
				w.leaseOf = w.epoch
			}
		},
		"lease ends": func(t *rapid.T) { w.lapsed, w.leaseOf = w.epoch, 0 },
		"slice":      func(t *rapid.T) { w.o.Set(w.slice()) },
		"other":      func(t *rapid.T) { w.otherActs(w.pick(t)) },
		"report": func(t *rapid.T) {
			if r := w.o.Report(); !empty(r) {
				w.reports = append(w.reports, r)
			}
		},
		"deliver": func(t *rapid.T) {
			if len(w.reports) > 0 {
				w.apply(w.reports[rapid.IntRange(0, len(w.reports)-1).Draw(t, "which")])
			}
		},
		"done": func(t *rapid.T) { w.o.end(w.pick(t), nil) },
		"fail": func(t *rapid.T) { w.o.end(w.pick(t), errors.New("failed")) },
		"time": func(t *rapid.T) {
			w.o.now += time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second
		},
		"clean": func(t *rapid.T) { k := w.pick(t); w.o.Clean([]fsm.Job{w.job(k, 0)}) },
		"definition": func(t *rapid.T) {
			w.slots[w.pick(t)].alive = fmt.Sprintf("up%d", rapid.IntRange(1, 2).Draw(t, "hook"))
			w.next()
		},
		"hooks": func(t *rapid.T) { w.hooks(w.pick(t), fmt.Sprintf("down%d", rapid.IntRange(1, 2).Draw(t, "hook"))) },
		"stop": func(t *rapid.T) {
			if rapid.IntRange(0, 20).Draw(t, "really") == 0 {
				w.o.Stop(rapid.Bool().Draw(t, "all"))
			}
		},
		"step": func(t *rapid.T) { w.step() },
		"": func(t *rapid.T) {
			w.step()
			w.check(t)
		},
	}
}

// settle lets everything succeed until nothing happens any more.
func (w *world) settle(t *rapid.T) {
	w.reports = nil
	if w.epoch <= w.lapsed || w.epoch == 0 {
		w.epoch = fsm.Epoch(w.next())
	}
	w.leaseOf = w.epoch
	for range 200 {
		w.o.Set(w.slice())
		_, _, next := w.o.Step(true)
		busy := len(w.o.flight) > 0
		for len(w.o.flight) > 0 {
			w.o.end(w.o.flight[0].Job.Key, nil)
		}
		if r := w.o.Report(); !empty(r) {
			w.apply(r)
			busy = true
		}
		for _, k := range w.keys {
			w.otherActs(k)
		}
		w.check(t)
		if next != Never {
			w.o.now = next
			busy = true
		}
		if !busy && w.o.slice.At == w.index {
			break
		}
	}
	for _, k := range w.keys {
		s, thing := w.slots[k], w.o.item[k]
		stopped := w.o.mode == stopAll || w.o.mode == stopMost && w.most[k]
		if !stopped && w.o.mode == serving && s.mine && (!thing.up || s.acquired != w.epoch) {
			t.Fatalf("%v is not held in the end", k)
		}
		if (!s.mine || stopped) && thing.maybe() {
			t.Fatalf("%v is not released in the end", k)
		}
		own, _ := s.blockers("n1")
		if !w.most[k] && s.mine {
			// It was brought up over what other hooks may have left: that stays owed
			// until the item goes.
			own = slices.DeleteFunc(own, func(e fsm.Entry) bool { return e.Recipe.Down != s.down })
		}
		if len(own) > 0 && (!s.mine || w.o.mode == serving) {
			t.Fatalf("%v: entries are left: %v", k, own)
		}
	}
	if r := w.o.Report(); w.o.mode == serving && !empty(r) {
		t.Fatalf("reports without end: %+v", r)
	}
}

// Nothing that happens makes two holders, two effects of a slot, or a report
// that is not true; and everything comes right in the end.
func TestCoreKeepsItsPromises(t *testing.T) {
	if flag.Lookup("rapid.checks").Value.String() == "100" { // nobody asked for another number
		setFlag(t, "rapid.checks", "10000")
	}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(w.actions())
		w.settle(t)
	})
}

func setFlag(t *testing.T, name, value string) {
	old := flag.Lookup(name).Value.String()
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := flag.Set(name, old); err != nil {
			t.Error(err)
		}
	})
}
