package fsm

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// 1.1 x (3 heartbeats, but at least 100 ms, + 100 ms + 2 x (2 s + stop_timeout) + 1 s).
func TestSafeHookTakeover(t *testing.T) {
	for _, tc := range []struct{ heartbeat, stop, safe time.Duration }{
		{50 * time.Millisecond, 5 * time.Second, 16775 * time.Millisecond},
		{10 * time.Millisecond, 0, 5720 * time.Millisecond},
		{500 * time.Millisecond, time.Minute, 139260 * time.Millisecond},
	} {
		if safe := SafeHookTakeover(Timing{Heartbeat: tc.heartbeat}, System{StopTimeout: tc.stop}); safe != tc.safe {
			t.Errorf("%v, %v: safe after %v, want %v", tc.heartbeat, tc.stop, safe, tc.safe)
		}
	}
}

// L9 "Bets on time", hooks: only where it was asked for, and on nobody who could
// know better. System one has a stop_timeout of 1 s: 7.975 s is safe.
func TestBetsOnHooks(t *testing.T) {
	const waits = "+blocked by a"
	after := func(d time.Duration) func(*Spec) {
		return on("one", func(s *System) { s.TakeoverAfter = d })
	}
	give := func(d *driver) { d.give("a", oneX); d.acquire(oneX) }
	fail := func(d *driver) { d.down("a", d.move(oneX, "b")) }
	fails := func(d *driver) {
		d.must(Report{Member: "a", Epoch: d.epoch("a"), Failed: []Failure{{Key: oneX, Token: d.slot(oneX).Token, Err: "exit status 1"}}})
	}
	respec := func(edits ...func(*System)) func(*driver) {
		return func(d *driver) {
			d.must(d.respec(func(s *Spec) {
				for _, edit := range edits {
					on("one", edit)(s)
				}
			}))
		}
	}
	ten := func(s *System) { s.TakeoverAfter = 10 * time.Second }
	for _, tc := range []struct {
		name string
		edit func(*Spec)
		run  []func(d *driver)
		want string // after "one/x" in b's slice
	}{
		{"nobody asked for it", nil, []func(*driver){give, fail}, waits},
		{"never", after(NeverTakeOver), []func(*driver){give, fail}, waits},
		{"its epoch is down", after(10 * time.Second), []func(*driver){give, fail}, waits + " for 10s"},
		{"below what is safe: as it was asked for", after(time.Second), []func(*driver){give, fail}, waits + " for 1s"},
		{"asked for only afterwards", nil, []func(*driver){give, fail, respec(ten)}, waits + " for 10s"},
		{"asked for no longer", after(10 * time.Second), []func(*driver){give, fail, respec()}, waits},
		{"beside a fence", func(s *Spec) { after(10 * time.Second)(s); on("one", fenced)(s) }, []func(*driver){give, fail}, waits + " for 10s"},
		{"its epoch is up", after(10 * time.Second), []func(*driver){give, func(d *driver) { d.give("b", oneX) }}, waits},
		{"a new process of the same machine is up: it reports", after(10 * time.Second), []func(*driver){give, func(d *driver) {
			d.give("b", oneX)
			r := d.registration("a")
			r.Process = nonce("another")
			d.must(r)
		}}, waits},
		{"that one is down too", after(10 * time.Second), []func(*driver){give, func(d *driver) {
			d.give("b", oneX)
			r := d.registration("a")
			r.Process = nonce("another")
			d.must(r)
			d.down("a")
		}}, waits + " for 10s"},
		{"another machine, unsettled: the former may live on", after(10 * time.Second), []func(*driver){give, func(d *driver) {
			d.give("b", oneX)
			d.must(d.moved("a"))
		}}, waits},
		{"another machine, settled", after(10 * time.Second), []func(*driver){give, func(d *driver) {
			d.give("b", oneX)
			d.must(d.moved("a"))
			d.must(Settle{Member: "a", Epoch: d.epoch("a")})
		}}, waits + " for 10s"},
		{"it failed there under this token: it may have been `down`", after(10 * time.Second), []func(*driver){give, fails, fail}, waits},
		{"it failed there under an older token", after(10 * time.Second), []func(*driver){give, fails, func(d *driver) {
			d.give("b", oneX)
			d.release("a", d.claim("a", oneX))
			d.give("a", oneX)
			d.down("a", d.move(oneX, "b"))
			d.release("b", d.claim("b", oneX))
		}}, waits + " for 10s"},
		{"forced", after(10 * time.Second), []func(*driver){give, fail, func(d *driver) {
			d.must(Force{Claims: []Claim{d.claim("a", oneX)}})
		}}, ""},
		{"it stopped in order, and `down` still runs", after(10 * time.Second), []func(*driver){give, func(d *driver) {
			g := d.bye("a", oneX)
			d.must(Down{Member: "a", Epoch: d.epoch("a"), Goodbye: &g, Moves: []Move{d.move(oneX, "b")}})
		}}, waits + " for 10s"},
		{"`down` of old may take longer, and the time is safe by the new one", after(10 * time.Second), []func(*driver){
			respec(ten, func(s *System) { s.StopTimeout = time.Minute }), give, respec(ten), fail,
		}, waits + " for 10s"}, // without an entry the time of acquiring counts for nothing
		{"an entry whose `down` may take longer", after(10 * time.Second), []func(*driver){
			respec(ten, func(s *System) { s.StopTimeout = time.Minute }), give, fail, respec(ten),
		}, waits + " for 2m17.775s"},
		{"an entry whose `down` may take longer, and a time that was not safe anyway", after(time.Second), []func(*driver){
			respec(func(s *System) { s.TakeoverAfter, s.StopTimeout = time.Second, time.Minute }), give, fail,
			respec(func(s *System) { s.TakeoverAfter = time.Second }),
		}, waits + " for 1s"},
		{"an entry whose `down` takes less time", after(10 * time.Second), []func(*driver){
			give, fail, respec(ten, func(s *System) { s.StopTimeout = time.Minute }),
		}, waits + " for 10s"},
		{"held as at-least-one", nil, []func(*driver){
			respec(func(s *System) { s.Guarantee = AtLeastOne }), give, respec(ten), fail,
			func(d *driver) { d.release("b") },
		}, waits + waits + " for 10s"}, // and as at-most-one since
		{"held as an address", nil, []func(*driver){
			func(d *driver) { r := d.registration("a"); r.Gate = false; d.must(r) },
			respec(plumbed), give, fail, respec(ten),
		}, waits},
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
			want := "one/x" + tc.want
			if !slices.Contains(strings.Split(got, ", "), want) {
				t.Fatalf("got %s, want %s in it", got, want)
			}
		})
	}
}

