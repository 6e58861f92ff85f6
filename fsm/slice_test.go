package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// sliceOf is a member's slice in short, at its newest epoch and on its machine.
func (d *driver) sliceOf(m MemberID) string {
	d.t.Helper()
	return short(d.s.Slice(m, d.epoch(m), d.memberOf(m).Host.Machine, d.at))
}

func short(s Slice) string {
	var out []string
	for _, j := range s.Want {
		w := fmt.Sprintf("%s/%s", j.System, j.Item)
		if j.Keep {
			w += "+keep"
		}
		if j.Barred {
			w += "+barred"
		}
		if j.Reported {
			w += "+reported"
		}
		if j.Failed {
			w += "+failed"
		}
		for _, b := range j.Blocked {
			w += fmt.Sprintf("+blocked by %s", b.Member)
			if b.After > 0 {
				w += fmt.Sprintf(" for %v", b.After)
			}
		}
		out = append(out, w)
	}
	for _, o := range s.Owe {
		out = append(out, fmt.Sprintf("owe %s/%s", o.Job.System, o.Job.Item))
	}
	for _, f := range s.Failed {
		out = append(out, fmt.Sprintf("failed %s/%s at %d", f.System, f.Item, f.Token))
	}
	return strings.Join(out, ", ")
}

func TestSlice(t *testing.T) {
	giveAll := func(d *driver) { d.give("a", oneX, leastX, ipX) }
	for _, tc := range []struct {
		name string
		run  func(d *driver) string
		want string
	}{
		{"owns nothing", func(d *driver) string { return d.sliceOf("a") }, "all/x"},
		{"owner", func(d *driver) string { giveAll(d); return d.sliceOf("a") }, "all/x, ip/x, least/x, one/x"},
		{"reported", func(d *driver) string { giveAll(d); d.acquire(oneX); return d.sliceOf("a") }, "all/x, ip/x, least/x, one/x+reported"},
		{"reported in an older epoch", func(d *driver) string {
			giveAll(d)
			d.acquire(oneX)
			d.must(d.registration("a"))
			return d.sliceOf("a")
		}, "all/x, ip/x, least/x, one/x"},
		{"failed under this token", func(d *driver) string {
			giveAll(d)
			d.must(Report{Member: "a", Epoch: d.epoch("a"), Failed: []Failure{{Key: oneX, Token: d.slot(oneX).Token, Err: "x"}}})
			return d.sliceOf("a")
		}, "all/x, ip/x, least/x, one/x+failed, failed one/x at 5"},
		{"failed under another token", func(d *driver) string {
			giveAll(d)
			d.must(Report{Member: "a", Epoch: d.epoch("a"), Failed: []Failure{{Key: leastX, Token: d.slot(leastX).Token, Err: "x"}}})
			d.give("b", leastX)
			d.give("a", leastX)
			return d.sliceOf("a")
		}, "all/x, ip/x, least/x, one/x, owe least/x, failed least/x at 5"},
		{"down", func(d *driver) string { giveAll(d); d.down("a"); return d.sliceOf("a") }, "all/x, ip/x+barred, least/x, one/x+barred"},
		{"an older epoch", func(d *driver) string {
			giveAll(d)
			d.must(d.registration("a"))
			return short(d.s.Slice("a", 2, "machine-a", d.at))
		}, "all/x, ip/x+barred, least/x, one/x+barred"},
		{"no epoch yet", func(d *driver) string { giveAll(d); return short(d.s.Slice("a", 0, "machine-a", d.at)) }, "all/x, ip/x+barred, least/x, one/x+barred"},
		{"no epoch yet, another machine", func(d *driver) string { giveAll(d); return short(d.s.Slice("a", 0, "elsewhere", d.at)) }, ""},
		{"never registered", func(d *driver) string { return short(d.s.Slice("z", 0, "machine-z", d.at)) }, ""},
		{"another machine, unsettled", func(d *driver) string {
			giveAll(d)
			d.must(d.moved("a"))
			return d.sliceOf("a")
		}, "all/x, ip/x+barred, least/x, one/x+barred+blocked by a"},
		{"another machine, settled", func(d *driver) string {
			giveAll(d)
			d.must(d.moved("a"))
			d.must(Settle{Member: "a", Epoch: d.epoch("a")})
			return d.sliceOf("a")
		}, "all/x, ip/x, least/x, one/x+blocked by a"},
		{"superseded: keeps until the other has acquired", func(d *driver) string {
			giveAll(d)
			d.must(d.moved("a"))
			return short(d.s.Slice("a", 2, "machine-a", d.at))
		}, "least/x+keep, owe one/x"},
		{"superseded, and the other has acquired", func(d *driver) string {
			giveAll(d)
			d.must(d.moved("a"))
			d.acquire(leastX)
			return short(d.s.Slice("a", 2, "machine-a", d.at))
		}, "owe least/x, owe one/x"},
		{"rebooted, unsettled: owes nothing yet", func(d *driver) string {
			giveAll(d)
			r := d.registration("a")
			r.Host.Boot = "boot-2"
			d.must(r)
			return d.sliceOf("a")
		}, "all/x, ip/x+barred, least/x, one/x+barred"},
		{"rebooted, settled: its own machine blocks nobody", func(d *driver) string {
			giveAll(d)
			r := d.registration("a")
			r.Host.Boot = "boot-2"
			d.must(r)
			d.must(Settle{Member: "a", Epoch: d.epoch("a")})
			return d.sliceOf("a")
		}, "all/x, ip/x, least/x, one/x, owe least/x, owe one/x"},
		{"the new owner of at-most-one waits, of at-least-one never", func(d *driver) string {
			giveAll(d)
			d.give("b", oneX, leastX, ipX)
			return d.sliceOf("b")
		}, "all/x, ip/x+blocked by a, least/x, one/x+blocked by a"},
		{"a forced entry blocks nobody", func(d *driver) string {
			giveAll(d)
			d.give("b", oneX)
			d.must(Force{Claims: []Claim{d.claim("a", oneX)}})
			return d.sliceOf("b") + " | " + d.sliceOf("a")
		}, "all/x, one/x | all/x, ip/x, least/x, owe one/x"},
		{"at-least-one: the old owner keeps it until the new one has it", func(d *driver) string {
			giveAll(d)
			d.give("b", leastX)
			before := d.sliceOf("a")
			d.acquire(leastX)
			return before + " | " + d.sliceOf("a")
		}, "all/x, ip/x, least/x+keep, one/x | all/x, ip/x, one/x, owe least/x"},
		{"at-least-one: given to nobody", func(d *driver) string { giveAll(d); d.give("", leastX); return d.sliceOf("a") }, "all/x, ip/x, one/x, owe least/x"},
		{"at-least-one: an owner that crashed holds it still", func(d *driver) string {
			giveAll(d)
			d.give("b", leastX)
			d.acquire(leastX)
			d.must(d.registration("b"))
			return d.sliceOf("a")
		}, "all/x, ip/x, one/x, owe least/x"},
		{"no epoch yet: at-least-one entries may be out of date", func(d *driver) string {
			giveAll(d)
			d.give("b", oneX, leastX)
			d.acquire(leastX)
			return short(d.s.Slice("a", 0, "machine-a", d.at)) + " | " + short(d.s.Slice("a", Epoch(d.at+9), "machine-a", d.at))
		}, "all/x, ip/x+barred, owe one/x | all/x, ip/x+barred, owe one/x"},
		{"removed from the configuration", func(d *driver) string {
			giveAll(d)
			d.must(d.respec(func(s *Spec) { delete(s.Systems, "least"); delete(s.Systems, "all") }))
			return d.sliceOf("a")
		}, "ip/x, one/x, owe all/x, owe least/x"},
		{"back where it never left", func(d *driver) string {
			giveAll(d)
			d.give("b", oneX)
			d.give("a", oneX)
			return d.sliceOf("a")
		}, "all/x, ip/x, least/x, one/x+blocked by b, owe one/x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.run(founded(t)); got != tc.want {
				t.Fatalf("\n got %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestSliceJobs(t *testing.T) {
	d := founded(t)
	d.give("b", ipX, oneX)
	ipY := Key{System: "ip", Item: "y"}
	d.give("a", ipY)
	token := d.give("a", ipX, oneX)
	if got := d.s.Job(d.slot(ipY)).Addrs; !slices.Equal(got, []string{"198.51.100.2/32"}) {
		t.Fatalf("%q", got)
	}
	s := d.s.Slice("a", d.epoch("a"), "machine-a", d.at)
	if s.At != d.at || s.Epoch != d.epoch("a") {
		t.Fatalf("%+v", s)
	}
	one := s.Want[slices.IndexFunc(s.Want, func(j Job) bool { return j.Key == oneX })]
	one.Blocked = nil
	want := Job{
		Key: oneX, Token: token, AtMostOne: true, Action: ActionHooks, Alive: "up", Down: "down", Config: []byte(`{"x":1}`),
		StopTimeout: time.Second, Previous: "b", Reason: "test",
	}
	if fmt.Sprintf("%+v", one) != fmt.Sprintf("%+v", want) {
		t.Fatalf("\n got %+v\nwant %+v", one, want)
	}
	for _, j := range s.Want {
		j.Blocked, j.Reported = nil, false
		if j.System == "all" {
			if j.Token != 0 || j.AtMostOne {
				t.Fatalf("%+v", j)
			}
			continue
		}
		if slot := d.slot(j.Key); fmt.Sprintf("%+v", d.s.Job(slot)) != fmt.Sprintf("%+v", j) {
			t.Fatalf("Job and Slice differ:\n%+v\n%+v", d.s.Job(slot), j)
		}
	}
	owe := d.s.Slice("b", d.epoch("b"), "machine-b", d.at).Owe
	if len(owe) != 2 || owe[0].Token != token-2 || owe[0].Job.Token != token-2 || !owe[0].Job.Gated ||
		!slices.Equal(owe[0].Job.Addrs, []string{"198.51.100.1/24"}) {
		t.Fatalf("%+v", owe)
	}
}

func TestRest(t *testing.T) {
	d := founded(t)
	d.give("a", oneX)
	rest := d.s.Rest("a")
	if len(rest) != 1 || rest[0].Key != oneY || rest[0].Token != 0 || rest[0].Down != "down" || !rest[0].AtMostOne {
		t.Fatalf("%+v", rest)
	}
	if rest := d.s.Rest("b"); len(rest) != 2 {
		t.Fatalf("%+v", rest)
	}
	if rest := d.s.Rest("z"); rest != nil {
		t.Fatalf("%+v", rest)
	}
	d.must(d.respec(func(s *Spec) { s.Servers["a"] = Server{} }))
	if rest := d.s.Rest("a"); rest != nil {
		t.Fatalf("serves nothing: %+v", rest)
	}
}

func TestSlotsAreOrdered(t *testing.T) {
	names := []string{"a", "a\x00", "a\x00b", "a\x01", "aa", "b", "\x00", "é"}
	s := New()
	c := s.begin(1)
	c.next.spec = &Spec{}
	var want []Key
	for _, sys := range names {
		for _, item := range names {
			for _, rank := range []int{-1, 0, 1, 300} {
				k := Key{System: SystemID(sys), Item: ItemID(item), Rank: rank}
				want = append(want, k)
				c.put(&Slot{Key: k, Owner: "a", Token: 1})
			}
		}
	}
	slices.SortFunc(want, Key.Compare)
	s = c.end()
	var got []Key
	for slot := range s.Slots() {
		got = append(got, slot.Key)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got %+v", got)
	}
	for _, sys := range names {
		n := 0
		for slot := range s.SlotsOf(SystemID(sys)) {
			if n++; slot.System != SystemID(sys) {
				t.Fatalf("%q among those of %q", slot.System, sys)
			}
		}
		if n != 4*len(names) {
			t.Fatalf("%d slots of %q", n, sys)
		}
	}
	for range s.Slots() {
		break
	}
}
