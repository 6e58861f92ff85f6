package fsm

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// loader builds a State out of a snapshot's records. It accepts them only in
// the form in which Write writes them.
type loader struct {
	change *change
	dec    *codec.Decoder
	last   byte   // kind of the last record
	key    []byte // where the last record of this kind stands
	names  map[string]string

	recipes []*Recipe // few: one for each change of a system that entries outlive
}

func (l *loader) load(kind byte, body []byte) error {
	if kind < l.last || (kind == recordHeader) != (l.last == 0) {
		return errors.New("it is out of order")
	}
	if kind != l.last {
		l.last, l.key = kind, nil
	}
	switch kind {
	case recordHeader:
		return l.header(body)
	case recordMember:
		return l.member(body)
	case recordSlot:
		return l.slot(body)
	case recordFailure:
		return l.failure(body)
	case recordJournal:
		var e JournalEntry
		if err := l.unmarshal(body, &e); err != nil {
			return err
		}
		l.change.book.add(e)
		return nil
	default:
		return fmt.Errorf("kind %d is unknown", kind)
	}
}

// unmarshal reads a body with the one decoder that serves them all.
func (l *loader) unmarshal(body []byte, into any) error {
	l.dec.ResetBytes(body)
	return unmarshalWith(l.dec, body, into)
}

// ascends refuses what does not come in the order of the tree.
func (l *loader) ascends(key []byte) error {
	if l.key != nil && bytes.Compare(key, l.key) <= 0 {
		return errors.New("it is twice there, or out of order")
	}
	l.key = key
	return nil
}

func (l *loader) header(body []byte) error {
	var r headerRecord
	if err := l.unmarshal(body, &r); err != nil {
		return err
	}
	spec, err := r.Spec.spec()
	if err != nil {
		return err
	}
	if why := spec.invalid(); why != "" {
		return errors.New(why)
	}
	if why := spec.unrelated(); why != "" {
		return errors.New(why)
	}
	for i := 1; i < len(r.Maintained); i++ {
		if r.Maintained[i-1] >= r.Maintained[i] {
			return errors.New("systems under maintenance are out of order")
		}
	}
	if r.Keys != nil {
		if why := r.Keys.invalid(spec); why != "" {
			return errors.New(why)
		}
	}
	if why := invalidBrakes(r.Brakes, spec); why != "" {
		return errors.New(why)
	}
	n := &l.change.next
	n.keys, n.brakes = r.Keys, r.Brakes
	n.cluster, n.spec, n.voters, n.maxTTL, n.maintained = r.Cluster, spec, r.Voters, r.MaxTTL, r.Maintained
	return nil
}

func (l *loader) member(body []byte) error {
	var r memberRecord
	if err := l.unmarshal(body, &r); err != nil {
		return err
	}
	l.change.setMember(r.ID, r.Member)
	return l.ascends([]byte(r.ID))
}

func (l *loader) failure(body []byte) error {
	var r failureRecord
	if err := l.unmarshal(body, &r); err != nil {
		return err
	}
	if _, ok := l.change.member(r.ID); !ok {
		return fmt.Errorf("failure of %q, which is not registered", r.ID)
	}
	key := memberKey(r.ID, r.Failure.Key)
	l.change.failures.Insert(key, r.Failure)
	return l.ascends(key)
}

func (l *loader) slot(body []byte) error {
	slot := new(Slot)
	if err := l.unmarshal(body, slot); err != nil {
		return err
	}
	slot.System = share(l.names, slot.System)
	slot.Home, slot.Owner, slot.Previous = share(l.names, slot.Home), share(l.names, slot.Owner), share(l.names, slot.Previous)
	slot.Reason = share(l.names, slot.Reason)
	for i := range slot.Outstanding {
		slot.Outstanding[i].Recipe = l.recipe(slot.Outstanding[i].Recipe)
	}
	l.change.put(slot)
	if _, kept := l.change.slot(slot.Key); !kept {
		return fmt.Errorf("slot %v says nothing", slot.Key)
	}
	return l.ascends(slotKey(slot.Key))
}

// recipe answers with one recipe for all equal ones.
func (l *loader) recipe(r *Recipe) *Recipe {
	if r == nil {
		return nil
	}
	for _, have := range l.recipes {
		if have.equal(*r) {
			return have
		}
	}
	l.recipes = append(l.recipes, r)
	return r
}

// share answers with one string for all equal ones: a million slots name a few
// dozen members and reasons.
func share[T ~string](names map[string]string, s T) T {
	if have, ok := names[string(s)]; ok {
		return T(have)
	}
	names[string(s)] = string(s)
	return s
}
