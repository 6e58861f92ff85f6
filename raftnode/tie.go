package raftnode

import (
	"maps"
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// tie names what moves at one time or not at all: the ranks of an item, and the items of
// the same id of systems that are with or apart from each other; of a system that is
// kept together, and of those that are tied to it, everything.
type tie struct {
	system fsm.SystemID // the first by name of those that are tied
	item   fsm.ItemID
}

// ties says which systems are tied. It is made anew with each Spec.
type ties struct {
	spec  *fsm.Spec
	first map[fsm.SystemID]fsm.SystemID
	whole map[fsm.SystemID]bool // by the first one
}

func (t *ties) of(k fsm.Key) tie {
	first, known := t.first[k.System]
	switch {
	case !known:
		return tie{k.System, k.Item}
	case t.whole[first]:
		return tie{system: first}
	default:
		return tie{first, k.Item}
	}
}

// read takes a Spec in.
func (t *ties) read(spec *fsm.Spec) {
	if t.spec == spec {
		return
	}
	*t = ties{spec: spec, first: map[fsm.SystemID]fsm.SystemID{}, whole: map[fsm.SystemID]bool{}}
	names := slices.Sorted(maps.Keys(spec.Systems))
	for _, id := range names {
		t.first[id] = id
	}
	for _, id := range names {
		sys := spec.Systems[id]
		for _, other := range slices.Concat(sys.With, sys.Apart) {
			t.join(id, other)
		}
	}
	for _, id := range names {
		if spec.Systems[id].Split == fsm.ChooseOne {
			t.whole[t.first[id]] = true
		}
	}
}

func (t *ties) join(a, b fsm.SystemID) {
	x, y := t.first[a], t.first[b]
	if y == "" || x == y { // of a system that there is not
		return
	}
	for id, first := range t.first {
		if first == max(x, y) {
			t.first[id] = min(x, y)
		}
	}
}
