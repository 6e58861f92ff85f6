package placement

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// cluster is a State that tests drive through fsm.Apply, as the log would.
type cluster struct {
	t        testing.TB
	state    *fsm.State
	at       fsm.Index
	spec     fsm.Spec // the next one to be committed
	unusable map[fsm.MemberID]string
	well     map[fsm.MemberID]time.Duration
	// now is the proposers' clock. Until a test sets it, an hour passes with each
	// command, so that nothing is of late.
	now    int64
	timed  bool
	asked  *Planner // is asked about each State, and must answer as Plan does
	oracle planner  // what is judged: Plan
	dealer bool     // it deals homes as well as it can
}

const hour = int64(time.Hour / time.Millisecond)

func newCluster(t testing.TB) *cluster {
	return &cluster{
		t: t, state: fsm.New(), unusable: map[fsm.MemberID]string{}, now: 1000 * hour, asked: &Planner{}, oracle: Plan, dealer: true,
		spec: fsm.Spec{
			Timing:  fsm.Timing{Heartbeat: 50 * time.Millisecond, Lease: 300 * time.Millisecond},
			Servers: map[fsm.MemberID]fsm.Server{}, Systems: map[fsm.SystemID]fsm.System{},
		},
	}
}

// apply commits a command, which must not be refused.
func (c *cluster) apply(cmd fsm.Command) fsm.Result {
	c.t.Helper()
	c.at++
	if !c.timed {
		c.now += hour
	}
	next, res, err := c.state.Apply(c.at, fsm.Encode(cmd))
	if err != nil || !res.Applied || len(res.Dropped) > 0 {
		c.t.Fatalf("%T: %v %+v", cmd, err, res)
	}
	if err := fsm.Check(next); err != nil {
		c.t.Fatalf("after %T: %v", cmd, err)
	}
	c.state = next
	return res
}

func (c *cluster) server(name string, priority int, systems ...string) {
	s := fsm.Server{Name: fsm.MemberID(name), Addr: name + ":1", Role: fsm.RoleVoter}
	if priority != 0 {
		s.Priority, s.HasPriority = priority, true
	}
	for _, id := range systems {
		s.Systems = append(s.Systems, fsm.SystemID(id))
	}
	slices.Sort(s.Systems)
	c.spec.Servers[s.Name] = s
}

func (c *cluster) system(name string, split fsm.Split, guarantee fsm.Guarantee, items ...string) {
	s := fsm.System{
		Name: fsm.SystemID(name), Split: split, Guarantee: guarantee,
		Action: fsm.ActionHooks, Alive: "up", Down: "down", Config: []byte("{}"),
	}
	if split == fsm.ChooseOne {
		s.Failback = fsm.NeverFailback // as the configuration has it when nothing is said
	}
	for _, id := range slices.Sorted(slices.Values(items)) {
		s.Items = append(s.Items, fsm.Item{ID: fsm.ItemID(id)})
	}
	c.spec.Systems[s.Name] = s
}

// addresses is a system whose items are addresses.
func (c *cluster) addresses(name string, split fsm.Split, guarantee fsm.Guarantee, items ...string) {
	c.system(name, split, guarantee, items...)
	s := c.spec.Systems[fsm.SystemID(name)]
	s.Action, s.Alive, s.Down, s.IP = fsm.ActionIP, "", "", &fsm.IP{}
	for i := range s.Items {
		s.Items[i].Addrs = []string{string(s.Items[i].ID) + "/32"}
	}
	c.spec.Systems[s.Name] = s
}

// commit makes the spec the State's.
func (c *cluster) commit() {
	c.t.Helper()
	spec := c.spec
	spec.Servers, spec.Systems = maps.Clone(spec.Servers), maps.Clone(spec.Systems)
	set := fsm.SetSpec{Was: c.state.Spec().Version, Spec: spec, At: c.now}
	if set.Was == 0 {
		set.Cluster = "test"
	}
	c.apply(set)
}

// up registers a new process of each member.
func (c *cluster) up(names ...string) {
	c.t.Helper()
	for _, name := range names {
		c.register(name, "machine of "+name)
	}
}

func (c *cluster) register(name, machine string) {
	c.t.Helper()
	old, _ := c.state.Member(fsm.MemberID(name))
	var nonce fsm.Nonce
	copy(nonce[:], fmt.Sprintf("%016d", c.at+1))
	c.apply(fsm.Register{
		Member: fsm.MemberID(name), Nonce: nonce, Process: nonce, Replaces: old.Epoch,
		Host: fsm.Host{Machine: machine, Boot: "b", Instance: "i"}, At: c.now,
	})
}

func (c *cluster) epoch(name string) fsm.Epoch {
	m, _ := c.state.Member(fsm.MemberID(name))
	return m.Epoch
}

func (c *cluster) down(names ...string) {
	c.t.Helper()
	for _, name := range names {
		c.apply(fsm.Down{Member: fsm.MemberID(name), Epoch: c.epoch(name), Voters: c.state.Voters().Index, At: c.now})
	}
}

