package liveness

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// farewell is this process's own goodbye, repeated until acknowledged, and again
// when it names fewer (L8).
type farewell struct {
	said bool
	kept []fsm.Key
	next time.Duration
	done bool
}

// stopped names one process that said goodbye.
type stopped struct {
	member  fsm.MemberID
	process fsm.Nonce
}

// goodbyes is what a voter knows of processes that have stopped. What a goodbye
// says stays true, so every voter keeps it until its log shows it: whoever leads
// next can commit it although the sender is gone.
type goodbyes struct {
	*view
	heard map[stopped]heardGoodbye
	fresh bool // a goodbye came, or the log was read: look again whether it shows
}

// heardGoodbye is the newest goodbye of one process.
type heardGoodbye struct {
	fsm.Goodbye
	from fsm.MemberID
	// gone is from when on its process is not waited for to commit it itself, if
	// it leads: a heartbeat after it was first heard, at once if it is dead.
	gone time.Duration
}

func newGoodbyes(v *view) goodbyes { return goodbyes{view: v, heard: map[stopped]heardGoodbye{}} }

// receive notes a goodbye; it must name its sender.
func (g *goodbyes) receive(now time.Duration, from From, msg Goodbye) {
	bye := msg.Goodbye
	if bye.Member != from.Member || bye.Host.Instance != from.Instance || bye.Process == (fsm.Nonce{}) {
		return
	}
	who := stopped{bye.Member, bye.Process}
	have, known := g.heard[who]
	if !g.knows(from.Member) || (!known && len(g.heard) >= maxGoodbyes) {
		return
	}
	if !known {
		have.gone = now + g.beat()
	}
	if msg.Dead {
		have.gone = min(have.gone, now)
	}
	bye.Kept = slices.Clone(bye.Kept)
	g.fresh = true
	g.heard[who] = heardGoodbye{Goodbye: bye, from: from.Member, gone: have.gone}
}

// acks acknowledges what the log shows by now, and forgets it.
func (g *goodbyes) acks() []Out {
	if !g.fresh {
		return nil
	}
	g.fresh = false
	var out []Out
	for _, who := range g.order() {
		bye := g.heard[who]
		if g.unsettled(bye.Goodbye) || !g.shown(bye.Goodbye) || g.misread(bye.Goodbye) {
			continue
		}
		delete(g.heard, who)
		out = append(out, Out{To: bye.from, Msg: GoodbyeAck{Process: bye.Process, Kept: len(bye.Kept)}})
	}
	return out
}

// order lists the goodbyes in a fixed order.
func (g *goodbyes) order() []stopped {
	if len(g.heard) == 0 {
		return nil
	}
	return slices.SortedFunc(maps.Keys(g.heard), func(a, b stopped) int {
		return cmp.Or(cmp.Compare(a.member, b.member), slices.Compare(a.process[:], b.process[:]))
	})
}

// newest reports whether the process is the last that registered as its member.
func (g *goodbyes) newest(bye fsm.Goodbye) bool {
	return g.member(bye.Member).Process == bye.Process
}

// unsettled reports whether the process may not say goodbye yet: another machine
// may still hold what it would call released (L6).
func (g *goodbyes) unsettled(bye fsm.Goodbye) bool {
	return g.newest(bye) && !g.member(bye.Member).Settled
}

// misread reports whether, with RuleGoodbyeEpoch left out, a goodbye is taken
// for one of the epoch that is up.
func (g *goodbyes) misread(bye fsm.Goodbye) bool {
	return g.without.has(RuleGoodbyeEpoch) && g.member(bye.Member).Up
}

// shown reports whether the log shows all that a goodbye says: the goodbye of
// its process, which has no epoch that is up, and no at-most-one entry of it that
// is left although the goodbye does not name it.
func (g *goodbyes) shown(bye fsm.Goodbye) bool {
	upTo := bye.Epoch
	if shown := g.member(bye.Member); g.newest(bye) {
		more := func(k fsm.Key) bool { return !slices.Contains(bye.Kept, k) }
		if shown.Up || !shown.Goodbye || slices.ContainsFunc(shown.Kept, more) {
			return false
		}
		upTo = shown.Epoch
	}
	for _, slot := range g.state.SlotsHeldBy(bye.Member) {
		for _, e := range slot.Outstanding {
			if e.Member == bye.Member && e.AtMostOne && e.Epoch <= upTo &&
				e.Host.Machine == bye.Host.Machine && !slices.Contains(bye.Kept, slot.Key) {
				return false
			}
		}
	}
	return true
}

// downs are the goodbyes that call an epoch down (L8).
func (g *goodbyes) downs(list fsm.Voters) map[fsm.MemberID]fsm.Down {
	out := map[fsm.MemberID]fsm.Down{}
	for _, who := range g.order() {
		bye := g.heard[who].Goodbye
		shown := g.member(bye.Member)
		named := g.newest(bye) || g.misread(bye)
		if !named || !shown.Up || shown.Epoch == 0 || g.unsettled(bye) {
			continue
		}
		out[bye.Member] = fsm.Down{Member: bye.Member, Epoch: shown.Epoch, Voters: list.Index, Goodbye: &bye}
	}
	return out
}

// late are the goodbyes of epochs that are down or replaced already: they only
// clear entries.
func (g *goodbyes) late() []fsm.Goodbye {
	var out []fsm.Goodbye
	for _, who := range g.order() {
		bye := g.heard[who].Goodbye
		if (g.newest(bye) && g.member(bye.Member).Up) || g.unsettled(bye) || g.shown(bye) {
			continue
		}
		out = append(out, bye)
	}
	return out
}

// of is from when on a member is not waited for: its process has said goodbye
// and the log does not show it yet.
func (g *goodbyes) of(m fsm.MemberID) (gone time.Duration, ok bool) {
	for _, bye := range g.heard {
		if bye.Member == m && g.newest(bye.Goodbye) {
			return bye.gone, true
		}
	}
	return 0, false
}
