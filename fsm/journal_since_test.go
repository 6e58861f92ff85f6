package fsm

import (
	"reflect"
	"slices"
	"testing"
)

// JournalSince is the end of the Journal, whatever the index.
func TestJournalSince(t *testing.T) {
	s := New()
	b := s.openBook()
	for i := range Index(20) {
		for range i % 3 { // some commands write nothing, some twice
			b.add(JournalEntry{Index: i, Kind: KindMoved})
		}
	}
	s.journal = b.txn.Commit()
	all := s.Journal()
	for i := range Index(22) {
		want := slices.Clone(all)
		want = slices.DeleteFunc(want, func(e JournalEntry) bool { return e.Index <= i })
		if got := s.JournalSince(i); len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("since %d: %d entries, want %d", i, len(got), len(want))
		}
	}
}
