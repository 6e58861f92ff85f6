package fsm

import "time"

// AddressLifetime is for how long the kernel keeps an ungated at-most-one
// address that nobody refreshes: the lease rounded up to seconds, which is the
// kernel's unit, plus one second.
func AddressLifetime(ttl time.Duration) time.Duration {
	return (ttl + time.Second - 1).Truncate(time.Second) + time.Second
}

// SafeTakeover is the smallest TakeoverAfter of addresses that is safe with clocks
// that differ by 10 %: the kernel removes an address up to 1.5 s after its time.
func SafeTakeover(ttl time.Duration) time.Duration {
	return lengthened(AddressLifetime(ttl) + 1500*time.Millisecond)
}

// What happens on a member between the end of its lease and the end of a hook's
// effect, if the guard lives and `down` succeeds (L9). At worst the daemon lets go by
// itself, for as long as `down` may take, and hangs or dies at the end of that: then
// the guard begins from the start (ACTIONS.md 5).
const (
	// leastPatience is more than the 39 ms that a daemon's thread came late beside
	// eight busy processes, and the 75 ms of a guard's.
	leastPatience = 100 * time.Millisecond
	// patientBeats, of the six in a lease, are what the others need besides to call
	// a silent member down by their votes: a takeover does not wait for its guard.
	patientBeats = 3
	// WaitForDead is how long the guard waits for the threads of a daemon that it
	// has killed (ACTIONS.md 5).
	WaitForDead = 100 * time.Millisecond
	// TermToKill is how long a hook that is ended has between TERM and KILL: first
	// `alive`, or a `down` that the daemon began (ACTIONS.md 2, 5).
	TermToKill = 2 * time.Second
	// SchedulingDelay is for starting `down` of all items at once on a machine that
	// does other things too: with two CPU hogs the guard was woken 75 ms late at
	// worst; a second is far beyond that.
	SchedulingDelay = time.Second
)

// SafeHookTakeover is the smallest TakeoverAfter of a system with hooks that is
// safe with clocks that differ by 10 %, if the former holder's guard lives and
// `down` succeeds within stop_timeout. What it is the sum of, in its order: until
// the guard begins (LEASES.md: guard delay), TERM to KILL, stop_timeout, scheduling.
func SafeHookTakeover(timing Timing, sys System) time.Duration {
	delay := GuardPatience(timing.Heartbeat) + GuardDelay(sys) + WaitForDead
	return lengthened(delay + TermToKill + sys.StopTimeout + SchedulingDelay)
}

// GuardPatience is how long after the lease's end the guard waits for the daemon to
// say that it lets go: three heartbeats' intervals, but never so short that a daemon is
// ended which has only waited for a processor. Addresses do not wait for it: the
// gate has shut when the lease ended.
func GuardPatience(heartbeat time.Duration) time.Duration {
	return max(patientBeats*heartbeat, leastPatience)
}

// GuardDelay is how long after the guard could have begun a daemon may let go of a
// system's items by itself: it ends what runs for an item, then `down` runs.
func GuardDelay(sys System) time.Duration { return sys.StopTimeout + TermToKill }

// lengthened is a time on another machine's clock, which may be 10 % slower.
func lengthened(d time.Duration) time.Duration { return d + d/10 }
