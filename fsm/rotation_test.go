package fsm

import (
	"slices"
	"testing"
)

// rotation begins one, without some members.
func (d *driver) rotation(mark string, without ...MemberID) Rotate {
	k := d.s.Keys()
	old := k.New
	if old == "" {
		old = "first"
	}
	return Rotate{Was: k.Round, Old: old, New: mark, Sealed: []byte("new"), Back: []byte("old"), LeftOut: without, At: 7}
}

func (d *driver) keyAck(ids ...MemberID) {
	d.t.Helper()
	for _, id := range ids {
		d.must(KeyAck{Member: id, Round: d.s.Keys().Round, Phase: d.s.Keys().Phase})
	}
}

// over ends the present phase.
func (d *driver) over() KeyGo {
	return KeyGo{Round: d.s.Keys().Round, Phase: d.s.Keys().Phase, At: 9}
}

func TestRotationGoesThroughItsPhases(t *testing.T) {
	d := founded(t)
	if k := d.s.Keys(); k.Phase != KeySettled || k.Round != 0 || len(d.s.KeyAwaited()) != 0 {
		t.Fatalf("before the first: %+v", k)
	}
	d.must(d.rotation("second"))
	round := d.at
	for _, phase := range []KeyPhase{KeyBoth, KeyNew, KeyOnly} {
		k := d.s.Keys()
		if k.Phase != phase || k.Round != round || k.New != "second" || k.Old != "first" || k.Rotating() != (phase != KeyOnly) {
			t.Fatalf("want phase %d: %+v", phase, k)
		}
		if sealed := len(k.Sealed) > 0 && len(k.Back) > 0; sealed != k.Rotating() {
			t.Fatalf("phase %d: the keys are in the log: %v", phase, sealed)
		}
		if got := d.s.KeyAwaited(); !slices.Equal(got, []MemberID{"a", "b", "c"}) {
			t.Fatalf("waits for %v", got)
		}
		d.refuses(d.over(), "a has not acknowledged")
		d.keyAck("c", "a", "a")
		if got := d.s.KeyAwaited(); !slices.Equal(got, []MemberID{"b"}) {
			t.Fatalf("waits for %v", got)
		}
		d.refuses(d.over(), "b has not acknowledged")
		d.keyAck("b")
		d.must(d.over())
	}
	if k := d.s.Keys(); k.Phase != KeySettled || len(k.Acked) != 0 || k.New != "second" {
		t.Fatalf("in the end: %+v", k)
	}
	d.must(d.rotation("third"))
	if k := d.s.Keys(); k.Old != "second" || k.Phase != KeyBoth {
		t.Fatalf("the second one: %+v", k)
	}
}

func TestRotationIsRefused(t *testing.T) {
	d := newDriver(t)
	d.refuses(d.rotation("second"), "not founded")
	d = founded(t)
	same := d.rotation("second")
	same.New = same.Old
	d.refuses(same, "the new key is the present one")
	open := d.rotation("second")
	open.Sealed = nil
	d.refuses(open, "sealed under the other")
	long := d.rotation("second")
	long.Sealed = make([]byte, maxSealedKey+1)
	d.refuses(long, "too long")
	d.refuses(d.rotation("second", "z"), "z is no member")
	d.refuses(d.rotation("second", "a", "b", "c"), "nobody would be left")
	d.refuses(KeyGo{LeftOut: []MemberID{"a"}}, "no rotation of the key is under way")
	d.must(d.rotation("second"))
	d.refuses(d.rotation("third"), "is under way")
	d.refuses(KeyAck{Member: "z", Round: d.s.Keys().Round, Phase: KeyBoth}, "no member")
	d.refuses(KeyAck{Member: "a", Round: d.s.Keys().Round, Phase: KeyNew}, "or has not begun")
	d.refuses(KeyAck{Member: "a", Round: d.s.Keys().Round - 1, Phase: KeyBoth}, "or has not begun")
	d.refuses(KeyGo{Round: d.s.Keys().Round, Phase: KeyNew}, "or has not begun")
	d.refuses(KeyGo{Round: d.s.Keys().Round}, "without whom")
	for range 3 { // to KeyOnly, and no further
		if d.s.Keys().Phase == KeyOnly {
			break
		}
		d.keyAck("a", "b", "c")
		d.must(d.over())
	}
	late := d.rotation("third")
	late.Was--
	d.refuses(late, "another rotation was faster")
	d.must(d.rotation("third")) // nobody waits for who has only to forget a key
	d.refuses(KeyAck{Member: "a", Round: late.Was + 1, Phase: KeyOnly}, "or has not begun")
}

