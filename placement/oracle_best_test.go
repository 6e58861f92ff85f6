package placement

import (
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// The oracle compares whole placements of one system. A placement costs, in this order;
// each layer counts only where all before it are equal.
const (
	costUnplaced  = iota // ranks 0 that nobody has
	costUnplaced1        // ranks 1
	costUnplaced2
	costZones   // squares of an item's replicas in each zone
	costCompany // systems that go with this one and cannot be there
	costFailed  // ranks where they have failed
	costFront   // ranks where they have failed before others
	costNew     // newcomers that are not mature
	costWaiting // newcomers that are not settled
	costKeep    // ranks taken from who could keep them, for who may not do that yet
	costOrder   // newcomers in front of those that have the item
	costPrefer  // places down the lists of preferred members, rank 0
	costPrefer1 // rank 1
	costPrefer2 // rank 2
	costHome    // ranks 0 that are not at home
	costHome1
	costHome2
	costBalance // squares of the members' loads, relative to their shares
	costCopies  // members that have an item and had none of it
	costMoves   // slots that change hands
	costs
)

var costNames = [costs]string{
	"primaries that nobody has", "ranks 1 that nobody has", "ranks 2 that nobody has", "zones", "company", "ranks where they have failed", "who has failed in front of others", "newcomers that are not mature",
	"newcomers that are not settled", "taken too early from who could keep it", "newcomers in front of warm copies",
	"preferred, rank 0", "preferred, rank 1", "preferred, rank 2", "away from home, rank 0",
	"away from home, rank 1", "away from home, rank 2", "balance", "new copies", "moves",
}

// cost of an option, a placement or a part of it.
type cost [costs]int

func (c cost) plus(d cost) cost {
	for i := range c {
		c[i] += d[i]
	}
	return c
}

// less compares, and names the first layer in which they differ.
func (c cost) less(d cost) (bool, int) {
	for i := range c {
		if c[i] != d[i] {
			return c[i] < d[i], i
		}
	}
	return false, costs
}

// option is one way to place one item: who has each rank, -1 for nobody.
type option struct {
	ranks []int
	cost  cost
}

// problem is one system: its members, and all ways to place each of its items.
type problem struct {
	*rules
	sys     fsm.System
	members []fsm.MemberID
	share   []int
	limit   []int // the most that each can have; also what it cannot be rid of
	options [][]option
	unit    bool // all items weigh the same
	common  int  // a multiple of all shares
}

// newProblem looks at a system. after has the homes that the plan has given.
func newProblem(r *rules, sys fsm.System, after *fsm.State) *problem {
	p := &problem{rules: r, sys: sys, members: r.serving(sys), common: 1, unit: true}
	for _, m := range p.members {
		server := r.state.Spec().Servers[m]
		p.share = append(p.share, server.Share())
		p.common *= server.Share()
		limit := server.Capacity
		if limit == 0 {
			limit = 1 << 30
		}
		p.limit = append(p.limit, limit)
	}
	stuck := make([]int, len(p.members))
	for _, item := range sys.Items {
		p.unit = p.unit && item.Load() == sys.Items[0].Load()
		for rank := range sys.Ranks() {
			slot, _ := r.state.Slot(fsm.Key{System: sys.Name, Item: item.ID, Rank: rank})
			if at := slices.Index(p.members, slot.Owner); at >= 0 && r.usable(slot.Owner) && r.fixed(sys, slot) {
				stuck[at] += item.Load()
			}
		}
	}
	for at := range p.limit {
		p.limit[at] = max(p.limit[at], stuck[at])
	}
	for i := range sys.Items {
		p.options = append(p.options, p.ways(i, after))
	}
	return p
}

// ways are all ways to place an item.
func (p *problem) ways(i int, after *fsm.State) []option {
	item := p.sys.Items[i]
	was, homes := make([]fsm.Slot, p.sys.Ranks()), make([]fsm.MemberID, p.sys.Ranks())
	for rank := range was {
		k := fsm.Key{System: p.sys.Name, Item: item.ID, Rank: rank}
		was[rank], _ = p.state.Slot(k)
		now, _ := after.Slot(k)
		homes[rank] = now.Home
	}
	var out []option
	p.extend(nil, item, was, func(ranks []int) {
		out = append(out, option{slices.Clone(ranks), p.price(ranks, item, was, homes)})
	})
	return out
}

// extend tries every member that may have the next rank, and nobody.
func (p *problem) extend(ranks []int, item fsm.Item, was []fsm.Slot, yield func([]int)) {
	if len(ranks) == len(was) {
		yield(ranks)
		return
	}
	slot := was[len(ranks)]
	if p.fixed(p.sys, slot) {
		p.extend(append(ranks, p.held(slot.Owner)), item, was, yield)
		return
	}
	for at, m := range p.members {
		if p.may(p.sys, item.ID, m) && !slices.Contains(ranks, at) && !p.stuckWith(was[len(ranks):], m) {
			p.extend(append(ranks, at), item, was, yield)
		}
	}
	p.extend(append(ranks, -1), item, was, yield)
}

// stuckWith reports whether one of the slots stays with a member whatever is best.
func (p *problem) stuckWith(slots []fsm.Slot, m fsm.MemberID) bool {
	return slices.ContainsFunc(slots, func(s fsm.Slot) bool { return s.Owner == m && p.fixed(p.sys, s) })
}

// held is the place of a member, -1 for one that is nobody's.
func (p *problem) held(m fsm.MemberID) int {
	if !p.usable(m) {
		return -1
	}
	return slices.Index(p.members, m)
}

// price is what a way to place an item costs.
func (p *problem) price(ranks []int, item fsm.Item, was []fsm.Slot, homes []fsm.MemberID) cost {
	var c cost
	top := p.top(p.sys, item.ID)
	had := map[int]int{} // rank that a member had, of those that it could have kept
	for rank, slot := range was {
		if at := p.held(slot.Owner); at >= 0 && mayKeep(p.rate(p.sys, item.ID, slot.Owner), top) {
			had[at] = rank
		}
	}
	zones := map[string]int{}
	for rank, at := range ranks {
		if at < 0 {
			c[costUnplaced+min(rank, 2)]++
			continue
		}
		m := p.members[at]
		zones[p.state.Spec().Servers[m].Zone]++
		_, own := had[at]
		c[costCompany] += p.lonely(m)
		p.grade(&c, p.rate(p.sys, item.ID, m), own)
		p.place(&c, rank, m, item, homes[rank])
		if slot := was[rank]; m != slot.Owner {
			c[costMoves]++
		}
		if !own && !slices.ContainsFunc(was, func(s fsm.Slot) bool { return s.Owner == m }) {
			c[costCopies]++
		}
	}
	for _, n := range zones {
		c[costZones] += n * n
	}
	p.keep(&c, ranks, item, was, had, homes)
	p.inOrder(&c, ranks, item, had, homes)
	p.inFront(&c, ranks, item)
	return c
}

// lonely is how many of the systems that go with this one cannot be with a member.
func (p *problem) lonely(m fsm.MemberID) int {
	n := 0
	for _, other := range p.state.Spec().Systems {
		can := slices.Contains(p.serving(other), m) && selected(other, p.state.Spec().Servers[m])
		if slices.Contains(other.With, p.sys.Name) && !can {
			n++
		}
	}
	return n
}

func (p *problem) grade(c *cost, rate int, own bool) {
	switch {
	case rate == rateFailed:
		c[costFailed]++
	case own:
	case rate == rateNew:
		c[costNew]++
	case rate == rateWaiting:
		c[costWaiting]++
	}
}

// place counts how far down its list a rank is, and whether it is at home.
func (p *problem) place(c *cost, rank int, m fsm.MemberID, item fsm.Item, home fsm.MemberID) {
	at := slices.Index(item.Prefer, m)
	if at < 0 {
		at = len(item.Prefer)
		if home != m {
			c[costHome+min(rank, 2)]++
		}
	}
	c[costPrefer+min(rank, 2)] += at
}

// keep counts what is taken from who could keep it for one who may not take it yet, or
// for nobody, and who must stand back behind such a one.
func (p *problem) keep(c *cost, ranks []int, item fsm.Item, was []fsm.Slot, had map[int]int, homes []fsm.MemberID) {
	early, placed := 0, 0
	for rank, at := range ranks {
		if at < 0 {
			continue
		}
		placed++
		m := p.members[at]
		if p.returns(item, m, was[rank].Home, homes[rank]) {
			continue
		}
		if _, own := had[at]; !own {
			early++
		}
		for other, before := range had {
			if before == rank && slices.Index(ranks, other) > rank {
				c[costKeep]++ // it had this rank
			}
		}
	}
	lost := len(was) - len(had)
	c[costKeep] += max(0, early-lost) + max(0, len(had)-placed)
}

// returns reports whether a member may take what another could keep: its time has come,
// or its home is new.
func (p *problem) returns(item fsm.Item, m, was, home fsm.MemberID) bool {
	newHome := was != "" && was != home && m == home && p.rate(p.sys, item.ID, m) == rateFine
	return p.back(p.sys, item.ID, m) || p.sys.Failback == fsm.NeverFailback && newHome
}

// inOrder counts who stands behind one that should follow it: warm copies come in the
// order in which they were, and newcomers after them, but for who is at home.
func (p *problem) inOrder(c *cost, ranks []int, item fsm.Item, had map[int]int, homes []fsm.MemberID) {
	place := func(at int) int {
		if before, own := had[at]; own {
			return before
		}
		return len(ranks)
	}
	for rank, at := range ranks {
		if at < 0 || p.members[at] == homes[rank] || slices.Contains(item.Prefer, p.members[at]) {
			continue
		}
		for _, behind := range ranks[rank+1:] {
			if behind >= 0 && place(behind) < place(at) {
				c[costOrder]++
			}
		}
	}
}

// inFront counts who has failed and stands before one that has not.
func (p *problem) inFront(c *cost, ranks []int, item fsm.Item) {
	failed := func(at int) bool { return p.rate(p.sys, item.ID, p.members[at]) == rateFailed }
	for rank, at := range ranks {
		for _, behind := range ranks[rank+1:] {
			if at >= 0 && behind >= 0 && failed(at) && !failed(behind) {
				c[costFront]++
			}
		}
	}
}

// burdens is how much each member has.
type burdens [12]uint8

// add puts an item's ranks on the members; false: it is too much for one of them.
func (p *problem) add(l burdens, o option, weight int) (burdens, bool) {
	for _, at := range o.ranks {
		if at < 0 {
			continue
		}
		sum := int(l[at]) + weight
		if sum > min(p.limit[at], 0xff) {
			return burdens{}, false
		}
		l[at] = uint8(sum)
	}
	return l, true
}

// balance is the sum of the squares of the loads, each relative to the member's share.
func (p *problem) balance(l burdens) int {
	sum := 0
	for at, share := range p.share {
		sum += int(l[at]) * int(l[at]) * (p.common / share)
	}
	return sum
}

// best is the least that a placement can cost, found by trying all: of those that
// load the members alike only the best is remembered.
func (p *problem) best() cost {
	found := map[burdens]cost{{}: {}}
	for i, item := range p.sys.Items {
		next := make(map[burdens]cost, len(found))
		for l, c := range found {
			for _, o := range p.options[i] {
				to, fits := p.add(l, o, item.Load())
				if !fits {
					continue
				}
				sum := c.plus(o.cost)
				if old, known := next[to]; known {
					if better, _ := sum.less(old); !better {
						continue
					}
				}
				next[to] = sum
			}
		}
		found = next
	}
	first, least := true, cost{}
	for l, c := range found {
		c[costBalance] = p.balance(l)
		if better, _ := c.less(least); first || better {
			first, least = false, c
		}
	}
	return least
}

// of is what the placement of a State costs; why says which rule it breaks.
func (p *problem) of(after *fsm.State) (sum cost, chosen []option, l burdens, why string) {
	for i, item := range p.sys.Items {
		ranks := make([]int, p.sys.Ranks())
		for rank := range ranks {
			slot, _ := after.Slot(fsm.Key{System: p.sys.Name, Item: item.ID, Rank: rank})
			ranks[rank] = p.held(slot.Owner)
		}
		at := slices.IndexFunc(p.options[i], func(o option) bool { return slices.Equal(o.ranks, ranks) })
		if at < 0 {
			return cost{}, nil, burdens{}, "no rule lets " + string(item.ID) + " be with " + p.names(ranks)
		}
		o := p.options[i][at]
		to, fits := p.add(l, o, item.Load())
		if !fits {
			return cost{}, nil, burdens{}, string(item.ID) + " with " + p.names(ranks) + " is more than somebody's capacity"
		}
		l, sum, chosen = to, sum.plus(o.cost), append(chosen, o)
	}
	sum[costBalance] = p.balance(l)
	return sum, chosen, l, ""
}

func (p *problem) names(ranks []int) string {
	out := ""
	for _, at := range ranks {
		if at < 0 {
			out += "nobody "
			continue
		}
		out += string(p.members[at]) + " "
	}
	return out
}
