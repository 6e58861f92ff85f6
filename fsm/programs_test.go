package fsm

import (
	"slices"
	"testing"
)

func TestPrograms(t *testing.T) {
	client := func(s *Spec) {
		on("one", claimable)(s)
		on("least", claimable)(s)
	}
	d := founded(t, client)
	says := func(m MemberID, e Epoch, systems ...SystemID) {
		t.Helper()
		d.must(Report{Member: m, Epoch: e, Programs: &Programs{Systems: systems}, At: 1})
	}
	want := func(systems ...SystemID) {
		t.Helper()
		if got := d.memberOf("a").Programs; !slices.Equal(got, systems) {
			t.Fatalf("%v, want %v", got, systems)
		}
	}
	says("a", d.epoch("a"), "one", "least", "one", "ip", "none")
	want("least", "one") // what no program can claim is passed by
	if m := d.memberOf("a"); !m.HasProgram("one") || m.HasProgram("ip") {
		t.Fatalf("%+v", m)
	}
	if e := d.journal(KindProgram); e.Member != "a" || e.Key.System != "one" || e.Reason != "a program has claimed it" {
		t.Fatalf("%+v", e)
	}
	before := len(d.s.Journal())
	d.must(Report{Member: "a", Epoch: d.epoch("a"), At: 2}) // nothing is said of them
	says("a", d.epoch("a"), "one", "least")
	want("least", "one")
	if n := len(d.s.Journal()) - before; n != 0 {
		t.Fatalf("%d lines for nothing", n)
	}
	says("a", d.epoch("a"), "one")
	want("one")
	if e := d.journal(KindProgram); e.Key.System != "least" || e.Reason != "its program is gone" {
		t.Fatalf("%+v", e)
	}
	if m, _ := read(t, snapshot(t, d.s)).Member("a"); !m.HasProgram("one") {
		t.Fatal("the snapshot forgets it")
	}
	// Another epoch begins with none, and the word of the former one says nothing.
	old := d.epoch("a")
	d.must(d.registration("a"))
	want()
	says("a", old, "one")
	want()
	says("a", d.epoch("a"), "one", "least")
	d.must(d.respec(on("least", claimable)))
	want("least")
	d.lose("a", 5)
	says("a", d.epoch("a"), "least", "one")
	want("least") // of one that is down nothing new is taken in
}
