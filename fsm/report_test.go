package fsm

import "testing"

func TestReportRefused(t *testing.T) {
	d := founded(t)
	d.refuses(Report{Member: "z", Epoch: 1}, "never registered")
	d.refuses(Report{Member: "a"}, "has no epoch")
	d.refuses(Report{Member: "a", Epoch: d.epoch("a") + 1}, "has no epoch")
}

func TestReportAcquired(t *testing.T) {
	for _, tc := range []struct {
		name string
		key  Key
		prep func(d *driver)
		edit func(d *driver, r *Report)
		want bool
	}{
		{"as it should be", oneX, nil, nil, true},
		{"at-least-one", leastX, nil, nil, true},
		{"another token", oneX, nil, func(_ *driver, r *Report) { r.Acquired[0].Token-- }, false},
		{"an older epoch", oneX, func(d *driver) { d.must(d.registration("a")) }, func(_ *driver, r *Report) { r.Epoch = 2 }, false},
		{"an older epoch, at-least-one", leastX, func(d *driver) { d.must(d.registration("a")) }, func(_ *driver, r *Report) { r.Epoch = 2 }, false},
		{"not the owner", oneX, nil, func(d *driver, r *Report) { r.Member, r.Epoch = "b", d.epoch("b") }, false},
		{"down", oneX, func(d *driver) { d.down("a") }, nil, false},
		{"down, at-least-one", leastX, func(d *driver) { d.down("a") }, nil, true},
		{"gated while unsettled", ipX, func(d *driver) { d.must(d.moved("a")) }, nil, false},
		{"at-least-one while unsettled", leastX, func(d *driver) { d.must(d.moved("a")) }, nil, true},
		{"settled", ipX, func(d *driver) {
			d.must(d.moved("a"))
			d.must(Settle{Member: "a", Epoch: d.epoch("a")})
		}, nil, true},
		{"no such slot", oneX, nil, func(_ *driver, r *Report) { r.Acquired[0].Item = "z" }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := founded(t)
			d.give("a", oneX, leastX, ipX)
			if tc.prep != nil {
				tc.prep(d)
			}
			r := Report{Member: "a", Epoch: d.epoch("a"), Acquired: []Claim{{Key: tc.key, Member: "a", Token: d.slot(tc.key).Token}}}
			if tc.edit != nil {
				tc.edit(d, &r)
			}
			d.must(r)
			want := Epoch(0)
			if tc.want {
				want = d.epoch("a")
			}
			if got := d.slot(tc.key).Acquired; got != want {
				t.Fatalf("acquired in epoch %d, want %d", got, want)
			}
		})
	}
}

func TestReportReleased(t *testing.T) {
	for _, tc := range []struct {
		name string
		prep func(d *driver)
		edit func(d *driver, r *Report)
		want bool // the entry goes
	}{
		{"as it should be", nil, nil, true},
		{"swept", nil, func(_ *driver, r *Report) { r.Swept, r.Released = r.Released, nil }, true},
		{"another token", nil, func(_ *driver, r *Report) { r.Released[0].Token++ }, false},
		{"another epoch", nil, func(_ *driver, r *Report) { r.Released[0].Epoch++ }, false},
		{"another member's entry", nil, func(d *driver, r *Report) { r.Member, r.Epoch = "b", d.epoch("b") }, false},
		{"another slot", nil, func(_ *driver, r *Report) { r.Released[0].Key = oneY }, false},
		{"down", func(d *driver) { d.down("a") }, nil, true},
		{"a newer epoch of the same machine sweeps", func(d *driver) {
			r := d.registration("a")
			r.Process = nonce("restarted")
			d.must(r)
		}, nil, true},
		{"a newer epoch after a reboot, unsettled", func(d *driver) {
			r := d.registration("a")
			r.Host.Boot = "boot-2"
			d.must(r)
		}, nil, false},
		{"a newer epoch after a reboot, settled", func(d *driver) {
			r := d.registration("a")
			r.Host.Boot = "boot-2"
			d.must(r)
			d.must(Settle{Member: "a", Epoch: d.epoch("a")})
		}, nil, true},
		{"a newer epoch on another machine, settled", func(d *driver) {
			d.must(d.moved("a"))
			d.must(Settle{Member: "a", Epoch: d.epoch("a")})
		}, nil, false},
		{"the superseded instance itself", func(d *driver) { d.must(d.moved("a")) }, func(d *driver, r *Report) { r.Epoch = 2 }, true},
		{"an older epoch for its own entry", func(d *driver) { d.must(d.registration("a")) }, func(_ *driver, r *Report) { r.Epoch = 2 }, true},
		{"an older epoch for another epoch's entry", func(d *driver) {
			d.must(d.registration("a"))
			d.must(d.registration("a"))
		}, func(d *driver, r *Report) { r.Epoch = d.epoch("a") - 1 }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := founded(t)
			d.give("a", oneX)
			d.give("b", oneX)
			claim := d.claim("a", oneX)
			if tc.prep != nil {
				tc.prep(d)
			}
			r := Report{Member: "a", Epoch: d.epoch("a"), Released: []Claim{claim}}
			if tc.edit != nil {
				tc.edit(d, &r)
			}
			d.must(r)
			if gone := d.set(oneX) == ""; gone != tc.want {
				t.Fatalf("left: %q", d.set(oneX))
			}
		})
	}
}

