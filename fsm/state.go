package fsm

import (
	"iter"
	"time"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// State is what the cluster has agreed at one index. It is immutable: Apply
// returns the next one, which shares what did not change, so that a reader, a
// plan or a snapshot is a pointer.
type State struct {
	cluster  string
	spec     *Spec
	voters   Voters
	members  *iradix.Tree[Member]
	slots    *iradix.Tree[*Slot]
	failures *iradix.Tree[Failure] // by member, then slot
	journal  []JournalEntry
	maxTTL   time.Duration // the largest lease time any Spec in the log had
	without  Rule
}

// New is the State before the first entry.
func New() *State {
	return &State{
		spec:     &Spec{},
		members:  iradix.New[Member](),
		slots:    iradix.New[*Slot](),
		failures: iradix.New[Failure](),
	}
}

// Cluster is the id made at founding; "" before.
func (s *State) Cluster() string { return s.cluster }

// Spec is the configuration as agreed; nobody may change it. Its Version is 0
// before founding.
func (s *State) Spec() *Spec { return s.spec }

// Voters is the committed list of voters.
func (s *State) Voters() Voters { return s.voters }

// MaxTTL is the largest lease time the log has had.
func (s *State) MaxTTL() time.Duration { return s.maxTTL }

// Journal is the bounded history, oldest first; nobody may change it.
func (s *State) Journal() []JournalEntry { return s.journal }

// Member looks a registered member up.
func (s *State) Member(id MemberID) (Member, bool) { return s.members.Get([]byte(id)) }

// Members yields the registered members by name.
func (s *State) Members() iter.Seq2[MemberID, Member] {
	return func(yield func(MemberID, Member) bool) {
		it := s.members.Root().Iterator()
		for k, m, ok := it.Next(); ok; k, m, ok = it.Next() {
			if !yield(MemberID(k), m) {
				return
			}
		}
	}
}