// An address that was plumbed by flip and is the hook's now: the job is the hook's.
func TestNoBetOnAnothersAction(t *testing.T) {
	d := founded(t, on("ip", func(s *System) { s.IP = &IP{NoGate: true} }))
	d.give("a", ipX)
	d.must(d.respec(on("ip", hooked)))
	d.down("a", d.move(ipX, "b"))
	for _, job := range d.s.Slice("b", d.epoch("b"), "machine-b", d.at).Want {
		for _, b := range job.Blocked {
			if b.After != 0 {
				t.Fatalf("%+v", job)
			}
		}
	}
}

// Whoever may have to release in time is told so, wanted or owed.
func TestBetIsTold(t *testing.T) {
	asked := on("one", func(s *System) { s.TakeoverAfter = 10 * time.Second })
	d := founded(t, asked)
	told := func() (out []string) {
		s := d.s.Slice("a", d.epoch("a"), "machine-a", d.at)
		for _, j := range s.Want {
			if j.Bet {
				out = append(out, "hold "+string(j.System)+"/"+string(j.Item))
			}
		}
		for _, o := range s.Owe {
			if o.Job.Bet {
				out = append(out, "owe "+string(o.Job.System)+"/"+string(o.Job.Item))
			}
		}
		return out
	}
	want := func(words ...string) {
		t.Helper()
		if got := told(); !slices.Equal(got, words) {
			t.Fatalf("got %q, want %q", got, words)
		}
	}
	d.give("a", oneX, oneY, ipX, leastX)
	want("hold one/x", "hold one/y")
	d.give("b", oneX, ipX, leastX)
	want("hold one/y", "owe one/x")
	d.must(d.respec(func(*Spec) {}))
	want()
	d.must(d.respec(asked))
	d.must(d.respec(func(s *Spec) { asked(s); on("one", plumbed)(s) })) // entries of hooks, and nobody bets on them
	want()
	d.must(d.respec(func(s *Spec) { asked(s); on("one", func(s *System) { s.Down = "other" })(s) }))
	if got := told(); !slices.Contains(got, "owe one/x") || !slices.Contains(got, "hold one/y") {
		t.Fatal(got)
	}
	d.must(d.respec(without("one")))
	want()
}
