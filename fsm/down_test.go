package fsm

import "testing"

func TestDownRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(d *driver, x *Down)
		why  string
	}{
		{"a stranger", func(_ *driver, x *Down) { x.Member = "z" }, "never registered"},
		{"another epoch", func(_ *driver, x *Down) { x.Epoch-- }, "not the member's newest"},
		{"twice", func(d *driver, _ *Down) { d.down("a") }, "down already"},
		{"an older list of voters", func(_ *driver, x *Down) { x.Voters = 4 }, "another list of voters"},
		{"a newer list of voters", func(_ *driver, x *Down) { x.Voters = 6 }, "another list of voters"},
		{"another member's goodbye", func(d *driver, x *Down) { g := d.bye("b"); x.Goodbye = &g }, "another member's"},
		{"a former process's goodbye", func(d *driver, x *Down) {
			g := d.bye("a")
			r := d.registration("a")
			r.Process = nonce("restarted")
			d.must(r)
			x.Epoch, x.Goodbye = d.epoch("a"), &g
		}, "another has replaced"},
		{"a goodbye while unsettled", func(d *driver, x *Down) {
			d.must(d.moved("a"))
			g := d.bye("a")
			x.Epoch, x.Goodbye = d.epoch("a"), &g
		}, "unsettled"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := founded(t)
			d.s = d.s.WithVoters(Voters{Index: 5, IDs: []VoterID{"a/1", "b/1", "c/1"}})
			x := Down{Member: "a", Epoch: d.epoch("a"), Voters: 5}
			tc.edit(d, &x)
			d.refuses(x, tc.why)
		})
	}
}

// The moves of a Down come first, and then only gated entries go: those of
// hooks and at-least-one items stay until somebody reports.
func TestDownSparesUngated(t *testing.T) {
	d := founded(t)
	token := d.give("a", oneX, leastX, ipX)
	stale := d.move(oneY, "b")
	stale.Was++
	res := d.do(Down{
		Member: "a", Epoch: d.epoch("a"), Evidence: []Vote{{Voter: "b/1", Silent: 400}, {Voter: "c/1", Silent: 390}},
		Moves: []Move{d.move(oneX, "b"), stale, d.move(leastX, "b"), d.move(ipX, "b")}, At: 9,
	})
	if !res.Applied || len(res.Dropped) != 1 || res.Dropped[0] != stale {
		t.Fatalf("%+v", res)
	}
	if m := d.memberOf("a"); m.Up {
		t.Fatal("still up")
	}
	for _, k := range []Key{oneX, leastX, ipX} {
		d.wantOwner(k, "b", Token(d.at))
	}
	d.wantSet(oneX, "a@%d/%d", d.epoch("a"), token)
	d.wantSet(leastX, "a@%d/%d+least", d.epoch("a"), token)
	d.wantSet(ipX, "")
}

// Entries of a member's older epochs go with them, and what is moved only after
// the Down adds none that is gated.
func TestDownAndLaterMoves(t *testing.T) {
	d := founded(t)
	d.give("a", ipX, oneX)
	y := Key{System: "ip", Item: "y"}
	d.give("a", y)
	d.give("b", ipX)
	d.must(d.registration("a"))
	if d.set(ipX) == "" {
		t.Fatal("a newer epoch does not let go of what an older one holds")
	}
	d.down("a")
	d.wantSet(ipX, "")
	if slot := d.slot(oneX); slot.Owner != "a" {
		t.Fatalf("Down moved %+v", slot)
	}
	token := d.slot(oneX).Token
	d.give("b", oneX, y)
	d.wantSet(oneX, "a@%d/%d", d.epoch("a"), token)
	d.wantSet(y, "")
}

// A goodbye clears what it does not name, in the Down that it causes.
func TestDownByGoodbye(t *testing.T) {
	d := founded(t)
	token := d.give("a", oneX, oneY, leastX)
	g := d.bye("a", oneY)
	d.must(Down{
		Member: "a", Epoch: d.epoch("a"), Goodbye: &g, Voters: 99, // nobody voted
		Moves: []Move{d.move(oneX, "b"), d.move(oneY, "b"), d.move(leastX, "b")},
	})
	e := d.epoch("a")
	d.wantSet(oneX, "")
	d.wantSet(oneY, "a@%d/%d", e, token)
	d.wantSet(leastX, "a@%d/%d+least", e, token) // at-least-one items stay with who stops
	m := d.memberOf("a")
	if m.Up || !m.Goodbye || len(m.Kept) != 1 || m.Kept[0] != oneY {
		t.Fatalf("%+v", m)
	}
	d.must(d.bye("a"))
	d.wantSet(oneY, "")
	// One that was late names more: what was released stays so.
	d.must(d.bye("a", oneX, oneY))
	if m := d.memberOf("a"); m.Kept != nil {
		t.Fatalf("%+v", m)
	}
}

// What a process said goodbye to makes it outstanding neither in the Down, nor in
// a move that comes only later, nor when it comes back on another boot.
func TestGoodbyeCountsForLaterMoves(t *testing.T) {
	d := founded(t)
	d.give("a", oneX, oneY, leastX)
	g := d.bye("a", oneY)
	d.must(Down{Member: "a", Epoch: d.epoch("a"), Goodbye: &g})
	for _, k := range []Key{oneX, oneY, leastX} {
		if d.slot(k).Owner != "a" {
			t.Fatal("Down moved it")
		}
	}
	before := *d
	d.give("b", oneX, oneY, leastX)
	d.wantSet(oneX, "")
	if d.set(oneY) == "" || d.set(leastX) == "" {
		t.Fatal("it may still hold these")
	}

	d.s = before.s
	d.must(d.moved("a"))
	d.wantSet(oneX, "")
	if d.set(oneY) == "" || d.set(leastX) == "" {
		t.Fatal("the former instance may still hold these")
	}
	if m := d.memberOf("a"); m.Goodbye || m.Kept != nil {
		t.Fatalf("a new epoch has said nothing yet: %+v", m)
	}
}