// programs says which systems programs on a member have claimed.
func (c *cluster) programs(name string, systems ...string) {
	c.t.Helper()
	claimed := &fsm.Programs{}
	for _, id := range slices.Sorted(slices.Values(systems)) {
		claimed.Systems = append(claimed.Systems, fsm.SystemID(id))
	}
	c.apply(fsm.Report{Member: fsm.MemberID(name), Epoch: c.epoch(name), Programs: claimed, At: c.now})
}

// change edits a system of the next Spec.
func (c *cluster) change(name string, edit func(*fsm.System)) {
	s := c.spec.Systems[fsm.SystemID(name)]
	s.Items = slices.Clone(s.Items)
	edit(&s)
	c.spec.Systems[s.Name] = s
}

func (c *cluster) leave(name string) {
	c.t.Helper()
	c.apply(fsm.Leave{Member: fsm.MemberID(name), Epoch: c.epoch(name), At: c.now})
}

func (c *cluster) settle(name string) {
	c.t.Helper()
	c.apply(fsm.Settle{Member: fsm.MemberID(name), Epoch: c.epoch(name)})
}

// release confirms all that a member may still hold.
func (c *cluster) release(name string) {
	c.t.Helper()
	m, _ := c.state.Member(fsm.MemberID(name))
	report := fsm.Report{Member: fsm.MemberID(name), Epoch: m.Epoch, At: c.now}
	for slot := range c.state.Slots() {
		for _, e := range slot.Outstanding {
			if string(e.Member) == name {
				report.Released = append(report.Released, fsm.Claim{Key: slot.Key, Member: e.Member, Epoch: e.Epoch, Token: e.Token})
			}
		}
	}
	c.apply(report)
}

// removing marks a server as to be taken out, or takes the mark back.
func (c *cluster) removing(name string, on bool) {
	server := c.spec.Servers[fsm.MemberID(name)]
	server.Removing = on
	c.spec.Servers[server.Name] = server
}

// fail says that a hook of a slot failed at its owner.
func (c *cluster) fail(name string, key fsm.Key, text string, unfit bool) {
	c.t.Helper()
	slot, _ := c.state.Slot(key)
	c.apply(fsm.Report{
		Member: fsm.MemberID(name), Epoch: c.epoch(name),
		Failed: []fsm.Failure{{Key: key, Token: slot.Token, Err: text, Unfit: unfit}}, At: c.now,
	})
	if _, ok := c.state.FailureOf(fsm.MemberID(name), key); !ok {
		c.t.Fatalf("the failure of %s for %v was not remembered", name, key)
	}
}

// maintain begins or ends the maintenance of a system, "" for all.
func (c *cluster) maintain(system string, on bool) {
	c.t.Helper()
	c.apply(fsm.Maintain{System: fsm.SystemID(system), On: on, At: c.now})
}

// mend says that a failure is none any more.
func (c *cluster) mend(name string, key fsm.Key) {
	c.t.Helper()
	c.apply(fsm.Report{Member: fsm.MemberID(name), Epoch: c.epoch(name), Mended: []fsm.Key{key}, At: c.now})
	if f, still := c.state.FailureOf(fsm.MemberID(name), key); still {
		c.t.Fatalf("the failure of %s for %v is remembered still: %+v", name, key, f)
	}
}

func (c *cluster) view(budget int) View {
	v := View{State: c.state, Unusable: c.unusable, Well: c.well, Budget: budget}
	if c.timed {
		v.Now = c.now
	}
	return v
}

// plan asks for moves, lets the oracle judge them, and commits them.
func (c *cluster) plan(budget int) []fsm.Move {
	c.t.Helper()
	return c.planned(budget).Moves
}

func (c *cluster) planned(budget int) Result {
	c.t.Helper()
	res, complaints := c.judged(budget)
	if len(complaints) > 0 {
		c.t.Fatalf("the oracle rejects the plan:\n%s\n%s", strings.Join(complaints, "\n"), describe(res.Moves))
	}
	return res
}

// judged plans, commits, and has the oracle judge.
func (c *cluster) judged(budget int) (Result, []string) {
	c.t.Helper()
	view := c.view(budget)
	res := c.oracle(view)
	var complaints []string
	if again := c.oracle(view); !reflect.DeepEqual(again, res) {
		complaints = append(complaints, "planning twice gives two answers")
	}
	if c.asked != nil {
		if asked := c.asked.Plan(view); !reflect.DeepEqual(asked, res) {
			complaints = append(complaints, "the planner that remembers answers otherwise:\n"+listing(asked))
		}
	}
	c.assign(res.Moves)
	j := newJudgement(c.oracle, view, c.state)
	complaints = append(complaints, j.all(res)...)
	if c.dealer {
		complaints = append(complaints, j.dealt()...)
	}
	return res, complaints
}

func (c *cluster) assign(moves []fsm.Move) {
	c.t.Helper()
	if len(moves) > 0 {
		c.apply(fsm.Assign{Moves: moves, At: c.now})
	}
}

func (c *cluster) owners(system string) map[string]string {
	out := map[string]string{}
	for slot := range c.state.SlotsOf(fsm.SystemID(system)) {
		out[slotName(slot.Key)] = string(slot.Owner)
	}
	return out
}
