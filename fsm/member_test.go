package fsm

import (
	"slices"
	"testing"
	"time"
)

func TestRegisterRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(d *driver, r *Register)
		why  string
	}{
		{"an epoch that is not the newest", func(_ *driver, r *Register) { r.Replaces-- }, "another registration was faster"},
		{"no epoch", func(_ *driver, r *Register) { r.Replaces = 0 }, "another registration was faster"},
		{"the same nonce again", func(d *driver, r *Register) { r.Nonce = d.memberOf("a").Nonce }, "committed already"},
		{"no nonce", func(_ *driver, r *Register) { r.Nonce = Nonce{} }, "needs a member"},
		{"no process", func(_ *driver, r *Register) { r.Process = Nonce{} }, "needs a member"},
		{"no machine", func(_ *driver, r *Register) { r.Host.Machine = "" }, "needs a member"},
		{"a stranger", func(_ *driver, r *Register) { r.Member, r.Replaces = "z", 0 }, "does not name it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := founded(t)
			r := d.registration("a")
			tc.edit(d, &r)
			d.refuses(r, tc.why)
		})
	}
	t.Run("before founding", func(t *testing.T) {
		d := newDriver(t)
		d.refuses(d.registration("a"), "not founded")
	})
	t.Run("twice under one index", func(t *testing.T) {
		d := founded(t)
		first := d.registration("a")
		second := first
		second.Nonce, second.Replaces = nonce("second"), Epoch(d.at+1)
		res := d.must(Batch{Commands: [][]byte{Encode(first), Encode(second)}})
		if !res.Each[0].Applied || res.Each[1].Applied {
			t.Fatalf("%+v", res)
		}
	})
}

func TestRegisterFirst(t *testing.T) {
	d := founded(t)
	m := d.memberOf("a")
	if m.Epoch != 2 || !m.Up || !m.Settled || m.Leaving || !m.Gate || m.Host != hostOf("a") || m.FirstTTL != 300*time.Millisecond {
		t.Fatalf("%+v", m)
	}
}

func TestFirstTTLIsTheLargestEver(t *testing.T) {
	d := founded(t)
	d.must(d.respec(func(s *Spec) { s.Timing.Lease = time.Second }))
	d.must(d.respec(func(s *Spec) { s.Timing.Lease = 100 * time.Millisecond }))
	if got := d.memberOf("a").FirstTTL; got != 300*time.Millisecond {
		t.Fatalf("an epoch's bound changed to %v", got)
	}
	d.must(d.registration("a"))
	if got := d.memberOf("a").FirstTTL; got != time.Second || d.s.MaxTTL() != time.Second {
		t.Fatalf("first ttl %v, largest %v", got, d.s.MaxTTL())
	}
}

// The same process or a restarted one on the same host keeps what it owns.
func TestRegisterSameHostKeeps(t *testing.T) {
	d := founded(t)
	token := d.give("a", oneX, leastX, ipX)
	d.acquire(oneX, leastX, ipX)
	d.must(Leave{Member: "a", Epoch: d.epoch("a")})
	d.down("a")
	r := d.registration("a")
	r.Process = nonce("restarted")
	d.must(r)
	m := d.memberOf("a")
	if !m.Up || m.Leaving || !m.Settled {
		t.Fatalf("%+v", m)
	}
	for _, k := range []Key{oneX, leastX, ipX} {
		d.wantOwner(k, "a", token)
		d.wantSet(k, "")
		if got := d.slot(k).Acquired; got == 0 || got == m.Epoch {
			t.Fatalf("%v is acquired in epoch %d", k, got)
		}
	}
}

// Another machine, boot or instance: the former one is outstanding for all that
// the kernel does not take back, and the new one is unsettled.
func TestRegisterOtherHost(t *testing.T) {
	for _, tc := range []struct {
		name   string
		edit   func(*Host)
		reason string
	}{
		{"machine", func(h *Host) { h.Machine = "other" }, "registered again from another machine"},
		{"boot", func(h *Host) { h.Boot = "other" }, "registered again after a reboot"},
		{"instance", func(h *Host) { h.Instance = "other" }, "registered again with another data directory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := founded(t)
			old := d.give("a", oneX, leastX, ipX)
			d.acquire(oneX)
			r := d.registration("a")
			tc.edit(&r.Host)
			former := d.epoch("a")
			d.must(r)
			now := Token(d.at)
			if d.memberOf("a").Settled {
				t.Fatal("settled at once")
			}
			d.wantOwner(oneX, "a", now)
			d.wantSet(oneX, "a@%d/%d", former, old)
			d.wantOwner(leastX, "a", now)
			d.wantSet(leastX, "a@%d/%d+least", former, old)
			d.wantOwner(ipX, "a", old)
			d.wantSet(ipX, "")
			slot := d.slot(oneX)
			if slot.Acquired != 0 || slot.Reason != tc.reason || slot.Outstanding[0].Host != hostOf("a") {
				t.Fatalf("%+v", slot)
			}
		})
	}
}

// A second registration of the new machine does not shorten the wait.
func TestUnsettledUntilSettle(t *testing.T) {
	d := founded(t)
	d.must(d.moved("a"))
	first := d.epoch("a")
	d.must(d.registration("a"))
	if d.memberOf("a").Settled {
		t.Fatal("registering again settled it")
	}
	d.refuses(Settle{Member: "a", Epoch: first}, "not the member's newest")
	d.refuses(Settle{Member: "z", Epoch: first}, "never registered")
	d.must(Settle{Member: "a", Epoch: d.epoch("a")})
	d.must(Settle{Member: "a", Epoch: d.epoch("a")})
	if !d.memberOf("a").Settled {
		t.Fatal("not settled")
	}
	d.must(d.moved("a"))
	d.down("a")
	d.refuses(Settle{Member: "a", Epoch: d.epoch("a")}, "down")
}

