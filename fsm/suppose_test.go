package fsm

import (
	"strings"
	"testing"
)

func TestSuppose(t *testing.T) {
	d := founded(t)
	d.give("a", oneX)
	was := textOf(d.s)
	to := d.move(oneX, "b")
	next, err := d.s.Suppose(d.at+1,
		Down{Member: "a", Epoch: d.epoch("a"), Moves: []Move{to}, At: second(0)},
		Down{Member: "c", Epoch: d.epoch("c"), At: second(0)},
		SetSpec{Was: d.s.Spec().Version, Spec: d.s.Spec().WithRemoving("b", true)},
	)
	if err != nil {
		t.Fatal(err)
	}
	slot, _ := next.Slot(oneX)
	a, _ := next.Member("a")
	if slot.Owner != "b" || slot.Token != Token(d.at+1) || a.Up || !next.Spec().Servers["b"].Removing || len(next.Brakes()) != 3 {
		t.Fatalf("%s", textOf(next))
	}
	if textOf(d.s) != was {
		t.Fatal("it has happened")
	}
	if err := Check(next); err != nil {
		t.Fatal(err)
	}
	if _, err := d.s.Suppose(d.at+1, Probe{}, Settle{Member: "z", Epoch: 1}); err == nil || !strings.Contains(err.Error(), "suppose fsm.Settle: the member has never registered") {
		t.Fatal(err)
	}
	if same, err := d.s.Suppose(d.at + 1); err != nil || same != d.s {
		t.Fatal(same, err)
	}
}

// Who asks keeps what it has asked with: a Spec is copied.
func TestSupposeKeepsNothing(t *testing.T) {
	d := founded(t)
	c := d.respec(func(*Spec) {})
	next, err := d.s.Suppose(d.at+1, c)
	if err != nil {
		t.Fatal(err)
	}
	c.Spec.Systems["one"].Items[0].ID = "changed"
	if id := next.Spec().Systems["one"].Items[0].ID; id != "x" {
		t.Fatalf("%q", id)
	}
}
