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

// world is one run: the Core behind its oracle, the log, and what is under way
// between them.
type world struct {
	*miniLog
	o       *oracle
	keys    []fsm.Key
	reports []fsm.Report
	leaseOf fsm.Epoch // the epoch whose lease runs; 0: none runs
	lapsed  fsm.Epoch // no lease up to this epoch runs again
	gate    fsm.Epoch // it is open as long as the lease of this epoch runs
	// attempts: the log was told once that the item failed otherwise than by
	// being unfit.
	attempts map[fsm.Key]bool
}

func newWorld(t *rapid.T) *world {
	w := &world{
		miniLog: &miniLog{
			index: 10, most: map[fsm.Key]bool{}, slots: map[fsm.Key]*miniSlot{}, failed: map[fsm.Key]fsm.Failure{},
			theirs: 1,
		},
		attempts: map[fsm.Key]bool{},
		o: newOracle(CoreConfig{
			Self: "n1", Machine: "m1", MaxParallel: rapid.IntRange(1, 4).Draw(t, "limit"),
		}),
	}
	for i := range rapid.IntRange(1, 5).Draw(t, "items") {
		k := fsm.Key{System: "s", Item: fsm.ItemID(rune('a' + i))}
		w.keys = append(w.keys, k)
		w.most[k] = i%2 == 0
		s := &miniSlot{
			mine: rapid.Bool().Draw(t, "mine"), token: fsm.Token(i + 5), alive: "up", down: "down",
			ip: rapid.Bool().Draw(t, "addresses"), ungated: rapid.Bool().Draw(t, "ungated"),
		}
		w.slots[k] = s
		w.o.item[k] = newThing()
		if s.ip {
			s.gated = w.gates(k, s.mine)
			if w.gates(k, false) && rapid.Bool().Draw(t, "left over") {
				// Behind the shut gate of a former process, and to be cleaned up: the log
				// does not show what was gated in an epoch that is down.
				w.o.item[k].by["down"], w.o.item[k].gated["down"] = 0, true
				w.o.Clean([]fsm.Job{w.job(k, 0)})
			}
			continue
		}
		// What a former process of this member had it may have left up.
		if s.mine {
			w.o.item[k].by["down"] = 0
			w.listed(t, w.job(k, s.token))
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
			w.listed(t, w.owed(k, s.entries[len(s.entries)-1]).Job)
		}
	}
	return w
}

// listed is what a former process has left, if it kept a list.
func (w *world) listed(t *rapid.T, j fsm.Job) {
	switch rapid.IntRange(0, 2).Draw(t, "listed") {
	case 1:
		w.o.Adopt([]fsm.Job{j})
	case 2:
		w.o.Sweep([]fsm.Job{j})
	}
}

func (w *world) leaseRuns() bool { return w.leaseOf != 0 && w.leaseOf == w.o.slice.Epoch }

func (w *world) step() { w.o.Step(w.leaseRuns()) }

// check looks for what no cluster may show.
func (w *world) check(t *rapid.T) {
	if len(w.o.wrong) > 0 {
		t.Fatalf("%s", strings.Join(w.o.wrong, "\n"))
	}
	for _, k := range w.keys {
		if s := w.slots[k]; w.most[k] && s.other && w.answers(k) {
			t.Fatalf("%v has two holders", k)
		}
	}
}

// answers says whether an item may be up here, and not behind a shut gate.
func (w *world) answers(k fsm.Key) bool {
	open := w.gate != 0 && w.gate == w.leaseOf
	t := w.o.item[k]
	for m := range t.by {
		if open || !t.gated[m] {
			return true
		}
	}
	return t.left
}

// open is the gate's keeper.
func (w *world) open() {
	if e, ok := w.o.Clear(); ok && w.leaseRuns() && e == w.leaseOf && !w.gateless {
		w.gate = e
	}
}

// pass lets time go by; the kernel of the other member removes what nobody
// refreshes.
func (w *world) pass(d time.Duration) {
	w.o.now += d
	for _, s := range w.slots {
		if s.lifetime > 0 && w.o.now >= s.lifetime {
			s.other, s.lifetime = false, 0
		}
	}
}