// A gate that failed, and one that came: what hooks hold is not concerned, and
// neither is an at-least-one item.
func TestRegisterGateChange(t *testing.T) {
	d := founded(t)
	old := d.give("a", oneX, leastX, ipX)
	if !d.slot(ipX).Gated || d.slot(oneX).Gated {
		t.Fatal("only what has no hook is gated")
	}
	e1 := d.epoch("a")
	r := d.registration("a")
	r.Gate = false
	d.must(r)
	ungated := Token(d.at)
	d.wantOwner(ipX, "a", ungated)
	d.wantSet(ipX, "a@%d/%d+gated", e1, old)
	if d.slot(ipX).Gated {
		t.Fatal("still gated")
	}
	d.wantOwner(oneX, "a", old)
	d.wantOwner(leastX, "a", old)

	e2 := d.epoch("a")
	r = d.registration("a")
	r.Gate = true
	d.must(r)
	d.wantSet(ipX, "a@%d/%d+gated a@%d/%d", e1, old, e2, ungated)
	if !d.slot(ipX).Gated {
		t.Fatal("not gated")
	}
}

// What was given under the very index of the registration nobody has seen.
func TestRegisterInTheBatchOfTheMove(t *testing.T) {
	d := founded(t)
	r := d.registration("a")
	r.Host.Boot, r.Gate = "boot-2", false
	d.must(Batch{Commands: [][]byte{
		Encode(Assign{Moves: []Move{d.move(oneX, "a"), d.move(ipX, "a")}}), Encode(r),
	}})
	for _, k := range []Key{oneX, ipX} {
		d.wantOwner(k, "a", Token(d.at))
		d.wantSet(k, "")
	}
	if d.slot(ipX).Gated {
		t.Fatal("gated without a gate")
	}
}

func TestProcessChangeForgetsFailures(t *testing.T) {
	d := founded(t)
	token := d.give("a", oneX)
	other := d.give("b", oneY)
	d.must(Report{Member: "a", Epoch: d.epoch("a"), Failed: []Failure{{Key: oneX, Token: token, Err: "exit status 1"}}})
	d.must(Report{Member: "b", Epoch: d.epoch("b"), Failed: []Failure{{Key: oneY, Token: other, Err: "exit status 2"}}})
	d.must(d.registration("a"))
	if _, ok := d.s.FailureOf("a", oneX); !ok {
		t.Fatal("a new epoch of the same process forgot its failure")
	}
	r := d.registration("a")
	r.Process = nonce("restarted")
	d.must(r)
	if f, ok := d.s.FailureOf("a", oneX); ok {
		t.Fatalf("%+v", f)
	}
	if _, ok := d.s.FailureOf("b", oneY); !ok {
		t.Fatal("another member's failure is gone")
	}
}

func TestLeave(t *testing.T) {
	d := founded(t)
	d.refuses(Leave{Member: "a", Epoch: 1}, "not the member's newest")
	d.refuses(Leave{Member: "z", Epoch: 1}, "never registered")
	d.must(Leave{Member: "a", Epoch: d.epoch("a")})
	d.must(Leave{Member: "a", Epoch: d.epoch("a")})
	if !d.memberOf("a").Leaving {
		t.Fatal("not leaving")
	}
	// A new epoch of the same process still stops; a restart does not.
	d.must(d.registration("a"))
	if !d.memberOf("a").Leaving {
		t.Fatal("the process that stops has forgotten it with its epoch")
	}
	r := d.registration("a")
	r.Process = nonce("restarted")
	d.must(r)
	if d.memberOf("a").Leaving {
		t.Fatal("a restarted process is leaving")
	}
	d.down("a")
	d.refuses(Leave{Member: "a", Epoch: d.epoch("a")}, "down")
}

func TestRemoveMember(t *testing.T) {
	d := founded(t)
	d.refuses(RemoveMember{Member: "z"}, "never registered")
	d.give("a", oneX)
	d.refuses(RemoveMember{Member: "a"}, "still owns 1")
	d.give("b", oneX)
	d.refuses(RemoveMember{Member: "a"}, "may still hold 1")
	d.must(Force{Claims: []Claim{d.claim("a", oneX)}})
	d.refuses(RemoveMember{Member: "a"}, "may still hold 1") // void entries still want a report
	d.give("a", leastX)
	d.give("b", leastX)
	d.down("a")
	d.refuses(RemoveMember{Member: "a"}, "may still hold 1") // down or not, and not counting what was forced
	d.release("a", d.claim("a", leastX))
	d.must(RemoveMember{Member: "a"})
	d.wantSet(oneX, "")
	if _, ok := d.s.Member("a"); ok {
		t.Fatal("still there")
	}
	d.must(d.registration("a")) // the configuration still names it
	if m := d.memberOf("a"); !m.Settled {
		t.Fatalf("%+v", m)
	}
}

func TestWithVoters(t *testing.T) {
	v := Voters{Index: 7, IDs: []VoterID{"b/2", "a/1"}}
	s := New().WithVoters(v)
	if got := s.Voters(); got.Index != 7 || !slices.Equal(got.IDs, []VoterID{"a/1", "b/2"}) {
		t.Fatalf("%+v", got)
	}
	if v.IDs[0] != "b/2" {
		t.Fatal("the caller's list was sorted in place")
	}
	if s.WithVoters(Voters{Index: 6}) != s {
		t.Fatal("an older list was taken")
	}
	if New().Voters().Index != 0 {
		t.Fatal("New changed")
	}
}
