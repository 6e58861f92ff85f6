package sim

import (
	"testing"
	"time"
)

// TestCarrier: an address whose holder loses its carrier is failed there, moves,
// and may come back when the carrier does.
func TestCarrier(t *testing.T) {
	for _, tt := range []struct {
		name string
		setup
	}{
		{"gated", setup{planned: true}},
		{"ungated", setup{planned: true, ungated: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, tt.setup)
			n2, n3 := r.Process("n2").Machine(), r.Process("n3").Machine()
			failed := func() bool { _, ok := r.Agreed().FailureOf("n3", item); return ok }

			lost := r.Now()
			r.SetCarrier(n3, false)
			r.await("n2 has it", r.has("n2"))
			// Reported, moved, released, released in the log, acquired: no lease ends.
			if d := r.Now() - lost; d > ttl/4 {
				t.Errorf("it took %v", d)
			}
			if !failed() {
				t.Error("the log does not remember why")
			}
			r.pass(2 * time.Second)
			if !r.has("n2")() {
				t.Error("it went back without a carrier")
			}

			r.SetCarrier(n3, true)
			r.await("n3 is mended", func() bool { return !failed() })
			r.SetCarrier(n2, false)
			r.await("n3 has it again", r.has("n3"))
			r.pass(2 * time.Second)
			if got := r.Holders(item); len(got) != 1 || got[0] != n3.Name {
				t.Errorf("held by %v", got)
			}
			if err := r.Violation(); err != nil {
				t.Errorf("%v\n%s", err, tail(r.World, 80))
			}
		})
	}
}

// Nobody has a carrier: the item stays with its owner, who holds nothing, until
// one comes back.
func TestNoCarrierAnywhere(t *testing.T) {
	r := newRig(t, setup{planned: true})
	n2, n3 := r.Process("n2").Machine(), r.Process("n3").Machine()
	r.SetCarrier(n2, false)
	r.SetCarrier(n3, false)
	r.pass(5 * time.Second)
	if got := r.Holders(item); len(got) != 0 {
		t.Errorf("held by %v", got)
	}
	if moves := r.Count[Moves]; moves > 5 {
		t.Errorf("%d moves: it is thrown to and fro\n%s", moves, tail(r.World, 40))
	}
	r.SetCarrier(n2, true)
	r.await("n2 has it", r.has("n2"))
	if err := r.Violation(); err != nil {
		t.Errorf("%v\n%s", err, tail(r.World, 80))
	}
}
