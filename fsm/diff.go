package fsm

import (
	"bytes"
	"iter"
	"reflect"
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// ChangedSlots yields, in order, the keys of the slots that are not what they were
// in an older State, those that came and those that went included. It costs what
// has changed, not what there is.
func (s *State) ChangedSlots(old *State) iter.Seq[Key] {
	return func(yield func(Key) bool) {
		same := func(a, b *Slot) bool { return a == b }
		diff(old.slots, s.slots, same, func(_ []byte, slot *Slot) bool { return yield(slot.Key) })
	}
}

// ChangedFailures does the same for the failures remembered; a key comes once for
// each member whose failure there is another.
func (s *State) ChangedFailures(old *State) iter.Seq[Key] {
	return func(yield func(Key) bool) {
		same := func(a, b Failure) bool { return a == b }
		diff(old.failures, s.failures, same, func(_ []byte, f Failure) bool { return yield(f.Key) })
	}
}

// ChangedMembers does the same for the registered members.
func (s *State) ChangedMembers(old *State) iter.Seq[MemberID] {
	return func(yield func(MemberID) bool) {
		same := func(a, b Member) bool { return reflect.DeepEqual(a, b) }
		diff(old.members, s.members, same, func(k []byte, _ Member) bool { return yield(MemberID(k)) })
	}
}

// What one descent into a node costs is about that of walking over so many keys:
// beyond that share of the tree walking is cheaper.
const keysPerDescent = 128

// diff yields the keys at which two trees differ, in order, each with its value in
// the newer tree or, if it went, in the older one.
func diff[T any](old, now *iradix.Tree[T], same func(a, b T) bool, yield func([]byte, T) bool) {
	if old == now {
		return
	}
	d := differ[T]{old: old.Root(), now: now.Root(), same: same, yield: yield, left: 64 + now.Len()/keysPerDescent}
	d.below(nil)
	if d.tired {
		d.walk()
	}
}

// differ compares two trees. They share their nodes where they are the same, and
// each node has a channel of its own: two that have the same channel are one node,
// and nothing below it has to be looked at.
type differ[T any] struct {
	old, now *iradix.Node[T]
	same     func(a, b T) bool
	yield    func([]byte, T) bool
	left     int    // descents that are still worth it
	tired    bool   // there were more …
	from     []byte // … and this and all above is not compared yet
}

// below compares what both trees have under a prefix. It reports whether to go on.
func (d *differ[T]) below(prefix []byte) bool {
	a, b := d.old.Iterator(), d.now.Iterator()
	if a.SeekPrefixWatch(prefix) == b.SeekPrefixWatch(prefix) {
		return true
	}
	if d.left--; d.left < 0 {
		d.tired, d.from = true, prefix
		return false
	}
	first := lower(nextKey(a), nextKey(b))
	if first == nil {
		return true
	}
	last := d.last(prefix)
	if bytes.Equal(first, last) {
		return d.leaf(first)
	}
	at := 0
	for at < len(first) && first[at] == last[at] {
		at++
	}
	stem := first[:at:at]
	for key := first; key != nil; {
		next := slices.Concat(stem, []byte{0})
		if len(key) == at { // the stem is a key itself
			if !d.leaf(key) {
				return false
			}
		} else {
			label := key[at]
			if !d.below(append(stem, label)) {
				return false
			}
			if label == 0xff {
				return true
			}
			next[at] = label + 1
		}
		key = d.atLeast(next, stem)
	}
	return true
}

// last is the highest key of both trees under a prefix.
func (d *differ[T]) last(prefix []byte) []byte {
	a, b := d.old.ReverseIterator(), d.now.ReverseIterator()
	a.SeekPrefix(prefix)
	b.SeekPrefix(prefix)
	ka, _, _ := a.Previous()
	kb, _, _ := b.Previous()
	if bytes.Compare(ka, kb) > 0 {
		return ka
	}
	return kb
}

// atLeast is the lowest key of both trees from `from` on, nil if it is not under
// the stem.
func (d *differ[T]) atLeast(from, stem []byte) []byte {
	a, b := d.old.Iterator(), d.now.Iterator()
	a.SeekLowerBound(from)
	b.SeekLowerBound(from)
	if k := lower(nextKey(a), nextKey(b)); bytes.HasPrefix(k, stem) {
		return k
	}
	return nil
}

func nextKey[T any](it *iradix.Iterator[T]) []byte {
	k, _, _ := it.Next()
	return k
}

// lower is the lower of two keys; nil stands for none.
func lower(a, b []byte) []byte {
	if b == nil || a != nil && bytes.Compare(a, b) < 0 {
		return a
	}
	return b
}

// leaf compares one key.
func (d *differ[T]) leaf(key []byte) bool {
	was, had := d.old.Get(key)
	is, has := d.now.Get(key)
	switch {
	case had && has && d.same(was, is):
		return true
	case has:
		return d.yield(key, is)
	default:
		return d.yield(key, was)
	}
}

// walk compares all keys from d.from on.
func (d *differ[T]) walk() {
	a, b := d.old.Iterator(), d.now.Iterator()
	a.SeekLowerBound(d.from)
	b.SeekLowerBound(d.from)
	ka, va, oka := a.Next()
	kb, vb, okb := b.Next()
	for oka || okb {
		order := bytes.Compare(ka, kb)
		switch {
		case !okb || oka && order < 0:
			if !d.yield(ka, va) {
				return
			}
			ka, va, oka = a.Next()
		case !oka || order > 0:
			if !d.yield(kb, vb) {
				return
			}
			kb, vb, okb = b.Next()
		default:
			if !d.same(va, vb) && !d.yield(kb, vb) {
				return
			}
			ka, va, oka = a.Next()
			kb, vb, okb = b.Next()
		}
	}
}
