package fsm

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// The figures of the lan preset, as LEASES.md has them: the kernel keeps an
// address for 2 s that was refreshed last when the lease was new.
func TestSafeTakeover(t *testing.T) {
	for _, tc := range []struct{ ttl, lifetime, safe time.Duration }{
		{300 * time.Millisecond, 2 * time.Second, 3850 * time.Millisecond},
		{time.Second, 2 * time.Second, 3850 * time.Millisecond},
		{1001 * time.Millisecond, 3 * time.Second, 4950 * time.Millisecond},
		{3 * time.Second, 4 * time.Second, 6050 * time.Millisecond},
	} {
		if l, s := AddressLifetime(tc.ttl), SafeTakeover(tc.ttl); l != tc.lifetime || s != tc.safe {
			t.Errorf("%v: kept for %v, safe after %v, want %v and %v", tc.ttl, l, s, tc.lifetime, tc.safe)
		}
	}
}

// L9 "Bets on time": for which entries an owner need not wait for ever.
func TestBets(t *testing.T) {
	const safe = "+blocked by a for 3.85s"
	ungated := func(d *driver) {
		r := d.registration("a")
		r.Gate = false
		d.must(r)
	}
	give := func(d *driver) { d.give("a", ipX); d.acquire(ipX) }
	fail := func(d *driver) { d.down("a", d.move(ipX, "b")) }
	for _, tc := range []struct {
		name string
		edit func(*Spec)
		run  []func(d *driver)
		want string // after "ip/x" in b's slice
	}{
		{"its epoch is down", nil, []func(*driver){ungated, give, fail}, safe},
		{"with the gate nobody waits", nil, []func(*driver){give, fail}, ""},
		{"the gate is off by choice", on("ip", func(s *System) { s.IP = &IP{NoGate: true} }), []func(*driver){give, fail}, safe},
		{"its epoch is up", nil, []func(*driver){ungated, give, func(d *driver) { d.give("b", ipX) }}, "+blocked by a"},
		{"a new process of the same machine", nil, []func(*driver){ungated, give, func(d *driver) {
			d.give("b", ipX)
			r := d.registration("a")
			r.Process = nonce("another")
			d.must(r)
		}}, safe},
		{"gated, and a new process of the same machine: it sweeps in a moment", nil, []func(*driver){give, func(d *driver) {
			d.give("b", ipX)
			r := d.registration("a")
			r.Process = nonce("another")
			d.must(r)
		}}, "+blocked by a"},
		{"another machine, unsettled: the former may live on", nil, []func(*driver){ungated, give, func(d *driver) {
			d.give("b", ipX)
			d.must(d.moved("a"))
		}}, "+blocked by a"},
		{"another machine, settled", nil, []func(*driver){ungated, give, func(d *driver) {
			d.give("b", ipX)
			d.must(d.moved("a"))
			d.must(Settle{Member: "a", Epoch: d.epoch("a")})
		}}, safe},
		{"another machine, down before it was settled", nil, []func(*driver){ungated, give, func(d *driver) {
			d.give("b", ipX)
			d.must(d.moved("a"))
			d.down("a")
		}}, safe},
		{"a longer time was asked for", on("ip", func(s *System) { s.TakeoverAfter = time.Minute }), []func(*driver){ungated, give, fail}, "+blocked by a for 1m0s"},
		{"a time below what is safe by now", on("ip", func(s *System) { s.TakeoverAfter = time.Second }), []func(*driver){ungated, give, fail}, safe},
		{"never", on("ip", func(s *System) { s.TakeoverAfter = NeverTakeOver }), []func(*driver){ungated, give, fail}, "+blocked by a"},
		{"the largest lease time counts, not the present one", nil, []func(*driver){
			func(d *driver) { d.must(d.respec(func(s *Spec) { s.Timing.Lease = 5 * time.Second })) },
			func(d *driver) { d.must(d.respec(func(*Spec) {})) }, ungated, give, fail,
		}, "+blocked by a for 8.25s"},
		{"held as at-least-one: refreshed lease or not", on("ip", func(s *System) { s.Guarantee = AtLeastOne }), []func(*driver){give, func(d *driver) {
			d.must(d.respec(func(*Spec) {}))
			fail(d)
			d.claim("a", ipX) // the one of the time as at-least-one
		}}, "+blocked by a"},
		{"held by a hook", on("ip", hooked), []func(*driver){give, func(d *driver) {
			d.must(d.respec(func(*Spec) {}))
			fail(d)
		}}, "+blocked by a"},
		{"a fence: what is sure is preferred", on("ip", fenced), []func(*driver){ungated, give, fail}, "+blocked by a"},
		{"a fence, and a bet that was asked for", on("ip", func(s *System) { fenced(s); s.TakeoverAfter = 5 * time.Second }), []func(*driver){ungated, give, fail}, "+blocked by a for 5s"},
		{"forced", nil, []func(*driver){ungated, give, fail, func(d *driver) {
			d.must(Force{Claims: []Claim{d.claim("a", ipX)}})
		}}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			edit := []func(*Spec){}
			if tc.edit != nil {
				edit = append(edit, tc.edit)
			}
			d := founded(t, edit...)
			for _, step := range tc.run {
				step(d)
			}
			got := d.sliceOf("b")
			want := "ip/x" + tc.want
			if !slices.Contains(strings.Split(got, ", "), want) {
				t.Fatalf("got %s, want %s in it", got, want)
			}
		})
	}
}