func TestGoodbyeOfAFormerProcess(t *testing.T) {
	d := founded(t)
	t1 := d.give("a", oneX)
	e1 := d.epoch("a")
	old := d.bye("a")
	d.give("b", oneX)
	r := d.registration("a")
	r.Process = nonce("restarted")
	d.must(r)
	t2 := d.give("a", oneY)
	d.give("b", oneY)
	d.wantSet(oneX, "a@%d/%d", e1, t1)

	other := old
	other.Host.Machine = "elsewhere"
	d.must(other)
	d.wantSet(oneX, "a@%d/%d", e1, t1) // another machine under the same name

	old.Epoch = d.epoch("a") // even if it claims the newest epoch: that is another's
	d.must(old)
	d.wantSet(oneX, "")
	d.wantSet(oneY, "a@%d/%d", d.epoch("a"), t2)
	if m := d.memberOf("a"); m.Goodbye || !m.Up {
		t.Fatalf("%+v", m)
	}
}

// The process need not have read of its own newest epoch.
func TestGoodbyeCoversTheLastEpochOfItsProcess(t *testing.T) {
	d := founded(t)
	g := d.bye("a")
	d.must(d.registration("a"))
	d.give("a", oneX)
	d.give("b", oneX)
	d.must(g)
	d.wantSet(oneX, "")
}

func TestGoodbyeRefused(t *testing.T) {
	d := founded(t)
	d.refuses(Goodbye{Member: "z"}, "never registered")
	d.must(d.moved("a"))
	d.refuses(d.bye("a"), "unsettled")
}

func TestFence(t *testing.T) {
	d := founded(t)
	token := d.give("a", oneX, leastX)
	e1 := d.epoch("a")
	d.give("b", oneX, leastX)
	d.refuses(Fence{Member: "z", Host: hostOf("a"), UpTo: e1}, "never registered")
	d.refuses(Fence{Member: "a", Host: hostOf("a"), UpTo: Epoch(d.at + 9)}, "has no epoch")

	d.must(Fence{Member: "a", Host: Host{Machine: "elsewhere"}, UpTo: e1})
	d.must(Fence{Member: "a", Host: hostOf("a"), UpTo: e1 - 1})
	d.wantSet(oneX, "a@%d/%d", e1, token)

	d.refuses(Fence{Member: "a", Host: hostOf("a"), UpTo: e1}, "the epoch is up")
	d.down("a")
	d.must(Fence{Member: "a", Host: hostOf("a"), UpTo: e1})
	d.wantSet(oneX, "")
	d.wantSet(leastX, "")
}

// A fence that ended late says nothing of what the machine did since, when it ran
// again: neither of its entries nor of what it owns.
func TestFenceSparesNewerEpochs(t *testing.T) {
	d := founded(t)
	d.give("a", oneX)
	e1 := d.epoch("a")
	d.give("b", oneX)
	d.down("a")
	r := d.registration("a")
	r.Process, r.Host.Boot = nonce("after the reboot"), "boot-2"
	d.must(r)
	d.must(Settle{Member: "a", Epoch: d.epoch("a")})
	token := d.give("a", oneY)
	d.give("b", oneY)
	d.must(Fence{Member: "a", Host: hostOf("a"), UpTo: e1})
	d.wantSet(oneX, "")
	d.wantSet(oneY, "a@%d/%d", d.epoch("a"), token)
	if d.memberOf("a").Fenced {
		t.Fatal("its newer epoch is fenced")
	}
	last := d.s.Journal()[len(d.s.Journal())-1]
	if last.Kind != KindFenced || last.Member != "a" || last.Reason != "1 entries cleared" {
		t.Fatalf("%+v", last)
	}
}

// A machine that was switched off holds nothing that it owned either.
func TestFenceCountsForLaterMoves(t *testing.T) {
	d := founded(t)
	d.give("a", oneX, leastX)
	d.down("a")
	d.must(Fence{Member: "a", Host: hostOf("a"), UpTo: d.epoch("a")})
	d.give("b", oneX, leastX)
	d.wantSet(oneX, "")
	d.wantSet(leastX, "")
	d.must(d.registration("a"))
	if d.memberOf("a").Fenced {
		t.Fatal("it runs again")
	}
}

func TestForce(t *testing.T) {
	d := founded(t)
	d.give("a", oneX)
	d.give("b", oneX)
	token := d.slot(oneX).Token
	c := d.claim("a", oneX)
	for _, wrong := range []Claim{
		{Key: oneY, Member: c.Member, Epoch: c.Epoch, Token: c.Token},
		{Key: oneX, Member: "b", Epoch: c.Epoch, Token: c.Token},
		{Key: oneX, Member: c.Member, Epoch: c.Epoch + 1, Token: c.Token},
		{Key: oneX, Member: c.Member, Epoch: c.Epoch, Token: c.Token + 1},
	} {
		d.refuses(Force{Claims: []Claim{wrong}}, "none of the entries")
	}
	d.must(Force{Claims: []Claim{c, {Key: leastX}}})
	d.wantSet(oneX, "a@%d/%d+void", c.Epoch, c.Token)
	d.wantOwner(oneX, "b", token)
	d.release("a", c)
	d.wantSet(oneX, "")
}
