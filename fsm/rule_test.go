package fsm

import "testing"

// Each rule, left out, lets through what it is there to stop.
func TestRulesLeftOut(t *testing.T) {
	type script func(t *testing.T, without Rule) (bad bool)
	blocks := func(d *driver, k Key, owner MemberID) bool {
		machine := d.memberOf(owner).Host.Machine
		for _, job := range d.s.Slice(owner, d.epoch(owner), machine, d.at).Want {
			if job.Key == k && !job.Barred && len(job.Blocked) == 0 {
				return false
			}
		}
		return true
	}
	for _, tc := range []struct {
		name string
		rule Rule
		run  script
	}{
		{"outstanding: the new owner does not wait for the old one", RuleOutstanding, func(t *testing.T, r Rule) bool {
			d := foundedWithout(t, r)
			d.give("a", oneX)
			d.give("b", oneX)
			return !blocks(d, oneX, "b")
		}},
		{"report token: an old release clears a new entry", RuleReportToken, func(t *testing.T, r Rule) bool {
			d := foundedWithout(t, r)
			d.give("a", oneX)
			d.give("b", oneX)
			old := d.claim("a", oneX)
			d.release("a", old)
			d.give("a", oneX)
			d.give("b", oneX)
			d.release("a", old)
			return d.set(oneX) == "" || !names(d.slot(oneX).Outstanding, "a")
		}},
		{"down: clears what the kernel does not take back", RuleDownSparesUngated, func(t *testing.T, r Rule) bool {
			d := foundedWithout(t, r)
			d.give("a", oneX)
			d.down("a", d.move(oneX, "b"))
			return !blocks(d, oneX, "b")
		}},
		{"fresh token: a holder from at-least-one times is unknown", RuleFreshToken, func(t *testing.T, r Rule) bool {
			d := foundedWithout(t, r)
			old := d.give("a", leastX)
			d.must(d.respec(on("least", func(s *System) { s.Guarantee = AtMostOne; plumbed(s) })))
			d.down("a", d.move(leastX, "b")) // gated by now, or so it seems
			return d.slot(leastX).Token == old || !blocks(d, leastX, "b")
		}},
		{"fresh token: a changed gate", RuleFreshToken, func(t *testing.T, r Rule) bool {
			d := foundedWithout(t, r)
			q := d.registration("a")
			q.Gate = false
			d.must(q)
			d.give("a", ipX)
			d.must(func() Register { q := d.registration("a"); q.Gate = true; return q }())
			d.down("a", d.move(ipX, "b"))
			return !blocks(d, ipX, "b")
		}},
		{"removal waits", RuleRemovalWaits, func(t *testing.T, r Rule) bool {
			d := foundedWithout(t, r)
			d.give("a", oneX)
			d.give("b", oneX)
			d.do(RemoveMember{Member: "a"})
			return !blocks(d, oneX, "b")
		}},
		{"removal waits: an owner", RuleRemovalWaits, func(t *testing.T, r Rule) bool {
			d := foundedWithout(t, r)
			d.give("a", oneX)
			d.do(RemoveMember{Member: "a"})
			return d.slot(oneX).Owner == ""
		}},
		{"a removed item keeps its set", RuleRemovedKeepsSet, func(t *testing.T, r Rule) bool {
			d := foundedWithout(t, r)
			d.give("a", oneX)
			d.must(d.respec(without("one")))
			d.must(d.respec(func(*Spec) {}))
			d.give("b", oneX)
			return !blocks(d, oneX, "b")
		}},
		{"unsettled: another machine holds at once", RuleUnsettled, func(t *testing.T, r Rule) bool {
			d := foundedWithout(t, r)
			d.give("a", ipX)
			d.must(d.moved("a"))
			return !blocks(d, ipX, "a")
		}},
		{"unsettled: the former instance is forgotten", RuleUnsettled, func(t *testing.T, r Rule) bool {
			d := foundedWithout(t, r)
			d.give("a", oneX)
			d.must(d.moved("a"))
			return d.set(oneX) == ""
		}},
		{"replaces: a registration that was overtaken", RuleReplaces, func(t *testing.T, r Rule) bool {
			d := foundedWithout(t, r)
			late := d.registration("a")
			late.Nonce = nonce("late")
			d.must(d.moved("a"))
			return d.do(late).Applied
		}},
		{"goodbye: of a process that another has replaced", RuleGoodbyeEpoch, func(t *testing.T, r Rule) bool {
			d := foundedWithout(t, r)
			g := d.bye("a")
			q := d.registration("a")
			q.Process = nonce("restarted")
			d.must(q)
			d.give("a", oneX)
			d.give("b", oneX)
			d.do(g)
			return d.set(oneX) == ""
		}},
		{"goodbye: calls another process down", RuleGoodbyeEpoch, func(t *testing.T, r Rule) bool {
			d := foundedWithout(t, r)
			g := d.bye("a")
			q := d.registration("a")
			q.Process = nonce("restarted")
			d.must(q)
			return d.do(Down{Member: "a", Epoch: d.epoch("a"), Goodbye: &g}).Applied
		}},
		{"acquired: under another token", RuleAcquiredToken, func(t *testing.T, r Rule) bool {
			d := foundedWithout(t, r)
			old := d.give("b", leastX)
			d.give("a", leastX)
			d.give("b", leastX)
			d.must(Report{Member: "b", Epoch: d.epoch("b"), Acquired: []Claim{{Key: leastX, Member: "b", Token: old}}})
			return d.slot(leastX).Acquired != 0
		}},
		{"release last: at-least-one is let go of before it is held again", RuleReleaseLast, func(t *testing.T, r Rule) bool {
			d := foundedWithout(t, r)
			d.give("a", leastX)
			d.give("b", leastX)
			return len(d.s.Slice("a", d.epoch("a"), "machine-a", d.at).Owe) > 0
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.run(t, 0) {
				t.Error("happens although the rule is there")
			}
			if !tc.run(t, tc.rule) {
				t.Error("leaving the rule out makes no difference")
			}
		})
	}
}

// Apply carries along what is left out; nobody else's State is concerned.
func TestWithoutIsCarriedAlong(t *testing.T) {
	d := founded(t)
	loose := d.s.Without(RuleReplaces)
	next, _, err := loose.Apply(99, Encode(Assign{Moves: []Move{{Key: oneX, To: "a"}}}))
	if err != nil {
		t.Fatal(err)
	}
	if next.keeps(RuleReplaces) || !next.keeps(RuleOutstanding) || !d.s.keeps(RuleReplaces) {
		t.Fatal("rules left out are those of this State and what comes after it")
	}
}
