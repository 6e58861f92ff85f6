package fsm

import (
	"fmt"
	"maps"
	"slices"
)

// oracleKey is the rotation of the key once more.
type oracleKey struct {
	round          Index
	phase          KeyPhase
	old, new       string
	acked, without map[MemberID]bool
}

func (o *oracle) ofKeys(cmd Command) bool {
	switch c := cmd.(type) {
	case Rotate:
		return o.rotate(c)
	case KeyAck:
		return o.keyAck(c)
	case KeyGo:
		return o.keyGo(c)
	default:
		return true
	}
}

func (o *oracle) rotate(r Rotate) bool {
	if o.cluster == "" || o.key.phase == KeyBoth || o.key.phase == KeyNew || o.key.round != r.Was || o.key.round == o.at || r.Old == r.New {
		return false
	}
	k := oracleKey{round: o.at, phase: KeyBoth, old: r.Old, new: r.New, acked: map[MemberID]bool{}, without: map[MemberID]bool{}}
	if !o.without(&k, r.LeftOut) {
		return false
	}
	o.key = k
	return true
}

func (o *oracle) without(k *oracleKey, ids []MemberID) bool {
	for _, id := range ids {
		if _, listed := o.spec.Servers[id]; !listed {
			return false
		}
		k.without[id] = true
	}
	return len(ids) == 0 || len(k.without) < len(o.spec.Servers)
}

func (o *oracle) keyAck(a KeyAck) bool {
	_, listed := o.spec.Servers[a.Member]
	if !listed || o.key.phase == KeySettled || a.Round != o.key.round || a.Phase != o.key.phase {
		return false
	}
	o.key.acked[a.Member] = true
	return true
}

func (o *oracle) keyGo(g KeyGo) bool {
	goes := g.Phase != KeySettled
	if o.key.phase == KeySettled || g.Round != o.key.round || goes && g.Phase != o.key.phase || !goes && len(g.LeftOut) == 0 {
		return false
	}
	k := o.key
	k.without = maps.Clone(k.without)
	if !o.without(&k, g.LeftOut) {
		return false
	}
	for id := range o.spec.Servers {
		if goes && !k.acked[id] && !k.without[id] {
			return false
		}
	}
	if goes {
		k.acked = map[MemberID]bool{}
		k.phase = map[KeyPhase]KeyPhase{KeyBoth: KeyNew, KeyNew: KeyOnly, KeyOnly: KeySettled}[k.phase]
	}
	if k.phase == KeySettled {
		k.without = map[MemberID]bool{}
	}
	o.key = k
	return true
}

// purgeKey forgets who is no server any more.
func (o *oracle) purgeKey() {
	for _, who := range []map[MemberID]bool{o.key.acked, o.key.without} {
		maps.DeleteFunc(who, func(id MemberID, _ bool) bool { _, listed := o.spec.Servers[id]; return !listed })
	}
}

func (k oracleKey) text() string {
	return fmt.Sprintln("key", k.round, uint8(k.phase), k.old, k.new, k.phase == KeyBoth || k.phase == KeyNew,
		slices.Sorted(maps.Keys(k.acked)), slices.Sorted(maps.Keys(k.without)))
}

// keyText is the same of a State.
func keyText(s *State) string {
	k := s.Keys()
	list := func(ids []MemberID) []MemberID { return append([]MemberID(nil), ids...) }
	return fmt.Sprintln("key", k.Round, uint8(k.Phase), k.Old, k.New, len(k.Sealed) > 0 && len(k.Back) > 0, list(k.Acked), list(k.LeftOut))
}

// keyCommand draws a command of a rotation.
func (w *world) keyCommand() Command {
	k := w.d.s.Keys()
	some := func(percent int) []MemberID {
		if w.chance(percent) {
			return []MemberID{draw(w, []MemberID{"a", "b", "c", "d"})}
		}
		return nil
	}
	switch w.roll(10) {
	case 0, 1:
		w.count++
		r := Rotate{Was: near(w, k.Round), Old: k.New, New: fmt.Sprint("key ", w.count), Sealed: []byte{1}, Back: []byte{2}, LeftOut: some(15)}
		if k.New == "" || w.chance(5) {
			r.Old = "key 0"
		}
		if w.chance(5) {
			r.New = r.Old
		}
		return r
	case 2, 3, 4:
		g := KeyGo{Round: near(w, k.Round), Phase: k.Phase, LeftOut: some(15)}
		if w.chance(15) {
			g.Phase = KeyPhase(w.roll(4))
		}
		return g
	default:
		a := KeyAck{Member: w.anyMember(), Round: near(w, k.Round), Phase: k.Phase}
		if w.chance(10) {
			a.Phase = KeyPhase(w.roll(5))
		}
		return a
	}
}