// withD adds a server.
func (d *driver) withD() SetSpec {
	return d.respec(func(s *Spec) {
		server := s.Servers["c"]
		server.Addr = "192.0.2.4:2200"
		s.Servers["d"] = server
	})
}

// A member that stays away holds a rotation up until it is left out, or removed.
func TestRotationWithout(t *testing.T) {
	d := founded(t)
	d.must(d.rotation("second"))
	d.keyAck("a", "b")
	d.refuses(d.over(), "c has not acknowledged")
	d.must(KeyGo{Round: d.s.Keys().Round, LeftOut: []MemberID{"c"}})
	if got := d.s.KeyAwaited(); len(got) != 0 {
		t.Fatalf("waits for %v", got)
	}
	d.must(d.over())
	d.keyAck("a", "b", "c") // it is back, and welcome
	d.must(d.over())
	if k := d.s.Keys(); k.Phase != KeyOnly || !slices.Equal(k.LeftOut, []MemberID{"c"}) {
		t.Fatalf("%+v", k)
	}

	d = founded(t)
	d.must(d.rotation("second", "c"))
	d.keyAck("a", "b")
	d.must(d.over())

	d = founded(t)
	d.must(d.withD())
	d.must(d.rotation("second"))
	d.keyAck("a", "b", "c")
	d.refuses(d.over(), "d has not acknowledged")
	d.must(SetSpec{Was: d.s.Spec().Version, Spec: d.s.Spec().WithRemoving("d", true)})
	d.refuses(d.over(), "d has not acknowledged")
	d.must(d.respec(func(*Spec) {}))
	d.must(d.over())
}

// Who comes back with another data directory has lost the keys that it kept there;
// who joins meanwhile has to get them.
func TestRotationForgetsAcks(t *testing.T) {
	d := founded(t)
	d.must(d.rotation("second"))
	d.keyAck("a", "b", "c")
	d.must(d.registration("c")) // the same one
	if !d.s.Keys().Has("c") {
		t.Fatal("forgotten after a restart")
	}
	again := d.registration("c")
	again.Process, again.Host.Instance = nonce("another"), "another"
	d.must(again)
	if d.s.Keys().Has("c") {
		t.Fatal("another data directory has the key of the former one")
	}
	d.refuses(d.over(), "c has not acknowledged")
	d.keyAck("c")
	d.must(d.withD())
	d.refuses(d.over(), "d has not acknowledged")
	d.keyAck("d")
	d.must(d.over())
}

func TestKeysBefore(t *testing.T) {
	in := []Keys{
		{},
		{Round: 5, Phase: KeyBoth},
		{Round: 5, Phase: KeyNew},
		{Round: 5, Phase: KeyOnly},
		{Round: 5, Phase: KeySettled},
		{Round: 9, Phase: KeyBoth},
	}
	for i, a := range in {
		for j, b := range in {
			if got := a.Before(b); got != (i < j) {
				t.Errorf("%+v before %+v: %v", a, b, got)
			}
		}
	}
}

// What an agent is told does not change with what others acknowledge.
func TestKeysForOne(t *testing.T) {
	d := founded(t)
	d.must(d.rotation("second", "c"))
	before := d.s.Keys().For("a")
	d.keyAck("b")
	if got := d.s.Keys().For("a"); got.Has("b") || len(got.LeftOut) > 0 || !got.Same(before) || string(got.Sealed) != "new" {
		t.Fatalf("%+v", got)
	}
	d.keyAck("a")
	if got := d.s.Keys().For("a"); !got.Has("a") || len(got.Acked) != 1 {
		t.Fatalf("%+v", got)
	}
}
