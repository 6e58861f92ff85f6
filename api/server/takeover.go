package server

import (
	"fmt"
	"slices"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// takeoverOf is the bet on time that a system makes, nil for none: of addresses
// wherever the kernel gate is missing, of hooks where one is asked for.
func takeoverOf(s *fsm.State, spec *fsm.Spec, sys fsm.System) *api.Takeover {
	ttl := max(s.MaxTTL(), spec.Timing.Lease)
	switch {
	case sys.Guarantee != fsm.AtMostOne || sys.TakeoverAfter == fsm.NeverTakeOver:
		return nil
	case sys.Action == fsm.ActionHooks && sys.TakeoverAfter > 0:
		after, safe := sys.TakeoverAfter, fsm.SafeHookTakeover(spec.Timing, sys)
		return &api.Takeover{
			MS: after.Milliseconds(), SmallestSafeMS: safe.Milliseconds(),
			Words: fmt.Sprintf("%s after a holder was called down its hooks count as undone; safe from %s on, if its guard lives and `down` succeeds",
				seconds(after), seconds(safe)),
		}
	case sys.Action != fsm.ActionIP || sys.Fence != "" && sys.TakeoverAfter == 0 || !ungatedAnywhere(s, spec, sys):
		return nil
	default:
		safe := fsm.SafeTakeover(ttl)
		after := max(safe, sys.TakeoverAfter)
		return &api.Takeover{
			MS: after.Milliseconds(), SmallestSafeMS: safe.Milliseconds(),
			Words: fmt.Sprintf("%s after a holder without the kernel gate was called down its addresses count as gone; safe from %s on",
				seconds(after), seconds(safe)),
		}
	}
}

// ungatedAnywhere reports whether addresses of a system may be held without the
// kernel gate.
func ungatedAnywhere(s *fsm.State, spec *fsm.Spec, sys fsm.System) bool {
	return sys.IP != nil && sys.IP.NoGate || slices.ContainsFunc(serversOf(spec, sys.Name), func(m fsm.MemberID) bool {
		reg, known := s.Member(m)
		return known && !reg.Gate
	})
}

// betAlarms warn of bets that can be lost although all that they assume is true.
func betAlarms(st api.Status) []api.Alarm {
	var out []api.Alarm
	for _, sys := range st.Systems {
		if t := sys.Takeover; t != nil && t.MS < t.SmallestSafeMS {
			after, safe := time.Duration(t.MS)*time.Millisecond, time.Duration(t.SmallestSafeMS)*time.Millisecond
			out = append(out, api.Alarm{
				Severity: api.Warning,
				What:     fmt.Sprintf("system %s bets too soon: takeover_after is %s, and only from %s on is it safe: two may hold an item", sys.Name, seconds(after), seconds(safe)),
				Do:       fmt.Sprintf("set takeover_after of system %s to %d or more, or its stop_timeout lower", sys.Name, t.SmallestSafeMS),
			})
		}
	}
	return out
}
