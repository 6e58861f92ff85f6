package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// failedEverywhere has failures of a for one/x and one/y, of b for one/x and of c
// for ip/x.
func failedEverywhere(t *testing.T) *driver {
	d := founded(t)
	d.give("a", oneX, oneY)
	d.give("c", ipX)
	fails := func(m MemberID, keys ...Key) {
		r := Report{Member: m, Epoch: d.epoch(m)}
		for _, k := range keys {
			r.Failed = append(r.Failed, Failure{Key: k, Token: d.slot(k).Token, Err: "exit status 1"})
		}
		d.must(r)
	}
	fails("a", oneX, oneY)
	d.give("b", oneX)
	fails("b", oneX)
	fails("c", ipX)
	return d
}

func (d *driver) failures() string {
	var out []string
	for m, f := range d.s.Failures() {
		out = append(out, string(m)+" "+string(f.System)+"/"+string(f.Item))
	}
	return strings.Join(out, ", ")
}

func (d *driver) journalOf(kind string) string {
	var out []string
	for _, e := range d.s.Journal() {
		if e.Kind == kind {
			out = append(out, strings.Join(strings.Fields(fmt.Sprint(e.Member, " ", e.Key.System, " ", e.Key.Item, " ", e.Reason)), " "))
		}
	}
	return strings.Join(out, ", ")
}

func TestCleanup(t *testing.T) {
	for _, tc := range []struct {
		name string
		cmd  Cleanup
		left string
		told string
	}{
		{"an item", Cleanup{System: "one", Item: "x"}, "a one/y, c ip/x", "a one x, b one x"},
		{"a system", Cleanup{System: "one"}, "c ip/x", "a one x, a one y, b one x"},
		{"everything", Cleanup{}, "", "a one x, a one y, b one x, c ip x"},
		{"what did not fail", Cleanup{System: "least", Item: "x"}, "a one/x, a one/y, b one/x, c ip/x", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := failedEverywhere(t)
			tc.cmd.At = 77
			d.must(tc.cmd)
			if got := d.failures(); got != tc.left {
				t.Errorf("left: %s, want %s", got, tc.left)
			}
			if got := d.journalOf(KindCleaned); got != tc.told {
				t.Errorf("told: %s, want %s", got, tc.told)
			}
			if tc.told == "" {
				return
			}
			if last := d.s.Journal()[len(d.s.Journal())-1]; last.At != 77 || last.Index != d.at {
				t.Errorf("%+v", last)
			}
		})
	}
	failedEverywhere(t).refuses(Cleanup{Item: "x"}, "an item needs its system")
}

// A process that gave up sees that its failure is forgotten: nothing keeps it from
// trying again.
func TestCleanupReachesTheSlice(t *testing.T) {
	d := failedEverywhere(t)
	if got := d.sliceOf("b"); !strings.Contains(got, "one/x+failed") || !strings.Contains(got, "failed one/x at") {
		t.Fatal(got)
	}
	d.must(Cleanup{System: "one"})
	if got := d.sliceOf("b"); strings.Contains(got, "failed") {
		t.Fatal(got)
	}
}

func TestMaintain(t *testing.T) {
	d := founded(t)
	want := func(list ...SystemID) {
		t.Helper()
		if got := d.s.Maintenance(); !slices.Equal(got, list) {
			t.Fatalf("got %q, want %q", got, list)
		}
	}
	d.refuses(Maintain{System: "none", On: true}, "no system none")
	d.must(Maintain{System: "none"})
	want()
	for _, id := range []SystemID{"one", "ip", "", "one"} {
		d.must(Maintain{System: id, On: true, At: 5})
	}
	want("", "ip", "one")
	if !d.s.Maintained("least") || !d.s.Maintained("one") {
		t.Fatal("all is every system")
	}
	d.must(Maintain{})
	want("ip", "one")
	if d.s.Maintained("least") || !d.s.Maintained("one") || !d.s.Maintained("ip") {
		t.Fatal(d.s.Maintenance())
	}
	d.must(Maintain{System: "ip"})
	d.must(Maintain{System: "ip"})
	d.must(Maintain{System: "one"})
	want()
	if d.s.maintained != nil {
		t.Fatal("an empty list")
	}
	if got := d.journalOf(KindMaintained); got != "one on, ip on, on, off, ip off, one off" {
		t.Fatal(got)
	}
}

