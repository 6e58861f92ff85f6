package fsm

import (
	"iter"
	"slices"
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
	owned    *iradix.Tree[*owned]   // by member: what each owns; derived from slots, as the next two
	held     *iradix.Tree[struct{}] // by member, then slot: whose entries are where
	braked   *iradix.Tree[struct{}] // the slots that are not moved, since they fail wherever they are
	failures *iradix.Tree[Failure]  // by member, then slot
	journal  *iradix.Tree[JournalEntry]
	// maintained are the systems under maintenance, sorted; "" is all.
	maintained []SystemID
	brakes     []Brake       // of systems, sorted
	keys       *Keys         // nil: the key was never rotated
	maxTTL     time.Duration // the largest lease time any Spec in the log had
	// Of a State made of Parts: whose, and the index up to which they tell.
	partOf  MemberID
	partAt  Index
	heirs   []SystemID // which of its systems others can take over
	without Rule       // tests only
}

// New is the State before the first entry.
func New() *State {
	return &State{
		spec:     &Spec{},
		members:  iradix.New[Member](),
		slots:    iradix.New[*Slot](),
		owned:    iradix.New[*owned](),
		held:     iradix.New[struct{}](),
		braked:   iradix.New[struct{}](),
		failures: iradix.New[Failure](),
		journal:  iradix.New[JournalEntry](),
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

// Maintained reports whether a system is under maintenance: nothing of it is moved
// or repaired. Leases go on.
func (s *State) Maintained(id SystemID) bool {
	return slices.Contains(s.maintained, "") || slices.Contains(s.maintained, id)
}

// Maintenance are the systems under maintenance by themselves, sorted; "" is all.
func (s *State) Maintenance() []SystemID { return s.maintained }

// WithVoters is the State with a newer committed list of voters. An older list
// changes nothing: what was committed is never taken back.
func (s *State) WithVoters(v Voters) *State {
	if v.Index < s.voters.Index {
		return s
	}
	n := *s
	n.voters = Voters{Index: v.Index, IDs: slices.Sorted(slices.Values(v.IDs))}
	return &n
}

// Without is the State with rules left out, also in all States that Apply makes
// of it. Only tests call it.
func (s *State) Without(r Rule) *State {
	n := *s
	n.without |= r
	return &n
}

// keeps reports whether a rule is in force.
func (s *State) keeps(r Rule) bool { return s.without&r == 0 }
