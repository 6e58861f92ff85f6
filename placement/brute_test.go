package placement

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/fsm"
)

// brute is a planner that tries every placement there is: what the oracle is judged by.
// It deals homes once and for all, and knows shard only. With a spoilt layer it seeks
// the most of that instead of the least, so that the oracle must reject its plans.
type brute struct {
	spoilt int // a layer of cost, or costs for none
}

func (b brute) plan(v View) Result {
	var res Result
	after := v.State
	spec := v.State.Spec()
	var done []fsm.SystemID
	for len(done) < len(spec.Systems) {
		for _, id := range slices.Sorted(maps.Keys(spec.Systems)) {
			sys := spec.Systems[id]
			waits := slices.ContainsFunc(slices.Concat(sys.With, sys.Apart), func(o fsm.SystemID) bool { return !slices.Contains(done, o) })
			if slices.Contains(done, id) || waits {
				continue
			}
			done = append(done, id)
			after = b.system(newRules(v, after), sys, after, &res)
		}
	}
	return res
}

// system plans one system; after is where the others will be, and what it returns where
// this one will be too.
func (b brute) system(r *rules, sys fsm.System, after *fsm.State, res *Result) *fsm.State {
	homes := b.deal(r, sys)
	var dealt []fsm.Move
	for k, home := range homes {
		if slot, _ := r.state.Slot(k); slot.Home == "" {
			dealt = append(dealt, fsm.Move{Key: k, Was: slot.Token, Home: home, To: slot.Owner})
		}
	}
	p := newProblem(r, sys, apply(after, dealt))
	chosen, found := b.search(p)
	if !found {
		return after
	}
	moves := b.moves(p, chosen, homes, res)
	return apply(after, moves)
}

// apply makes moves of a State that nobody else sees.
func apply(s *fsm.State, moves []fsm.Move) *fsm.State {
	next, _, err := s.Apply(1<<41, fsm.Encode(fsm.Assign{Moves: moves}))
	if err != nil {
		panic(err)
	}
	return next
}

// deal gives each slot a home: the one that it has, or as Flip does; a further rank is
// at home with the next member.
func (b brute) deal(r *rules, sys fsm.System) map[fsm.Key]fsm.MemberID {
	out := map[fsm.Key]fsm.MemberID{}
	among := r.counting(sys)
	for i, item := range sys.Items {
		for rank := range sys.Ranks() {
			k := fsm.Key{System: sys.Name, Item: item.ID, Rank: rank}
			slot, _ := r.state.Slot(k)
			switch {
			case slot.Home != "":
				out[k] = slot.Home
			case rank < len(among):
				out[k] = among[(i+rank)%len(among)]
			}
		}
	}
	return out
}

// search goes through all placements.
func (b brute) search(p *problem) (best []option, found bool) {
	var least cost
	var chosen []option
	var try func(i int, l burdens, sum cost)
	try = func(i int, l burdens, sum cost) {
		if i == len(p.options) {
			sum[costBalance] = p.balance(l)
			if b.spoilt < costs {
				sum[b.spoilt] = -sum[b.spoilt]
			}
			if better, _ := sum.less(least); better || !found {
				best, found, least = slices.Clone(chosen), true, sum
			}
			return
		}
		for _, o := range p.options[i] {
			if to, fits := p.add(l, o, p.sys.Items[i].Load()); fits {
				chosen = append(chosen, o)
				try(i+1, to, sum.plus(o.cost))
				chosen = chosen[:i]
			}
		}
	}
	try(0, burdens{}, cost{})
	return best, found
}

// moves are those that lead to what was chosen.
func (b brute) moves(p *problem, chosen []option, homes map[fsm.Key]fsm.MemberID, res *Result) (made []fsm.Move) {
	j := &judgement{rules: p.rules, v: p.v, before: p.state, after: p.others}
	for i, item := range p.sys.Items {
		has, wants := make([]fsm.Slot, p.sys.Ranks()), make([]fsm.MemberID, p.sys.Ranks())
		for rank, at := range chosen[i].ranks {
			has[rank], _ = p.state.Slot(fsm.Key{System: p.sys.Name, Item: item.ID, Rank: rank})
			has[rank].Key = fsm.Key{System: p.sys.Name, Item: item.ID, Rank: rank}
			if at >= 0 {
				wants[rank] = p.members[at]
			}
		}
		at, urgent := len(made), false
		for _, rank := range p.turns(has, wants) {
			slot := has[rank]
			m := fsm.Move{Key: slot.Key, Was: slot.Token, To: wants[rank], Reason: "it is the best"}
			if slot.Home == "" && m.To != "" {
				m.Home = homes[slot.Key]
			}
			m.Cause = j.causes(p.sys, slot, m)[0]
			made = append(made, m)
			urgent = urgent || !p.usable(slot.Owner)
		}
		for rank, slot := range has { // a home is remembered also of what nobody can have
			if wants[rank] == "" && slot.Owner == "" && slot.Home == "" && homes[slot.Key] != "" {
				made = append(made, fsm.Move{Key: slot.Key, Was: slot.Token, Home: homes[slot.Key], Reason: "its home"})
			}
		}
		if urgent {
			res.Moves = slices.Insert(res.Moves, res.Urgent, made[at:]...)
			res.Urgent += len(made) - at
		} else {
			res.Moves = append(res.Moves, made[at:]...)
		}
		for rank := range wants {
			if wants[rank] == "" {
				res.Unplaced = append(res.Unplaced, Unplaced{has[rank].Key, "nobody can have it, or not yet"})
			}
		}
	}
	return made
}

