package actions

import (
	"errors"
	"testing"

	"github.com/flip-ha/flip/fsm"
)

// schedule is one slot in the log and one Core, driven by hand.
type schedule struct {
	*world
	k fsm.Key
}

func newSchedule(rule Rule, most, mine bool) *schedule {
	k := fsm.Key{System: "s", Item: "a"}
	w := &world{miniLog: &miniLog{
		index: 10, epoch: 10, most: map[fsm.Key]bool{k: most}, failed: map[fsm.Key]fsm.Failure{}, theirs: 1,
		slots: map[fsm.Key]*miniSlot{k: {mine: mine, token: 10, alive: "up", down: "down"}},
	}, o: newOracle(CoreConfig{Self: "n1", Machine: "m1", Without: rule}), leaseOf: 10}
	w.o.item[k] = newThing()
	return &schedule{world: w, k: k}
}

func (s *schedule) slot() *miniSlot { return s.slots[s.k] }

// learn hands the log's newest slice to the Core.
func (s *schedule) learn() {
	s.o.Set(s.slice())
	s.step()
}

// done ends the effect in flight, and hands out the next.
func (s *schedule) done(err error) {
	s.o.end(s.k, err)
	s.step()
}

func (s *schedule) twoHolders() bool { return s.slot().other && s.o.item[s.k].maybe() }

// Each rule that a Core can leave out has a schedule in which that breaks a
// promise, and in which nothing is broken with the rule in place.
func TestEachRuleIsNeeded(t *testing.T) {
	for _, tc := range []struct {
		name       string
		rule       Rule
		most, mine bool
		broken     func(*schedule) bool
	}{
		// The release is reported although the log shows no entry, and arrives
		// late: meanwhile the item came up again under the same token, and was
		// given away.
		{"log shown", RuleLogShown, true, true, func(s *schedule) bool {
			s.learn()
			s.done(nil) // up
			s.slot().alive = "other hook"
			s.next()
			s.learn()
			s.o.end(s.k, nil) // down, to come up by the other hook
			late := s.o.Report()
			s.step()
			s.done(nil) // up again
			s.move(s.k)
			s.apply(late)
			s.otherActs(s.k)
			return s.twoHolders()
		}},
		{"down first", RuleDownFirst, true, true, func(s *schedule) bool {
			s.learn()
			s.done(nil)
			s.move(s.k)
			s.learn() // `down` runs
			s.apply(s.o.Report())
			s.otherActs(s.k)
			return s.twoHolders()
		}},
		{"failed keeps", RuleFailedKeeps, true, true, func(s *schedule) bool {
			s.learn()
			s.done(nil)
			s.move(s.k)
			s.learn()
			s.done(errors.New("busy"))
			s.apply(s.o.Report())
			s.otherActs(s.k)
			return s.twoHolders()
		}},
		// A member under the same name holds the item on another machine.
		{"own machine", RuleOwnMachine, true, false, func(s *schedule) bool {
			s.slot().entries = []fsm.Entry{{Member: "n1", Epoch: 5, Token: 5, Host: fsm.Host{Machine: "m2"}, AtMostOne: true, Recipe: &fsm.Recipe{Action: fsm.ActionHooks, Down: "down"}}}
			s.learn()
			s.done(nil)
			s.apply(s.o.Report())
			s.otherActs(s.k)
			return s.slot().other // beside the one on m2
		}},
		// The former owner of an at-least-one item lets go when it reads that the
		// new one has it.
		{"alive first", RuleAliveFirst, false, false, func(s *schedule) bool {
			s.otherActs(s.k)
			s.move(s.k)
			s.learn() // `alive` runs
			s.apply(s.o.Report())
			s.otherActs(s.k)
			return !s.slot().other && !s.o.item[s.k].up
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.broken(newSchedule(0, tc.most, tc.mine)) {
				t.Error("broken with all rules in place")
			}
			if !tc.broken(newSchedule(tc.rule, tc.most, tc.mine)) {
				t.Error("the rule left out breaks nothing")
			}
		})
	}
}
