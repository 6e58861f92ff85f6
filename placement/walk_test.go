package placement

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/fsm"
)

// TestPlanAgainstOracle drives a cluster at random and lets the oracle judge
// each plan.
func TestPlanAgainstOracle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWalk(t, rt, wishes{})
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			w.step()
			w.plans(w.drawBudget())
		}
	})
}

// TestWishesAgainstOracle is the same with everything that can be asked for, a few
// things at a time: together they leave little that is possible.
func TestWishesAgainstOracle(t *testing.T) {
	for name, ask := range map[string]wishes{
		"replicas": {replicas: true},
		"zones":    {replicas: true, zones: true},
		"capacity": {capacity: true},
		"select":   {tags: true},
		"prefer":   {prefer: true},
		"weights":  {weights: true},
		"shares":   {shares: true},
		"failback": {waits: true},
		"with":     {relations: true},
		"limits":   {capacity: true, tags: true, prefer: true},
		"copies":   {replicas: true, zones: true, capacity: true, tags: true},
		"brakes":   {brakes: true, waits: true},
		"all":      {true, true, true, true, true, false, true, true, true, true},
		"heavy":    {true, true, true, true, true, true, true, true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				w := newWalk(t, rt, ask)
				for range rapid.IntRange(1, 12).Draw(rt, "steps") {
					w.step()
					w.plans(w.drawBudget())
				}
			})
		})
	}
}

// wishes are what a walk asks for besides members and items.
type wishes struct {
	replicas, zones, capacity, tags, prefer, weights, shares, waits, relations, brakes bool
}

// walk is a random history of one cluster with two systems, or three.
type walk struct {
	*cluster
	rt  *rapid.T
	ask wishes
}

func newWalk(t testing.TB, rt *rapid.T, ask wishes) *walk {
	w := &walk{newCluster(t), rt, ask}
	for _, m := range names("n", rapid.IntRange(1, w.most(5, 4)).Draw(rt, "members")) {
		w.drawServer(m)
	}
	for _, id := range w.systems() {
		w.drawSystem(id)
	}
	if ask.waits || ask.brakes {
		w.timed = true
		w.well = map[fsm.MemberID]time.Duration{}
	}
	w.commitOr(rt.SkipNow)
	return w
}

// most is the first number, or the second where there are many ways to place an item.
func (w *walk) most(plain, asking int) int {
	if w.ask == (wishes{}) {
		return plain
	}
	return asking
}

func (w *walk) systems() []string {
	if w.ask.relations {
		return []string{"s", "t", "u"}
	}
	return []string{"s", "t"}
}

// commitOr commits, or does something else when the Spec cannot be.
func (w *walk) commitOr(otherwise func()) {
	spec := w.spec
	set := fsm.SetSpec{Was: w.state.Spec().Version, Cluster: "test", Spec: spec, At: w.now}
	if _, res, err := w.state.Apply(w.at+1, fsm.Encode(set)); err != nil || !res.Applied {
		otherwise()
		return
	}
	w.commit()
}

func (w *walk) drawServer(name string) {
	var systems []string
	for _, id := range w.systems() {
		if rapid.IntRange(0, 4).Draw(w.rt, "serves "+id) > 0 {
			systems = append(systems, id)
		}
	}
	w.server(name, rapid.IntRange(0, 3).Draw(w.rt, "priority"), systems...)
	server := w.spec.Servers[fsm.MemberID(name)]
	if w.ask.shares {
		server.Weight = rapid.IntRange(0, 3).Draw(w.rt, "share")
	}
	if w.ask.capacity {
		server.Capacity = rapid.IntRange(0, 4).Draw(w.rt, "capacity")
	}
	if w.ask.zones {
		server.Zone = rapid.SampledFrom([]string{"", "a", "b"}).Draw(w.rt, "zone")
	}
	if w.ask.tags {
		for _, tag := range []string{"disk", "rack"} {
			if value := rapid.SampledFrom([]string{"", "x", "y"}).Draw(w.rt, tag); value != "" {
				server.Tags = append(server.Tags, fsm.Tag{Name: tag, Value: value})
			}
		}
	}
	w.spec.Servers[server.Name] = server
}

func (w *walk) drawSystem(id string) {
	splits := []fsm.Split{fsm.Shard, fsm.Shard, fsm.Shard, fsm.ChooseOne, fsm.Replicate, fsm.Nothing}
	if w.ask.replicas {
		splits = splits[:1]
	}
	split := rapid.SampledFrom(splits).Draw(w.rt, "type")
	guarantee := fsm.AtLeastOne
	if split != fsm.Replicate && rapid.Bool().Draw(w.rt, "at most one") {
		guarantee = fsm.AtMostOne
	}
	items := rapid.SliceOfNDistinct(rapid.SampledFrom(names("d", 9)), 0, w.most(9, 5), rapid.ID).Draw(w.rt, "data")
	w.system(id, split, guarantee, items...)
	w.change(id, w.drawWishes)
}

