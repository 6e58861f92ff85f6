package placement

import (
	"cmp"
	"maps"
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// Order lists servers as Flip does: by priority, lower first, then those
// without one; ties by name.
func Order(servers map[fsm.MemberID]fsm.Server) []fsm.MemberID {
	return slices.SortedFunc(maps.Keys(servers), func(a, b fsm.MemberID) int {
		x, y := servers[a], servers[b]
		switch {
		case x.HasPriority && !y.HasPriority:
			return -1
		case !x.HasPriority && y.HasPriority:
			return 1
		case x.HasPriority:
			return cmp.Or(cmp.Compare(x.Priority, y.Priority), cmp.Compare(a, b))
		default:
			return cmp.Compare(a, b)
		}
	})
}
