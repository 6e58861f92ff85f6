package fsm

import "time"

// bareIP stands for the IP of entries whose system says no longer how addresses
// are plumbed: they are only taken away.
var bareIP = &IP{}

// Bet is for how long the owner of a slot of addresses waits for one of its
// entries, 0 for as long as the entry is there (L9, bets on time). The kernel removes an
// ungated address that nobody refreshes; so the bet needs that
//   - the entry was plumbed with that lifetime: as at-most-one, by ActionIP. An
//     at-least-one holder refreshes its addresses for as long as it lives;
//   - its epoch has no lease and never will have one again.
func (s *State) Bet(slot Slot, e Entry) time.Duration {
	sys := s.spec.Systems[slot.System]
	return s.bet(&sys, &slot, &e)
}

func (s *State) bet(sys *System, slot *Slot, e *Entry) time.Duration {
	action := sys.Action
	if e.Recipe != nil {
		action = e.Recipe.Action
	}
	switch {
	case !slot.AtMostOne || sys.Action != ActionIP || sys.TakeoverAfter == NeverTakeOver:
		return 0
	case !e.AtMostOne || e.Gated || e.Void || action != ActionIP || !s.over(e):
		return 0
	default:
		return max(SafeTakeover(s.maxTTL), sys.TakeoverAfter)
	}
}

// over reports whether an entry's epoch holds no lease any more, and never will:
// it is called down, or a newer one has taken its place. While that one is
// unsettled the former instance may still live on a lease of its own (L6).
func (s *State) over(e *Entry) bool {
	m, _ := s.Member(e.Member)
	return !m.Up || (m.Epoch > e.Epoch && m.Settled)
}