func (w *walk) drawWishes(sys *fsm.System) {
	sys.NoBrake = !w.ask.brakes
	if w.ask.replicas {
		sys.Replicas = rapid.IntRange(0, 3).Draw(w.rt, "replicas")
	}
	if w.ask.tags && rapid.Bool().Draw(w.rt, "selects") {
		sys.SelectAny = rapid.Bool().Draw(w.rt, "any")
		sys.Select = []fsm.Match{{Tag: "disk"}, {Tag: "rack", Values: []string{"x"}}}
	}
	if w.ask.waits {
		sys.Failback = rapid.SampledFrom([]time.Duration{0, fsm.NeverFailback, 30 * time.Second}).Draw(w.rt, "failback")
		sys.Mature = rapid.SampledFrom([]time.Duration{0, 0, 10 * time.Second}).Draw(w.rt, "mature")
	}
	for i := range sys.Items {
		if w.ask.weights {
			sys.Items[i].Weight = rapid.IntRange(0, 4).Draw(w.rt, "weight")
		}
		if w.ask.prefer && rapid.IntRange(0, 2).Draw(w.rt, "prefers") == 0 {
			servers := slices.Sorted(maps.Keys(w.spec.Servers))
			sys.Items[i].Prefer = rapid.SliceOfNDistinct(rapid.SampledFrom(servers), 1, 2, rapid.ID).Draw(w.rt, "prefer")
		}
	}
	if w.ask.relations && sys.Name != "s" {
		other := []fsm.SystemID{"s"}
		if sys.Name == "u" && rapid.Bool().Draw(w.rt, "the other") {
			other[0] = "t"
		}
		switch rapid.IntRange(0, 2).Draw(w.rt, "relation") {
		case 0:
			sys.With = other
		case 1:
			sys.Apart = other
		}
	}
}

// step changes one thing.
func (w *walk) step() {
	w.passTime()
	m := rapid.SampledFrom(names("n", 6)).Draw(w.rt, "member")
	state, registered := w.state.Member(fsm.MemberID(m))
	_, listed := w.spec.Servers[fsm.MemberID(m)]
	switch rapid.IntRange(0, 12).Draw(w.rt, "what") {
	case 0, 1, 2:
		if listed {
			w.up(m)
			delete(w.well, fsm.MemberID(m))
		}
	case 3, 4:
		if registered && state.Up {
			w.down(m)
			delete(w.well, fsm.MemberID(m))
		}
	case 5:
		if registered && state.Up {
			w.leave(m)
		}
	case 6:
		if listed {
			w.register(m, "machine at "+fmt.Sprint(w.at))
			delete(w.well, fsm.MemberID(m))
		}
	case 7:
		if registered && state.Up {
			w.settle(m)
		}
	case 8:
		w.drawFailure()
	case 9:
		w.health(m)
	case 10:
		w.edit(m)
	case 11:
		w.operate()
	case 12:
		if registered {
			w.release(m)
		}
	}
}

// operate is what an operator does.
func (w *walk) operate() {
	system := rapid.SampledFrom([]string{"s", "t", ""}).Draw(w.rt, "system")
	if w.ask.brakes && rapid.Bool().Draw(w.rt, "cleanup") {
		w.apply(fsm.Cleanup{System: fsm.SystemID(system), At: w.now})
		return
	}
	w.maintain(system, !slices.Contains(w.state.Maintenance(), fsm.SystemID(system)))
}

// passTime lets a while pass in which those that are up stay well.
func (w *walk) passTime() {
	if !w.timed {
		return
	}
	d := rapid.SampledFrom([]time.Duration{time.Second, 5 * time.Second, 20 * time.Second, time.Minute, 5 * time.Minute}).Draw(w.rt, "passes")
	w.now += d.Milliseconds()
	for id, m := range w.state.Members() {
		if m.Up {
			w.well[id] += d
		}
	}
}