// A release under one token says nothing of another, and a failure nothing at all.
func TestReportReleasesOneToken(t *testing.T) {
	d := founded(t)
	t1 := d.give("a", oneX)
	d.give("b", oneX)
	first := d.claim("a", oneX)
	t3 := d.give("a", oneX)
	d.give("b", oneX)
	e := d.epoch("a")
	d.must(Report{Member: "b", Epoch: d.epoch("b"), Released: []Claim{{Key: oneX, Member: "b", Epoch: d.epoch("b"), Token: t1 + 1}}})
	d.wantSet(oneX, "a@%d/%d a@%d/%d", e, t1, e, t3)
	d.must(Report{Member: "a", Epoch: e, Failed: []Failure{{Key: oneX, Token: t1, Err: "down: exit status 1"}}})
	d.wantSet(oneX, "a@%d/%d a@%d/%d", e, t1, e, t3)
	d.release("a", first)
	d.release("a", first)
	d.wantSet(oneX, "a@%d/%d", e, t3)
}

func TestReportFailed(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(d *driver, r *Report)
		want bool
	}{
		{"the owner's token", nil, true},
		{"an entry's token", func(d *driver, _ *Report) { d.give("b", oneX) }, true},
		{"another token", func(_ *driver, r *Report) { r.Failed[0].Token++ }, false},
		{"an older epoch", func(d *driver, _ *Report) { d.must(d.registration("a")) }, false},
		{"no such slot", func(_ *driver, r *Report) { r.Failed[0].Item = "z" }, false},
		{"an item that is gone", func(d *driver, _ *Report) { d.must(d.respec(without("one"))) }, false},
		{"another member", func(d *driver, r *Report) { r.Member, r.Epoch = "b", d.epoch("b") }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := founded(t)
			token := d.give("a", oneX)
			f := Failure{Key: oneX, Token: token, Err: "exit status 1"}
			r := Report{Member: "a", Epoch: d.epoch("a"), Failed: []Failure{f}}
			if tc.edit != nil {
				tc.edit(d, &r)
			}
			d.must(r)
			if got, ok := d.s.FailureOf("a", oneX); ok != tc.want || (ok && got != f) {
				t.Fatalf("remembered %v: %+v", ok, got)
			}
		})
	}
}

func TestAcquiringForgetsTheFailure(t *testing.T) {
	d := founded(t)
	token := d.give("a", oneX)
	d.give("a", oneY)
	for _, k := range []Key{oneX, oneY} {
		d.must(Report{Member: "a", Epoch: d.epoch("a"), Failed: []Failure{{Key: k, Token: d.slot(k).Token, Err: "exit status 1"}}})
	}
	n := 0
	for m, f := range d.s.Failures() {
		if n++; m != "a" || f.Token < token {
			t.Fatalf("%s: %+v", m, f)
		}
	}
	if n != 2 {
		t.Fatalf("%d failures", n)
	}
	d.acquire(oneX)
	if _, ok := d.s.FailureOf("a", oneX); ok {
		t.Fatal("still remembered")
	}
	if _, ok := d.s.FailureOf("a", oneY); !ok {
		t.Fatal("the other one is forgotten")
	}
	// Moving away does not forget: that is what it is remembered for.
	d.give("b", oneY)
	d.release("a", d.claim("a", oneY))
	if _, ok := d.s.FailureOf("a", oneY); !ok {
		t.Fatal("forgotten by the move")
	}
}

