package liveness

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/fsm"
)

// TestOneMember is the same promise under schedules that aim at one member: its
// links to the voters, and the leader's to them, come and go at the pace of its
// lease, while ttl changes and logs stand still. Of the rules that can be left
// out, half are found here within some hundred schedules.
func TestOneMember(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if w := focus(t, 0); len(w.broken) > 0 {
			t.Fatalf("%s\n%s", strings.Join(w.broken, "\n"), w.trace.String())
		}
	})
}

func focus(t *rapid.T, without Rule) *world {
	w := newWorld()
	w.without = without
	ttl := rapid.SampledFrom([]string{"150ms", "300ms", "900ms"})
	size := rapid.SampledFrom([]int{3, 5}).Draw(t, "voters")
	for i := range size {
		w.node(fsm.MemberID(fmt.Sprintf("n%d", i+1))).rate = rapid.Float64Range(0.954, 1.046).Draw(t, "rate")
	}
	w.setSpec(words{names: w.names, pairs: map[string]string{"ttl": ttl.Draw(t, "ttl"), "beat": "50ms"}})
	w.voters(w.names)
	voters, m := w.names[:size-1], w.names[size-1]
	w.leader = rapid.SampledFrom(voters).Draw(t, "leader")
	for _, name := range w.names {
		w.start(w.nodes[name], 0)
	}
	w.spread()
	w.run(2500 * time.Millisecond)
	for range rapid.IntRange(10, 40).Draw(t, "steps") {
		v := rapid.SampledFrom(voters).Draw(t, "voter")
		w.aim(t, m, v, ttl)
		w.run(w.now + time.Duration(rapid.IntRange(0, 350).Draw(t, "ms"))*time.Millisecond)
	}
	return w
}

// aim is one fault or repair between a member, a voter and the leader.
func (w *world) aim(t *rapid.T, m, v fsm.MemberID, ttl *rapid.Generator[string]) {
	toggle := func(from, to fsm.MemberID) {
		way := [2]fsm.MemberID{from, to}
		w.cuts[way] = !w.cuts[way] && from != to
	}
	switch rapid.IntRange(0, 11).Draw(t, "step") {
	case 0, 1, 2:
		toggle(m, v)
	case 3:
		toggle(v, m)
	case 4, 5:
		toggle(w.leader, v)
	case 6:
		if n := w.nodes[v]; n.lags {
			n.lags = false
			w.spread()
		} else {
			n.lags = true
		}
	case 7:
		w.setSpec(words{pairs: map[string]string{"ttl": ttl.Draw(t, "ttl")}})
	case 8:
		if w.stalled {
			w.flow()
		} else {
			w.stalled = true
		}
	case 9:
		n := w.nodes[rapid.SampledFrom(w.names).Draw(t, "restarts")]
		w.kill(n)
		w.start(n, 0)
		w.spread()
	case 10:
		clear(w.cuts)
	case 11:
		w.delays[[2]fsm.MemberID{v, w.leader}] = time.Duration(rapid.IntRange(0, 300).Draw(t, "delay")) * time.Millisecond
	}
}
