package placement

import (
	"slices"
	"strings"

	"github.com/flip-ha/flip/fsm"
)

// memory is what a Planner keeps of the newest State, in a form in which a million
// slots are looked at in milliseconds. Members are numbers in it.
type memory struct {
	state   *fsm.State
	numbers map[fsm.MemberID]int32
	names   []fsm.MemberID
	systems map[fsm.SystemID]*slots
}

// slots are those of one system, by item and rank.
type slots struct {
	items []fsm.Item // of the Spec that they are of
	ranks int
	all   []kept
	marks map[int32]mark // of the few that were moved often of late
	// Facts about the items.
	weighty  bool // they do not all weigh the same
	choosy   bool // one has preferences
	total    int64
	heaviest int64
	// What planning needs each time, kept for the next.
	own, home, to, turns []int32
}

// kept is one slot.
type kept struct {
	token       fsm.Token
	owner, home int32 // numbers; nobody
}

// mark is what may keep a slot where it is.
type mark struct {
	moved  []int64
	braked bool
}

// number of a member, nobody for "".
func (m *memory) number(id fsm.MemberID) int32 {
	if id == "" {
		return nobody
	}
	n, known := m.numbers[id]
	if !known {
		n = int32(len(m.names))
		m.numbers[id] = n
		m.names = append(m.names, id)
	}
	return n
}

// read brings the memory to a State, at the cost of what has changed since the last.
func (m *memory) read(s *fsm.State) {
	if m.state == s {
		return
	}
	old := m.state
	m.state = s
	if old == nil || m.numbers == nil {
		m.numbers, m.systems = map[fsm.MemberID]int32{}, map[fsm.SystemID]*slots{}
	}
	fresh := map[fsm.SystemID]bool{}
	for id, sys := range s.Spec().Systems {
		if !divided(&sys) {
			delete(m.systems, id)
		} else if was := m.systems[id]; was == nil || !was.same(&sys) {
			m.systems[id], fresh[id] = m.load(&sys), true
		}
	}
	for id := range m.systems {
		if _, in := s.Spec().Systems[id]; !in {
			delete(m.systems, id)
		}
	}
	if old == nil || len(fresh) == len(m.systems) {
		return
	}
	for k := range s.ChangedSlots(old) {
		if of := m.systems[k.System]; of != nil && !fresh[k.System] {
			slot, _ := s.Slot(k)
			m.take(of, &slot, k)
		}
	}
}

func divided(sys *fsm.System) bool { return sys.Split == fsm.Shard || sys.Split == fsm.ChooseOne }

// same reports whether the items are those of a system still: a Spec shares what stays
// with the one before it.
func (of *slots) same(sys *fsm.System) bool {
	if of.ranks != sys.Ranks() || len(of.items) != len(sys.Items) {
		return false
	}
	return len(of.items) == 0 || &of.items[0] == &sys.Items[0]
}

func (m *memory) load(sys *fsm.System) *slots {
	of := &slots{items: sys.Items, ranks: sys.Ranks(), marks: map[int32]mark{}, heaviest: 1}
	of.all = make([]kept, len(sys.Items)*of.ranks)
	for i := range of.all {
		of.all[i] = kept{owner: nobody, home: nobody}
	}
	for i := range sys.Items {
		item := &sys.Items[i]
		of.weighty = of.weighty || item.Load() != sys.Items[0].Load()
		of.choosy = of.choosy || len(item.Prefer) > 0
		of.total += int64(item.Load())
		of.heaviest = max(of.heaviest, int64(item.Load()))
	}
	next := 0 // slots come in the order of the items
	for slot := range m.state.SlotsOf(sys.Name) {
		for next < len(of.items) && of.items[next].ID < slot.Item {
			next++
		}
		if next == len(of.items) {
			break
		}
		if of.items[next].ID == slot.Item {
			m.keep(of, &slot, next)
		}
	}
	return of
}

// take records a slot as it is now; one that the Spec does not have is passed by.
func (m *memory) take(of *slots, slot *fsm.Slot, k fsm.Key) {
	if i, in := of.find(k.Item); in {
		slot.Key = k
		m.keep(of, slot, i)
	}
}

func (of *slots) find(id fsm.ItemID) (int, bool) {
	return slices.BinarySearchFunc(of.items, id, func(i fsm.Item, id fsm.ItemID) int {
		return strings.Compare(string(i.ID), string(id))
	})
}

func (m *memory) keep(of *slots, slot *fsm.Slot, item int) {
	if slot.Rank < 0 || slot.Rank >= of.ranks {
		return
	}
	at := item*of.ranks + slot.Rank
	of.all[at] = kept{token: slot.Token, owner: m.number(slot.Owner), home: m.number(slot.Home)}
	if slot.Braked || len(slot.Moved) >= fsm.MaxRecent {
		of.marks[int32(at)] = mark{slot.Moved, slot.Braked}
	} else {
		delete(of.marks, int32(at))
	}
}

// scratch gives back what planning needs, of the right size.
func (of *slots) scratch(n int) {
	if cap(of.own) < n {
		of.own, of.home, of.to, of.turns = make([]int32, n), make([]int32, n), make([]int32, n), make([]int32, n)
	}
	of.own, of.home, of.to, of.turns = of.own[:n], of.home[:n], of.to[:n], of.turns[:n]
}
