package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// driver applies commands one after the other, as a log does, and checks the
// State after each.
type driver struct {
	t     testing.TB
	s     *State
	at    Index
	loose bool // a rule is left out: invariants need not hold
}

func newDriver(t testing.TB) *driver { return &driver{t: t, s: New()} }

// founded is a driver with members a, b and c registered, each on a machine of
// its own, and the systems of testSpec.
func founded(t testing.TB, edit ...func(*Spec)) *driver {
	d := newDriver(t)
	spec := testSpec()
	for _, e := range edit {
		e(&spec)
	}
	d.must(SetSpec{Cluster: "c1", Spec: spec})
	for _, m := range []MemberID{"a", "b", "c"} {
		d.must(d.registration(m))
	}
	return d
}

// foundedWithout leaves rules out from the start.
func foundedWithout(t testing.TB, r Rule, edit ...func(*Spec)) *driver {
	d := founded(t, edit...)
	if r != 0 {
		d.s, d.loose = d.s.Without(r), true
	}
	return d
}

// testSpec has an at-most-one system of hooks (one), an at-least-one system of
// hooks (least), a gated one with addresses (ip) and a replicated one (all).
func testSpec() Spec {
	serves := []SystemID{"all", "ip", "least", "one"}
	return Spec{
		Timing: Timing{Preset: "lan", Heartbeat: 50 * time.Millisecond, Lease: 300 * time.Millisecond},
		Servers: map[MemberID]Server{
			"a": {Addr: "192.0.2.1:2200", Role: RoleVoter, Systems: serves},
			"b": {Addr: "192.0.2.2:2200", Role: RoleVoter, Systems: serves},
			"c": {Addr: "192.0.2.3:2200", Role: RoleVoter, Systems: serves},
		},
		Systems: map[SystemID]System{
			"one": {
				Split: Shard, Guarantee: AtMostOne, Action: ActionHooks, Alive: "up", Down: "down",
				Config: []byte(`{"x":1}`), Items: []Item{{ID: "x"}, {ID: "y"}}, StopTimeout: time.Second, CleanOnStart: true,
			},
			"least": {
				Split: Shard, Guarantee: AtLeastOne, Action: ActionHooks, Alive: "up", Down: "down",
				Items: []Item{{ID: "x"}, {ID: "y"}},
			},
			"ip": {
				Split: Shard, Guarantee: AtMostOne, Action: ActionIP, IP: &IP{},
				Items: []Item{{ID: "x", Addrs: []string{"198.51.100.1/24"}}, {ID: "y", Addrs: []string{"198.51.100.2/32"}}},
			},
			"all": {
				Split: Replicate, Guarantee: AtLeastOne, Action: ActionHooks, Alive: "up", Down: "down",
				Items: []Item{{ID: "x"}},
			},
		},
	}
}

var (
	oneX   = Key{System: "one", Item: "x"}
	oneY   = Key{System: "one", Item: "y"}
	leastX = Key{System: "least", Item: "x"}
	ipX    = Key{System: "ip", Item: "x"}
	allX   = Key{System: "all", Item: "x"}
)

func hostOf(m MemberID) Host {
	return Host{Machine: "machine-" + string(m), Boot: "boot-1", Instance: "instance-" + string(m)}
}

// nonce is a Nonce made of a text.
func nonce(format string, args ...any) Nonce {
	var n Nonce
	copy(n[:], fmt.Sprintf(format, args...))
	return n
}

// registration is the next one of a member by the process that has registered
// already, or else its first, on its usual machine, with the gate.
func (d *driver) registration(m MemberID) Register {
	old, known := d.s.Member(m)
	r := Register{
		Member: m, Nonce: nonce("%s %d", m, d.at), Process: old.Process, Replaces: old.Epoch,
		Host: old.Host, Gate: old.Gate, Wire: [2]uint16{1, 1}, At: int64(d.at),
	}
	if !known {
		r.Process, r.Host, r.Gate = nonce("process of %s", m), hostOf(m), true
	}
	return r
}

// moved is the next registration, from another machine, by another process.
func (d *driver) moved(m MemberID) Register {
	r := d.registration(m)
	r.Process = nonce("%s at %d", m, d.at)
	r.Host.Machine = fmt.Sprintf("machine-%d", d.at)
	return r
}

// do applies a command. Nothing that existed before may change by it.
func (d *driver) do(c Command) Result {
	d.t.Helper()
	d.at++
	before := snapshot(d.t, d.s)
	was := d.s
	next, res, err := d.s.Apply(d.at, Encode(c))
	if err != nil {
		d.t.Fatalf("apply %T: %v", c, err)
	}
	if !bytes.Equal(before, snapshot(d.t, was)) {
		d.t.Fatalf("%T changed the State it was applied to", c)
	}
	if !res.Applied && next != was {
		d.t.Fatalf("%T was refused and changed the State", c)
	}
	if !d.loose {
		if err := Check(next); err != nil {
			d.t.Fatalf("after %T: %v", c, err)
		}
	}
	d.s = next
	return res
}

// must is do for a command that may not be refused.
func (d *driver) must(c Command) Result {
	d.t.Helper()
	res := d.do(c)
	if !res.Applied || len(res.Dropped) > 0 {
		d.t.Fatalf("%T: %+v", c, res)
	}
	return res
}

// refuses is do for a command that must be refused for a reason.
func (d *driver) refuses(c Command, why string) {
	d.t.Helper()
	res := d.do(c)
	if res.Applied || !strings.Contains(res.Why, why) {
		d.t.Fatalf("%T: want it refused with %q, got %+v", c, why, res)
	}
}

