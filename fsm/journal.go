package fsm

import (
	"encoding/binary"
	"fmt"
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// JournalSize is how many entries the journal keeps.
const JournalSize = 1024

// journalPerCommand bounds what one command may write, so that a Down with
// thousands of moves leaves some of the history before it.
const journalPerCommand = JournalSize / 4

// The kinds of journal entries.
const (
	KindFounded    = "founded"
	KindConfigured = "configured"
	KindRegistered = "registered"
	KindSettled    = "settled"
	KindLeaving    = "leaving"
	KindDown       = "down"
	KindGoodbye    = "goodbye"
	KindMoved      = "moved"
	KindRenewed    = "renewed" // same owner, new token
	KindAcquired   = "acquired"
	KindReleased   = "released"
	KindFailed     = "failed"
	KindMended     = "mended" // a failure is none any more
	KindSeen       = "seen"   // who answered on the wire for an item's addresses
	KindForced     = "forced"
	KindFenced     = "fenced"
	KindAdded      = "added"    // a server, to the configuration
	KindRemoving   = "removing" // a server is to be taken out, or is to stay after all
	KindRemoved    = "removed"
	KindRole       = "role"       // a server is to have a vote from now on, or no vote any more
	KindCleaned    = "cleaned"    // failures were forgotten
	KindMaintained = "maintained" // maintenance began or ended
	KindKey        = "key"        // how far the rotation of the cluster's key is
	KindBraked     = "braked"     // a system, or an item, is not moved until somebody cleans up
	KindProgram    = "program"    // a program has claimed a system on a member, or is gone
	KindMore       = "more"       // what one command wrote beyond its share
)

// Journal is the bounded history, oldest first.
func (s *State) Journal() []JournalEntry {
	out := make([]JournalEntry, 0, s.journal.Len())
	s.journal.Root().Walk(func(_ []byte, e JournalEntry) bool {
		out = append(out, e)
		return false
	})
	return out
}

// JournalSince is what the journal keeps of the entries above an index, oldest
// first. It costs no more than it answers.
func (s *State) JournalSince(i Index) []JournalEntry {
	var out []JournalEntry
	newest := s.journal.Root().ReverseIterator()
	for _, e, ok := newest.Previous(); ok && e.Index > i; _, e, ok = newest.Previous() {
		out = append(out, e)
	}
	slices.Reverse(out)
	return out
}

// book is the journal in the making. A tree under a sequence number lets States
// share it: adding one entry copies a path, not a thousand entries.
type book struct {
	txn   *iradix.Txn[JournalEntry]
	next  uint64
	size  int
	wrote int
	more  int
}

func (s *State) openBook() book {
	b := book{txn: s.journal.Txn(), size: s.journal.Len()}
	if last, _, ok := s.journal.Root().Maximum(); ok {
		b.next = binary.BigEndian.Uint64(last) + 1
	}
	return b
}

func (b *book) add(e JournalEntry) {
	b.txn.Insert(binary.BigEndian.AppendUint64(nil, b.next), e)
	b.next++
	if b.size++; b.size > JournalSize {
		b.txn.Delete(binary.BigEndian.AppendUint64(nil, b.next-1-JournalSize))
		b.size--
	}
}

// note writes one line of history.
func (c *change) note(e JournalEntry) {
	if c.book.wrote == journalPerCommand-1 {
		c.book.more++
		return
	}
	c.book.wrote++
	e.Index, e.At = c.at, c.when
	e.Evidence = slices.Clip(e.Evidence)
	c.book.add(e)
}

// closeBook adds how much was left out and ends the journal's change.
func (c *change) closeBook() *iradix.Tree[JournalEntry] {
	if c.book.more > 0 {
		c.book.add(JournalEntry{
			Index: c.at, At: c.when, Kind: KindMore,
			Reason: fmt.Sprintf("and %d more by the same command", c.book.more),
		})
	}
	return c.book.txn.CommitOnly()
}
