package fsm

import "time"

// bareIP stands for the IP of entries whose system says no longer how addresses
// are plumbed: they are only taken away.
var bareIP = &IP{}

// Bet is for how long the owner of a slot waits for one of its entries, 0 for as
// long as the entry is there (L9, bets on time). It needs that the entry was
// acquired as at-most-one and that its epoch has no lease and never will have one
// again. Then
//   - the kernel removes an ungated address that nobody refreshes. An at-least-one
//     holder refreshes its addresses for as long as it lives;
//   - the guard, or the daemon itself, runs `down` of a hook; a program lets go when its
//     time is over. That it lives and that
//     `down` succeeds nobody knows: so this bet is made only where it was asked for.
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
	case !slot.AtMostOne || !e.AtMostOne || e.Gated || e.Void:
		return 0
	case action != sys.Action || sys.TakeoverAfter == NeverTakeOver || !s.over(e):
		return 0
	case action != ActionIP:
		return s.betOnHook(sys, slot, e)
	case sys.Fence != "" && sys.TakeoverAfter == 0: // what is sure is preferred
		return 0
	default:
		return max(SafeTakeover(s.maxTTL), sys.TakeoverAfter)
	}
}

// betOnHook is the takeover time as it was asked for, also one that is not safe:
// who set it was warned. Of an entry whose `down` may take longer than the
// configuration says by now nobody was: a time that is safe for the one is not
// shorter than what is safe for the other.
func (s *State) betOnHook(sys *System, slot *Slot, e *Entry) time.Duration {
	if sys.TakeoverAfter <= 0 || !s.gone(e) || s.failedUnder(slot, e) {
		return 0
	}
	after := sys.TakeoverAfter
	if e.Recipe != nil && after >= SafeHookTakeover(s.spec.Timing, *sys) {
		then := *sys
		then.StopTimeout = e.Recipe.StopTimeout
		after = max(after, SafeHookTakeover(s.spec.Timing, then))
	}
	return after
}

// over reports whether an entry's epoch holds no lease any more, and never will:
// it is called down, or a newer one has taken its place. While that one is
// unsettled the former instance may still live on a lease of its own (L6).
func (s *State) over(e *Entry) bool {
	m, _ := s.Member(e.Member)
	return !m.Up || (m.Epoch > e.Epoch && m.Settled)
}

// gone reports whether no process that the log calls up can say what became of an
// entry whose epoch is over. One that runs on the entry's machine runs `down` and
// reports; if that fails, it knows.
func (s *State) gone(e *Entry) bool {
	m, _ := s.Member(e.Member)
	return !m.Up || m.Host.Machine != e.Host.Machine
}

// failedUnder reports whether the log remembers a failure under the entry's own
// token: it may have been `down`, which then withholds the item.
func (s *State) failedUnder(slot *Slot, e *Entry) bool {
	if s.failures.Len() == 0 {
		return false
	}
	f, failed := s.FailureOf(e.Member, slot.Key)
	return failed && f.Token == e.Token
}

// hastens reports whether others bet on how soon an item that is at-most-one and
// was acquired by the action is released.
func (s *System) hastens(atMostOne bool, action Action) bool {
	return s.TakeoverAfter > 0 && s.Action != ActionIP && action == s.Action && atMostOne
}