// An entry is let go of by the action of its time, and a driver of addresses
// always has a word on them.
func TestOwedAddresses(t *testing.T) {
	d := founded(t)
	d.give("a", ipX, oneX)
	d.must(d.respec(func(s *Spec) { on("ip", hooked)(s); on("one", plumbed)(s) }))
	for _, o := range d.s.Slice("a", d.epoch("a"), "machine-a", d.at).Owe {
		if wantIP := o.Job.System == "ip"; wantIP != (o.Job.Action == ActionIP) || wantIP != (o.Job.IP != nil) || wantIP != (len(o.Job.Addrs) > 0) {
			t.Errorf("%+v", o.Job)
		}
	}
	d.must(d.respec(func(s *Spec) { delete(s.Systems, "ip") }))
	owe := d.s.Slice("a", d.epoch("a"), "machine-a", d.at).Owe
	if len(owe) != 4 || owe[0].Job.Action != ActionIP || owe[0].Job.IP == nil {
		t.Fatalf("%+v", owe)
	}
}

// What failed here is named with what the action needs to look again, also when
// somebody else has the item by now; only to the process whose word counts.
func TestSliceNamesFailures(t *testing.T) {
	d := founded(t)
	token := d.give("a", ipX, oneY)
	for _, k := range []Key{oneY, ipX} {
		d.must(Report{Member: "a", Epoch: d.epoch("a"), Failed: []Failure{{Key: k, Token: token, Err: "eth0 has no carrier"}}})
	}
	d.give("b", ipX)
	e := d.epoch("a")
	failed := d.s.Slice("a", e, "machine-a", d.at).Failed
	if len(failed) != 2 || failed[0].Key != ipX || failed[1].Key != oneY {
		t.Fatalf("%+v", failed)
	}
	if f := failed[0]; f.IP == nil || f.Token != token || !f.Failed || !slices.Equal(f.Addrs, []string{"198.51.100.1/24"}) {
		t.Fatalf("%+v", f)
	}
	for _, s := range []Slice{d.s.Slice("b", d.epoch("b"), "machine-b", d.at), d.s.Slice("a", 0, "machine-a", d.at), d.s.Slice("a", e, "elsewhere", d.at)} {
		if len(s.Failed) != 0 {
			t.Fatalf("%+v", s.Failed)
		}
	}
	d.must(Report{Member: "a", Epoch: e, Mended: []Key{ipX, leastX}})
	if failed := d.s.Slice("a", e, "machine-a", d.at).Failed; len(failed) != 1 || failed[0].Key != oneY {
		t.Fatalf("%+v", failed)
	}
	d.must(d.registration("a"))
	if got := d.s.Slice("a", e, "machine-a", d.at).Failed; len(got) != 0 {
		t.Fatalf("to an older epoch: %+v", got)
	}
	if got := d.s.Slice("a", d.epoch("a"), "machine-a", d.at).Failed; len(got) != 1 {
		t.Fatalf("the process is the same: %+v", got)
	}
}