// turns are the ranks of an item to be moved, in an order in which nobody has two of
// them at any time. Who is in the way of a circle is first rid of its rank.
func (p *problem) turns(has []fsm.Slot, wants []fsm.MemberID) (order []int) {
	var left []int
	for rank, slot := range has {
		gone := wants[rank] == "" && slot.Owner != "" && (slices.Contains(wants, slot.Owner) || p.usable(slot.Owner))
		if gone || wants[rank] != "" && wants[rank] != slot.Owner {
			left = append(left, rank)
		}
	}
	for len(left) > 0 {
		at := slices.IndexFunc(left, func(rank int) bool {
			return wants[rank] == "" || !slices.ContainsFunc(left, func(o int) bool { return o != rank && has[o].Owner == wants[rank] })
		})
		if at < 0 {
			at = 0
			wants[left[0]] = ""
		}
		order = append(order, left[at])
		left = slices.Delete(left, at, at+1)
	}
	return slices.DeleteFunc(order, func(rank int) bool { return wants[rank] == has[rank].Owner })
}

// TestOracleAcceptsBruteForce: what trying everything finds is what the oracle wants,
// which looks at far fewer placements.
func TestOracleAcceptsBruteForce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newBruteWalk(t, rt)
		w.oracle, w.asked, w.dealer = brute{costs}.plan, nil, false
		for range rapid.IntRange(1, 6).Draw(rt, "steps") {
			w.upOrDown()
			w.plans(0)
		}
	})
}

func newBruteWalk(t *testing.T, rt *rapid.T) *walk {
	w := &walk{newCluster(t), rt, wishes{}}
	w.ask = wishes{
		replicas: rapid.Bool().Draw(rt, "replicas?"), zones: rapid.Bool().Draw(rt, "zones?"), capacity: rapid.Bool().Draw(rt, "capacity?"),
		tags: rapid.Bool().Draw(rt, "tags?"), prefer: rapid.Bool().Draw(rt, "prefer?"), shares: rapid.Bool().Draw(rt, "shares?"),
	}
	for _, m := range names("n", 3) {
		w.drawServer(m)
	}
	w.system("s", fsm.Shard, fsm.AtLeastOne, names("d", 3)...)
	w.change("s", w.drawWishes)
	w.commit()
	return w
}

func (w *walk) upOrDown() {
	m := rapid.SampledFrom(names("n", 3)).Draw(w.rt, "member")
	if state, registered := w.state.Member(fsm.MemberID(m)); registered && state.Up {
		w.down(m)
	} else {
		w.up(m)
	}
}

// TestOracleRejects: a planner that seeks the most of what it should have the least of
// is found out, whichever it is.
func TestOracleRejects(t *testing.T) {
	two := "server n1 serves s\nserver n2 serves s\n"
	three := two + "server n3 serves s\n"
	for layer, script := range map[int]string{
		costUnplaced: two + "system s shard a b\ncommit\nup n1 n2\nplan",
		costZones: "server n1 zone a serves s\nserver n2 zone a serves s\nserver n3 zone b serves s\nsystem s shard a\n" +
			"set s replicas 2\ncommit\nup n1 n2 n3\nplan",
		costFailed:  two + "system s shard a b\ncommit\nup n1 n2\nplan\nfail n1 s a no\nspoil\nplan",
		costNew:     three + "system s shard a b c\nset s mature 10s\ncommit\nup n1 n2 n3\nplan\ndown n1\nwell n2 1h\nspoil\nplan",
		costWaiting: three + "system s shard at-most-one a b c\ncommit\nup n1 n2 n3\nplan\nreboot n3\ndown n1\nspoil\nplan",
		costKeep:    two + "system s shard a b\nset s failback never\ncommit\nup n1 n2\nplan\ndown n1\nplan\nup n1\nspoil\nplan",
		costOrder:   three + "system s shard a\nset s replicas 2\ncommit\nup n1 n2 n3\nplan\ndown n1\nspoil\nplan",
		costPrefer:  two + "system s shard a\nitem s a prefer n2\ncommit\nup n1 n2\nplan",
		costPrefer1: three + "system s shard a\nset s replicas 2\nitem s a prefer n1 n3\ncommit\nup n1 n2 n3\nplan",
		costHome:    two + "system s shard a b\ncommit\nup n1 n2\nplan\ndown n1\nplan\nup n1\nspoil\nplan",
		costHome1:   three + "system s shard a\nset s replicas 2\ncommit\nup n1 n2 n3\nplan",
		costBalance: three + "system s shard a b c d\ncommit\nup n1 n2 n3\nplan\ndown n1\nspoil\nplan",
		costCopies:  three + "system s shard a b c d e f\ncommit\nup n1 n2 n3\nplan\ndown n1\nplan\nspoil\nplan",
	} {
		t.Run(costNames[layer], func(t *testing.T) {
			for _, spoilt := range []int{costs, layer} {
				complaints := played(t, script, spoilt)
				if (len(complaints) > 0) != (spoilt < costs) {
					t.Errorf("spoilt %v: %s", spoilt < costs, strings.Join(complaints, "\n"))
				}
			}
		})
	}
}

// played runs a script with a brute planner, which is spoilt from a line on, or all
// along; it returns what the oracle says of the plans from there on.
func played(t *testing.T, script string, spoilt int) (complaints []string) {
	s := &scripted{cluster: newCluster(t)}
	s.asked, s.dealer = nil, false
	from := brute{costs}
	if !strings.Contains(script, "spoil") {
		from.spoilt = spoilt
	}
	s.oracle = from.plan
	for _, line := range strings.Split(script, "\n") {
		switch line {
		case "spoil":
			s.oracle, complaints = brute{spoilt}.plan, nil
		case "plan":
			_, found := s.judged(0)
			complaints = append(complaints, found...)
		default:
			if _, err := s.command(strings.Fields(line)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return complaints
}
