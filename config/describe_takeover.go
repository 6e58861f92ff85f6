package config

import (
	"fmt"
	"strings"

	"github.com/flip-ha/flip/fsm"
)

// describeHookTakeover says for what a takeover from a lost member waits.
func describeHookTakeover(b *strings.Builder, y fsm.System, t fsm.Timing) {
	if y.Guarantee != fsm.AtMostOne {
		return
	}
	fmt.Fprintf(b, "%s: what a lost member may hold is %s\n", y.Name, takeoverWords(y, y.TakeoverAfter > 0, short(y.TakeoverAfter)))
	if y.TakeoverAfter <= 0 {
		return
	}
	safe := fsm.SafeHookTakeover(t, y)
	verdict := "safe from " + short(safe) + " on"
	if y.TakeoverAfter < safe {
		verdict = "NOT safe below " + short(safe)
	}
	lost := "that member's guard is gone too or `down` fails"
	if y.Action == fsm.ActionClient {
		lost = "a program there does not let go when its lease ends"
	}
	fmt.Fprintf(b, "%s: that is a bet, %s, and lost if %s\n", y.Name, verdict, lost)
}

// gateWords is the takeover of addresses in words.
func gateWords(y fsm.System, t fsm.Timing) string {
	wait := takeoverWords(y, y.TakeoverAfter > 0 || y.TakeoverAfter == 0 && y.Fence == "", short(max(y.TakeoverAfter, fsm.SafeTakeover(t.Lease))))
	if y.IP.NoGate {
		return "gate off: the address of a lost member is " + wait
	}
	return "gate on: the kernel ends an address with its lease; from a member without the gate it is " + wait
}

// takeoverWords says what ends the wait for a lost member: a bet on time, a fence,
// or that it is back.
func takeoverWords(y fsm.System, bet bool, after string) string {
	switch {
	case bet && y.Fence != "":
		return "taken over " + after + " after that member was called down, or once it is fenced"
	case bet:
		return "taken over " + after + " after that member was called down"
	case y.Fence != "":
		return "not taken over before that member is fenced or back"
	default:
		return "not taken over before that member is back"
	}
}
