package placement

import (
	"slices"
	"strings"
	"testing"

	"github.com/flip-ha/flip/fsm"
)

// verdict is what the oracle says of a planner's plan, whatever Apply does with it.
func (c *cluster) verdict(plan planner, budget int) []string {
	v := c.view(budget)
	res := plan(v)
	after, _, err := c.state.Apply(c.at+1, fsm.Encode(fsm.Assign{Moves: res.Moves, At: c.now}))
	if err != nil {
		c.t.Fatal(err)
	}
	j := newJudgement(plan, v, after)
	j.all(res)
	j.dealt()
	return j.complaints
}

// lossy is a cluster that has lost a member: n3, with d of s and its copy of a; there is a
// new item of t that nobody may have.
func lossy(t *testing.T) *cluster {
	s := &scripted{cluster: newCluster(t)}
	for _, line := range strings.Split(`server n1 serves s t u
server n2 serves s t u
server n3 serves s t u
system s shard a b c d e f
system t shard x y z
set t select disk=ssd
system u shard p q r
set u replicas 2
commit
up n1 n2 n3
plan
down n3
maintain on t`, "\n") {
		if _, err := s.command(strings.Fields(line)); err != nil {
			t.Fatal(err)
		}
	}
	s.maintain("t", false)
	return s.cluster
}

// TestOracleControls: what a planner can do wrong is found, one thing at a time.
func TestOracleControls(t *testing.T) {
	first := func(res *Result, system string) *fsm.Move {
		at := slices.IndexFunc(res.Moves, func(m fsm.Move) bool { return string(m.System) == system })
		return &res.Moves[at]
	}
	for name, spoil := range map[string]func(c *cluster, res *Result){
		"": func(*cluster, *Result) {},
		"there are still": func(_ *cluster, res *Result) {
			res.Moves = slices.DeleteFunc(res.Moves, func(m fsm.Move) bool { return m.System == "s" })
			res.Urgent = len(res.Moves)
		},
		"is moved twice":    func(_ *cluster, res *Result) { res.Moves = append(res.Moves, res.Moves[0]) },
		"no reason":         func(_ *cluster, res *Result) { res.Moves[0].Reason = "" },
		"names token":       func(_ *cluster, res *Result) { res.Moves[0].Was++ },
		"is not a matter":   func(_ *cluster, res *Result) { first(res, "s").Cause = fsm.CauseHome },
		"is not urgent":     func(_ *cluster, res *Result) { res.Urgent = 0 },
		"moves are urgent":  func(_ *cluster, res *Result) { res.Urgent = len(res.Moves) + 1 },
		"nothing is said":   func(_ *cluster, res *Result) { res.Unplaced = nil },
		"without a reason":  func(_ *cluster, res *Result) { res.Unplaced[0].Why = "" },
		"said to be unplac": func(_ *cluster, res *Result) { res.Unplaced[0].Key = fsm.Key{System: "s", Item: "a"} },
		"may not have it": func(c *cluster, res *Result) {
			slot, _ := c.state.Slot(fsm.Key{System: "s", Item: "a"})
			res.Moves = append(res.Moves, fsm.Move{Key: slot.Key, Was: slot.Token, To: "n3", Reason: "why not", Cause: fsm.CauseBalance})
		},
		"for nobody": func(c *cluster, res *Result) {
			slot, _ := c.state.Slot(fsm.Key{System: "s", Item: "a"})
			res.Moves = append(res.Moves, fsm.Move{Key: slot.Key, Was: slot.Token, Reason: "why not", Cause: fsm.CauseBalance})
		},
		"home changed": func(c *cluster, res *Result) {
			slot, _ := c.state.Slot(fsm.Key{System: "u", Item: "p"})
			res.Moves = append(res.Moves, fsm.Move{Key: slot.Key, Was: slot.Token, To: slot.Owner, Home: "n3", Reason: "why not"})
		},
		"homes changed": func(c *cluster, res *Result) {
			slot, _ := c.state.Slot(fsm.Key{System: "s", Item: "a"})
			res.Moves = append(res.Moves, fsm.Move{Key: slot.Key, Was: slot.Token, To: slot.Owner, Home: "n2", Reason: "why not"})
		},
		"s: balance": func(_ *cluster, res *Result) {
			for i := range res.Moves {
				if res.Moves[i].System == "s" {
					res.Moves[i].To = "n1"
				}
			}
		},
		"and moved": func(_ *cluster, res *Result) { res.Held = []Held{{Move: *first(res, "s"), Why: "for no reason"}} },
		"and the next plan": func(_ *cluster, res *Result) {
			res.Held = []Held{{Move: fsm.Move{Key: fsm.Key{System: "s", Item: "a"}, To: "n2"}, Why: "later", For: 1}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := lossy(t)
			spoilt := false
			complaints := c.verdict(func(v View) Result {
				res := Plan(v)
				if !spoilt { // only once: what is judged comes first
					spoilt = true
					res.Moves, res.Unplaced = slices.Clone(res.Moves), slices.Clone(res.Unplaced)
					spoil(c, &res)
				}
				return res
			}, 0)
			if said := strings.Join(complaints, "\n"); (said == "") != (name == "") || !strings.Contains(said, name) {
				t.Errorf("the oracle says %q", said)
			}
		})
	}
}

// TestExplanationIsJudged: each wrong word of an explanation is found.
func TestExplanationIsJudged(t *testing.T) {
	c := lossy(t)
	v := c.view(0)
	for name, spoil := range map[string]func(e *Explanation){
		"":                  func(*Explanation) {},
		"it is with":        func(e *Explanation) { e.Owner = "n2" },
		"has":               func(e *Explanation) { e.Candidates[0].Load++ },
		"may not have it":   func(e *Explanation) { e.Candidates[slices.IndexFunc(e.Candidates, down)].Can = true },
		"nothing is said":   func(e *Explanation) { e.Candidates[1].Why = "" },
		"the candidates":    func(e *Explanation) { e.Candidates = e.Candidates[1:] },
		"held false":        func(e *Explanation) { e.Held = &Held{} },
		"unplaced false":    func(e *Explanation) { e.Unplaced = &Unplaced{} },
		"home \"n1\": \"fi": func(e *Explanation) { e.Reason = "because" },
	} {
		e, _ := Explain(v, fsm.Key{System: "s", Item: "a"})
		e.Candidates = slices.Clone(e.Candidates)
		spoil(&e)
		said := strings.Join(judgeExplanation(v, e, Plan), "\n")
		if (said == "") != (name == "") || !strings.Contains(said, name) {
			t.Errorf("%q: the oracle says %q", name, said)
		}
	}
}

// TestOracleFindsCutItems: a plan that was cut short inside an item is found.
func TestOracleFindsCutItems(t *testing.T) {
	c := lossy(t)
	c.maintain("s", true)
	said := c.verdict(func(v View) Result {
		res := Plan(v)
		if v.Budget > 0 {
			v.Budget = 0
			res = Plan(v)
			res.Moves = slices.DeleteFunc(slices.Clone(res.Moves), func(m fsm.Move) bool { return m.Item == "r" && m.Rank == 0 })
			res.Urgent = len(res.Moves)
		}
		return res
	}, 2)
	if len(said) != 1 || !strings.Contains(said[0], "1 of its 2 moves") {
		t.Errorf("the oracle says %q", said)
	}
}

func down(c Candidate) bool { return c.Member == "n3" }
