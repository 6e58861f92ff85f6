package raftnode

import (
	"sync"
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/placement"
)

const (
	// Who does not lead plans only to tell somebody who asks: not for so many slots
	// that it would cost more than it is worth, and not more often than this.
	onlookerSlots = 20_000
	onlookerEvery = time.Second
)

// onlooker is how a server that does not lead knows what its leader makes of the State.
type onlooker struct {
	mu      sync.Mutex
	planner placement.Planner
	state   *fsm.State // of the last plan
	at      time.Duration
	outlook Outlook
}

// Outlook is what stands against moving more, and what cannot be placed: on the leader as
// of its last look, elsewhere as this node would plan. false: it is not known here.
func (n *Node) Outlook() (Outlook, bool) {
	if o := n.outlook.Load(); o != nil {
		return *o, true
	}
	state, _ := n.View()
	if state.Spec().Version == 0 || slotsOf(state.Spec()) > onlookerSlots {
		return Outlook{}, false
	}
	f, now := &n.follower, n.clock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == nil || f.state != state && now >= f.at+onlookerEvery {
		v := placement.View{State: state, Well: n.seen.Well(now), Now: time.Now().UnixMilli()}
		p := f.planner.Plan(v)
		f.state, f.at, f.outlook = state, now, Outlook{Held: p.Held, Unplaced: p.Unplaced}
	}
	return f.outlook, true
}

// slotsOf is how many slots a configuration asks for.
func slotsOf(spec *fsm.Spec) int {
	n := 0
	for _, sys := range spec.Systems {
		n += len(sys.Items) * sys.Ranks()
	}
	return n
}