// A system that is gone is under maintenance no longer, also when it comes back;
// all systems are whatever there is.
func TestMaintenanceOfRemovedSystem(t *testing.T) {
	d := founded(t)
	for _, id := range []SystemID{"one", "ip", ""} {
		d.must(Maintain{System: id, On: true})
	}
	d.refuses(SetSpec{Was: 0, Spec: testSpec()}, "has changed since")
	d.must(d.respec(without("one")))
	if got := d.s.Maintenance(); !slices.Equal(got, []SystemID{"", "ip"}) {
		t.Fatal(got)
	}
	d.must(d.respec(func(*Spec) {}))
	if got := d.s.Maintenance(); !slices.Equal(got, []SystemID{"", "ip"}) {
		t.Fatal(got)
	}
	if got := d.journalOf(KindMaintained); got != "one on, ip on, on, one off: removed from the configuration" {
		t.Fatal(got)
	}
}

// What is wanted or has failed is under maintenance; what is owed must go all the
// same: others wait for it.
func TestMaintenanceInTheSlice(t *testing.T) {
	d := founded(t)
	d.give("a", oneX, oneY, leastX)
	d.must(Report{Member: "a", Epoch: d.epoch("a"), Failed: []Failure{{Key: oneX, Token: d.slot(oneX).Token, Err: "x"}}})
	d.give("b", oneX)
	told := func() (want, owe, failed []SystemID) {
		s := d.s.Slice("a", d.epoch("a"), "machine-a", d.at)
		for _, j := range s.Want {
			if j.Maintained {
				want = append(want, j.System)
			}
		}
		for _, o := range s.Owe {
			if o.Job.Maintained {
				owe = append(owe, o.Job.System)
			}
		}
		for _, j := range s.Failed {
			if j.Maintained {
				failed = append(failed, j.System)
			}
		}
		return want, owe, failed
	}
	for _, tc := range []struct {
		on           SystemID
		want, failed []SystemID
	}{
		{"one", []SystemID{"one"}, []SystemID{"one"}},
		{"all", []SystemID{"all"}, nil},
		{"ip", nil, nil},
		{"", []SystemID{"all", "least", "one"}, []SystemID{"one"}},
	} {
		d.must(Maintain{System: tc.on, On: true})
		want, owe, failed := told()
		if !slices.Equal(want, tc.want) || owe != nil || !slices.Equal(failed, tc.failed) {
			t.Errorf("%q: wanted %q, owed %q, failed %q", tc.on, want, owe, failed)
		}
		if job := d.s.Job(d.slot(oneX)); job.Maintained != (tc.on == "one" || tc.on == "") {
			t.Errorf("%q: %+v", tc.on, job)
		}
		d.must(Maintain{System: tc.on})
	}
}

// A snapshot keeps the list, and takes no other form of it.
func TestMaintenanceInASnapshot(t *testing.T) {
	d := founded(t)
	plain := snapshot(t, d.s)
	for _, id := range []SystemID{"one", ""} {
		d.must(Maintain{System: id, On: true})
	}
	if got := read(t, snapshot(t, d.s)).Maintenance(); !slices.Equal(got, []SystemID{"", "one"}) {
		t.Fatal(got)
	}
	if got := read(t, plain); got.maintained != nil {
		t.Fatal(got.maintained)
	}
	for _, list := range [][]SystemID{{"one", ""}, {"one", "one"}} {
		s := *d.s
		s.maintained = list
		if _, err := Read(strings.NewReader(string(snapshot(t, &s)))); err == nil {
			t.Errorf("%q was read", list)
		}
		if Check(&s) == nil {
			t.Errorf("%q is in order", list)
		}
	}
	s := *d.s
	s.maintained = []SystemID{"none"}
	if Check(&s) == nil {
		t.Error("a system that is not there is under maintenance")
	}
}