// drawFailure lets a hook fail at some owner, or mends what has failed.
func (w *walk) drawFailure() {
	for m, f := range w.state.Failures() {
		if rapid.IntRange(0, 3).Draw(w.rt, "mended") == 0 {
			w.mend(string(m), f.Key)
			return
		}
	}
	var owned []fsm.Slot
	for slot := range w.state.Slots() {
		if m, ok := w.state.Member(slot.Owner); ok && m.Up && m.Settled {
			owned = append(owned, slot)
		}
	}
	if len(owned) > 0 {
		slot := rapid.SampledFrom(owned).Draw(w.rt, "slot")
		w.fail(string(slot.Owner), slot.Key, "exit status 1", rapid.Bool().Draw(w.rt, "unfit"))
	}
}

func (w *walk) health(m string) {
	if _, out := w.unusable[fsm.MemberID(m)]; out {
		delete(w.unusable, fsm.MemberID(m))
	} else {
		w.unusable[fsm.MemberID(m)] = "is sick"
	}
}

// edit changes the configuration: a server, or a system.
func (w *walk) edit(m string) {
	was := w.spec
	w.spec.Servers, w.spec.Systems = maps.Clone(was.Servers), maps.Clone(was.Systems)
	switch rapid.IntRange(0, 3).Draw(w.rt, "edit") {
	case 0:
		w.drawServer(m)
	case 1:
		w.takeOut(m)
	default:
		w.drawSystem(rapid.SampledFrom(w.systems()).Draw(w.rt, "system"))
	}
	w.commitOr(func() { w.spec = was })
}

// takeOut marks a server as to be taken out, takes the mark back, or takes it out once
// all is gone from it.
func (w *walk) takeOut(m string) {
	id := fsm.MemberID(m)
	server, listed := w.spec.Servers[id]
	switch {
	case !listed:
	case server.Removing && w.state.Spec().Servers[id].Removing && w.state.Drained(id):
		delete(w.spec.Servers, id)
	case server.Removing:
		w.removing(m, false)
	case len(w.spec.Staying()) > 1:
		w.removing(m, true)
	}
}

// drawBudget draws one that the moves of any one item fit into.
func (w *walk) drawBudget() int {
	if w.ask.replicas {
		return rapid.SampledFrom([]int{0, 0, 0, 3, 4}).Draw(w.rt, "budget")
	}
	return rapid.SampledFrom([]int{0, 0, 0, 1, 3}).Draw(w.rt, "budget")
}

// plans makes a plan, with the oracle's complaints as the test's failure.
func (w *walk) plans(budget int) {
	before, asked := w.situation(), w.asked
	if rapid.IntRange(0, 3).Draw(w.rt, "asked") == 0 {
		w.asked = nil // it does not see each State
	}
	res, complaints := w.judged(budget)
	w.asked = asked
	if len(complaints) > 0 {
		w.rt.Fatalf("%s\nbefore:\n%s\nthe plan:\n%s", strings.Join(complaints, "\n"), before, listing(res))
	}
}

// situation writes down all that a plan is made from, as a script would say it.
func (w *walk) situation() string {
	var b strings.Builder
	spec := w.state.Spec()
	for _, id := range slices.Sorted(maps.Keys(spec.Servers)) {
		s := spec.Servers[id]
		m, registered := w.state.Member(id)
		fmt.Fprintf(&b, "server %s priority %d weight %d capacity %d zone %q tags %v serves %v removing %v; registered %v up %v leaving %v settled %v well %v %s\n",
			id, s.Priority, s.Weight, s.Capacity, s.Zone, s.Tags, s.Systems, s.Removing, registered, m.Up, m.Leaving, m.Settled, w.well[id], w.unusable[id])
	}
	for _, id := range slices.Sorted(maps.Keys(spec.Systems)) {
		s := spec.Systems[id]
		fmt.Fprintf(&b, "system %s %v %v replicas %d select %v any %v with %v apart %v failback %v mature %v rehome %v maintained %v\n",
			id, s.Split, s.Guarantee, s.Replicas, s.Select, s.SelectAny, s.With, s.Apart, s.Failback, s.Mature, s.Rehome, w.state.Maintained(id))
		for _, item := range s.Items {
			fmt.Fprintf(&b, "  item %s weight %d prefer %v", item.ID, item.Weight, item.Prefer)
			for rank := range s.Ranks() {
				slot, _ := w.state.Slot(fsm.Key{System: id, Item: item.ID, Rank: rank})
				fmt.Fprintf(&b, " | with %s home %s moved %d braked %v", orNobody(slot.Owner), orNobody(slot.Home), len(slot.Moved), slot.Braked)
			}
			b.WriteString("\n")
		}
	}
	for m, f := range w.state.Failures() {
		fmt.Fprintf(&b, "%s failed %s\n", m, slotPath(f.Key))
	}
	return b.String()
}