func TestReportMended(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(d *driver, r *Report)
		want bool // forgotten
	}{
		{"its own", nil, true},
		{"after the item moved away", func(d *driver, _ *Report) { d.give("b", oneX) }, true},
		{"another slot", func(_ *driver, r *Report) { r.Mended[0] = oneY }, false},
		{"another member's", func(d *driver, r *Report) { r.Member, r.Epoch = "b", d.epoch("b") }, false},
		{"an older epoch", func(d *driver, _ *Report) { d.must(d.registration("a")) }, false},
		{"failed in the same breath", func(_ *driver, r *Report) {
			r.Failed = []Failure{{Key: oneX, Token: 5, Err: "exit status 1"}}
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := founded(t)
			f := Failure{Key: oneX, Token: d.give("a", oneX), Err: "exit status 1"}
			d.must(Report{Member: "a", Epoch: d.epoch("a"), Failed: []Failure{f}})
			r := Report{Member: "a", Epoch: d.epoch("a"), Mended: []Key{oneX}}
			if tc.edit != nil {
				tc.edit(d, &r)
			}
			d.must(r)
			if _, still := d.s.FailureOf("a", oneX); still == tc.want {
				t.Fatalf("remembered: %v", still)
			}
			told := d.s.Journal()
			if last := told[len(told)-1]; tc.want && (last.Kind != KindMended || last.Member != "a" || last.Key != oneX) {
				t.Fatalf("%+v", last)
			}
		})
	}
}

func TestReportSeen(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(d *driver, r *Report)
		want string
	}{
		{"the owner answers", nil, "b well"},
		{"another answers", func(_ *driver, r *Report) { r.Seen[0].OK, r.Seen[0].Answer = false, "a printer" }, "b a printer"},
		{"nobody answers", func(_ *driver, r *Report) { r.Seen[0].OK = false }, "b "},
		{"well, and somebody all the same", func(_ *driver, r *Report) { r.Seen[0].Answer = "a printer" }, "b well"},
		{"under another token", func(_ *driver, r *Report) { r.Seen[0].Token-- }, ""},
		{"by the owner", func(d *driver, r *Report) { r.Member, r.Epoch = "a", d.epoch("a") }, ""},
		{"by an older epoch", func(d *driver, _ *Report) { d.must(d.registration("b")) }, ""},
		{"by one who is down", func(d *driver, _ *Report) { d.down("b") }, ""},
		{"of a hook's item", func(d *driver, r *Report) { r.Seen[0].Key, r.Seen[0].Token = oneX, d.slot(oneX).Token }, ""},
		{"of no slot", func(_ *driver, r *Report) { r.Seen[0].Item = "z" }, ""},
		{"of nobody's", func(d *driver, r *Report) { d.give("", ipX); r.Seen[0].Token = d.slot(ipX).Token }, ""},
		{"of nothing", func(_ *driver, r *Report) { r.Seen[0].Key, r.Seen[0].Token = Key{System: "ip", Item: "y"}, 0 }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := founded(t)
			d.give("a", ipX, oneX)
			r := Report{Member: "b", Epoch: d.epoch("b"), Seen: []Sighting{{Key: ipX, Token: d.slot(ipX).Token, OK: true}}}
			if tc.edit != nil {
				tc.edit(d, &r)
			}
			d.must(r)
			got := ""
			for slot := range d.s.Slots() {
				if s := slot.Seen; s != nil {
					got += string(s.By) + " " + s.Answer
					if s.OK {
						got += "well"
					}
				}
			}
			if got != tc.want {
				t.Fatalf("seen %q, want %q", got, tc.want)
			}
		})
	}
}

// What was seen is of one owner's token; the journal tells of it once, not for
// each witness.
func TestSeenGoesWithItsToken(t *testing.T) {
	d := founded(t)
	d.give("a", ipX)
	see := func(by MemberID, ok bool) {
		t.Helper()
		d.must(Report{Member: by, Epoch: d.epoch(by), Seen: []Sighting{{Key: ipX, Token: d.slot(ipX).Token, OK: ok}}})
	}
	told := func() (n int) {
		for _, e := range d.s.Journal() {
			if e.Kind == KindSeen {
				n++
			}
		}
		return n
	}
	see("b", true)
	see("b", true)
	see("c", true)
	if s := d.slot(ipX).Seen; s == nil || s.By != "c" || told() != 1 {
		t.Fatalf("%+v, told %d times", s, told())
	}
	see("b", false)
	if d.slot(ipX).Seen.OK || told() != 2 {
		t.Fatalf("%+v, told %d times", d.slot(ipX).Seen, told())
	}
	d.acquire(ipX) // keeps it
	if d.slot(ipX).Seen == nil {
		t.Fatal("forgotten")
	}
	d.give("c", ipX)
	if s := d.slot(ipX).Seen; s != nil {
		t.Fatalf("%+v of another owner", s)
	}
}