// begin registers this member anew: no lease of the former epoch runs any more.
func (w *world) begin(gateless bool) {
	w.lapsed, w.leaseOf = w.epoch, 0
	w.register(gateless)
}

// theyFall is the other member called down: its gates are shut, its hooks stay,
// and the kernel removes its other addresses after a time.
func (w *world) theyFall() {
	if w.theyDown {
		return
	}
	w.down("n2")
	w.theyDown = true
	for _, k := range w.keys {
		s := w.slots[k]
		switch {
		case !s.other || !s.ip || !w.most[k]:
		case w.gates(k, false):
			s.other = false
		default:
			s.lifetime = w.o.now + theBet
		}
	}
}

// theyReturn is the other member's next process, which sweeps.
func (w *world) theyReturn() {
	if !w.theyDown {
		return
	}
	w.theyDown, w.theirs = false, fsm.Epoch(w.next())
	for _, k := range w.keys {
		if s := w.slots[k]; w.most[k] {
			s.other, s.lifetime = false, 0
			s.entries = slices.DeleteFunc(s.entries, func(e fsm.Entry) bool { return e.Member == "n2" })
		}
	}
}

func (w *world) told(r fsm.Report) {
	for _, f := range r.Failed {
		w.attempts[f.Key] = w.attempts[f.Key] || f.Err != noCarrier
	}
	w.apply(r)
}

const noCarrier = "no carrier"

func (w *world) pick(t *rapid.T) fsm.Key { return rapid.SampledFrom(w.keys).Draw(t, "key") }

// actions are what may happen, at any time and in any order.
func (w *world) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"move":     func(t *rapid.T) { w.move(w.pick(t)) },
		"register": func(t *rapid.T) { w.begin(rapid.IntRange(0, 3).Draw(t, "gateless") == 0) },
		"down": func(t *rapid.T) {
			if w.epoch != 0 && w.lapsed >= w.epoch && !w.weDown { // L5
				w.down("n1")
				w.weDown = true
			}
		},
		"they fall":   func(t *rapid.T) { w.theyFall() },
		"they return": func(t *rapid.T) { w.theyReturn() },
		"gate":        func(t *rapid.T) { w.open() },
		"unfit":       func(t *rapid.T) { w.o.unfit(w.pick(t), noCarrier) },
		"fit":         func(t *rapid.T) { w.o.unfit(w.pick(t), "") },
		"maintenance": func(t *rapid.T) { w.maintained = !w.maintained; w.next() },
		"cleanup": func(t *rapid.T) {
			k := w.pick(t)
			delete(w.failed, k)
			delete(w.attempts, k)
			w.next()
		},
		"lease begins": func(t *rapid.T) {
			if w.epoch > w.lapsed && !w.weDown {
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
				w.told(w.reports[rapid.IntRange(0, len(w.reports)-1).Draw(t, "which")])
			}
		},
		"done": func(t *rapid.T) { w.o.end(w.pick(t), nil) },
		"fail": func(t *rapid.T) { w.o.end(w.pick(t), errors.New("failed")) },
		"time": func(t *rapid.T) {
			w.pass(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
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
	w.reports, w.maintained = nil, false
	w.next()
	for _, k := range w.keys {
		w.o.unfit(k, "")
		if s := w.slots[k]; !s.ip || !w.most[k] || w.gates(k, false) {
			w.theyReturn() // else the bets must do
		}
	}
	if w.epoch <= w.lapsed || w.epoch == 0 || w.weDown {
		w.begin(w.gateless)
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
			w.told(r)
			busy = true
		}
		w.open()
		for _, k := range w.keys {
			w.otherActs(k)
		}
		w.check(t)
		if next != Never {
			w.pass(next - w.o.now)
			busy = true
		}
		if !busy && w.o.slice.At == w.index {
			break
		}
	}
	if !w.gateless && w.o.mode == serving && w.gate != w.epoch {
		t.Fatalf("the gate is not open in the end")
	}
	for _, k := range w.keys {
		s, thing := w.slots[k], w.o.item[k]
		if f, ok := w.failed[k]; ok && f.Err == noCarrier && !w.attempts[k] {
			t.Fatalf("%v is not mended", k)
		}
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