func (d *driver) slot(k Key) Slot {
	slot, _ := d.s.Slot(k)
	return slot
}

func (d *driver) memberOf(m MemberID) Member {
	d.t.Helper()
	out, ok := d.s.Member(m)
	if !ok {
		d.t.Fatalf("member %s is not registered", m)
	}
	return out
}

func (d *driver) epoch(m MemberID) Epoch { return d.memberOf(m).Epoch }

func (d *driver) move(k Key, to MemberID) Move {
	return Move{Key: k, Was: d.slot(k).Token, To: to, Reason: "test"}
}

// give moves slots to a member; the new tokens are the index.
func (d *driver) give(to MemberID, keys ...Key) Token {
	d.t.Helper()
	var moves []Move
	for _, k := range keys {
		moves = append(moves, d.move(k, to))
	}
	d.must(Assign{Moves: moves, At: int64(d.at)})
	return Token(d.at)
}

// down calls a member's newest epoch down by votes; two of them are not lost at once.
func (d *driver) down(m MemberID, moves ...Move) {
	d.t.Helper()
	d.must(Down{Member: m, Epoch: d.epoch(m), Voters: d.s.Voters().Index, Moves: moves, At: 1000 * int64(d.at) * int64(lostWithin.Seconds()+1)})
}

func (d *driver) bye(m MemberID, kept ...Key) Goodbye {
	me := d.memberOf(m)
	return Goodbye{Member: m, Host: me.Host, Process: me.Process, Epoch: me.Epoch, Kept: kept}
}

// claim names the member's entry in a slot: its only one.
func (d *driver) claim(m MemberID, k Key) Claim {
	d.t.Helper()
	var out []Claim
	for _, e := range d.slot(k).Outstanding {
		if e.Member == m {
			out = append(out, Claim{Key: k, Member: m, Epoch: e.Epoch, Token: e.Token})
		}
	}
	if len(out) != 1 {
		d.t.Fatalf("%s has %d entries in %v", m, len(out), k)
	}
	return out[0]
}

// acquire reports that the owner has a slot under its token.
func (d *driver) acquire(keys ...Key) {
	d.t.Helper()
	for _, k := range keys {
		slot := d.slot(k)
		d.must(Report{Member: slot.Owner, Epoch: d.epoch(slot.Owner), Acquired: []Claim{{Key: k, Member: slot.Owner, Token: slot.Token}}})
		if d.slot(k).Acquired != d.epoch(slot.Owner) {
			d.t.Fatalf("%v is not acquired: %+v", k, d.slot(k))
		}
	}
}

// release reports entries released under the member's newest epoch.
func (d *driver) release(m MemberID, claims ...Claim) {
	d.t.Helper()
	d.must(Report{Member: m, Epoch: d.epoch(m), Released: claims})
}

// respec changes the Spec.
func (d *driver) respec(edit func(*Spec)) SetSpec {
	spec := testSpec()
	edit(&spec)
	return SetSpec{Was: d.s.Spec().Version, Spec: spec}
}

// set is the slot's outstanding entries in short: "a@3/7 b@4/9 gated".
func (d *driver) set(k Key) string {
	var out []string
	for _, e := range d.slot(k).Outstanding {
		s := fmt.Sprintf("%s@%d/%d", e.Member, e.Epoch, e.Token)
		for _, f := range []struct {
			is   bool
			word string
		}{{e.Gated, "+gated"}, {!e.AtMostOne, "+least"}, {e.Void, "+void"}} {
			if f.is {
				s += f.word
			}
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func (d *driver) wantSet(k Key, want string, args ...any) {
	d.t.Helper()
	if got := d.set(k); got != fmt.Sprintf(want, args...) {
		d.t.Fatalf("outstanding of %v: %q, want %q", k, got, fmt.Sprintf(want, args...))
	}
}

func (d *driver) wantOwner(k Key, m MemberID, token Token) {
	d.t.Helper()
	if slot := d.slot(k); slot.Owner != m || slot.Token != token {
		d.t.Fatalf("%v: owner %q with token %d, want %q with %d", k, slot.Owner, slot.Token, m, token)
	}
}

// on edits one system of a Spec.
func on(id SystemID, edit func(*System)) func(*Spec) {
	return func(s *Spec) {
		sys := s.Systems[id]
		sys.Items = slices.Clone(sys.Items)
		edit(&sys)
		s.Systems[id] = sys
	}
}

// plumbed makes a system one of addresses, which its items get if they have none.
func plumbed(s *System) {
	s.Action, s.IP = ActionIP, &IP{}
	for i := range s.Items {
		if len(s.Items[i].Addrs) == 0 {
			s.Items[i].Addrs = []string{fmt.Sprintf("203.0.113.%d/32", i)}
		}
	}
}

// hooked makes a system one of hooks.
func hooked(s *System) {
	s.Action, s.IP = ActionHooks, nil
	for i := range s.Items {
		s.Items[i].Addrs, s.Items[i].Interface = nil, ""
	}
}

// fenced gives a system a fence.
func fenced(s *System) { s.Fence, s.FenceTimeout = "fence", time.Minute }

func without(id SystemID) func(*Spec) { return func(s *Spec) { delete(s.Systems, id) } }

func only(items ...Item) func(*System) { return func(s *System) { s.Items = items } }

func snapshot(t testing.TB, s *State) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Write(&b); err != nil {
		t.Fatalf("write: %v", err)
	}
	return b.Bytes()
}
