package config

import (
	"fmt"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// takeover reads for how long what a lost member may still hold is left alone.
func (p *parser) takeover(o object, s *fsm.System, action fsm.Action, timing fsm.Timing) time.Duration {
	v, f := o.get("takeover_after")
	if !f.set {
		return 0
	}
	if s.Guarantee == fsm.AtLeastOne && action != 0 {
		p.waitsForNobody(f, action)
		return 0
	}
	if v.kind == kindString && v.text == "never" {
		return fsm.NeverTakeOver
	}
	if v.kind == kindString && nearest(v.text, []string{"never"}) != "" {
		p.fail(v.at, f.key, `did you mean "never"?`, "%s is no duration", quote(v.text))
		return 0
	}
	if d, f := p.duration(v, f, leastTimeout, mostTimeout); f.good {
		return p.safe(d, f, s, action, timing)
	}
	return 0
}

func (p *parser) waitsForNobody(f field, action fsm.Action) {
	if action == fsm.ActionIP {
		p.fail(f.keyAt, f.key, "leave it out", "only at-most-one addresses wait for a lost holder")
		return
	}
	p.fail(f.keyAt, f.key, orAtMostOne, "only at-most-one items wait for a lost holder")
}

const orAtMostOne = `leave it out, or set "guarantee": "at-most-one"`

// safe compares a takeover time with the smallest that is safe. The kernel's time
// for an address is a fact; how long `down` takes the operator may know better.
func (p *parser) safe(d time.Duration, f field, s *fsm.System, action fsm.Action, timing fsm.Timing) time.Duration {
	switch safe := fsm.SafeHookTakeover(timing, *s); {
	case timing.Lease == 0 || action == 0: // reported
	case action == fsm.ActionIP:
		return p.safeIP(d, f, timing.Lease)
	case d < safe && action == fsm.ActionClient:
		p.note(f.at, f.key, fmt.Sprintf("at least %s is safe, if the program lets go when its lease ends, within stop_timeout", short(safe)),
			"%s is not safe: a program of a lost member may take longer to let go, and clocks may differ by 10 %%: until then an item may have two holders", short(d))
	case d < safe:
		p.note(f.at, f.key, fmt.Sprintf("at least %s is safe, if the guard lives and `down` succeeds", short(safe)),
			"%s is not safe: %s, and clocks may differ by 10 %%: until `down` has ended there an item may have two holders",
			short(d), hookWords(*s, timing))
	}
	return d
}

func (p *parser) safeIP(d time.Duration, f field, lease time.Duration) time.Duration {
	safe := fsm.SafeTakeover(lease)
	if d >= safe {
		return d
	}
	p.fail(f.at, f.key, fmt.Sprintf(`at least %s, or "never"`, short(safe)),
		"%s is not safe: without a gate the kernel keeps an address that nobody refreshes for %s, removes it up to 1.5s later, and clocks may differ by 10 %%",
		short(d), short(fsm.AddressLifetime(lease)))
	return 0
}

// hookWords is what a lost holder of a hook's item may take to let go of it.
func hookWords(s fsm.System, t fsm.Timing) string {
	return fmt.Sprintf("a daemon without its lease may let go by itself for %s and die before it is done; then its guard waits %s for its end and "+
		"%s for the end of its hooks, `down` may take %s (stop_timeout), and a busy machine adds %s", short(fsm.GuardPatience(t.Heartbeat)+fsm.GuardDelay(s)),
		short(fsm.WaitForDead), short(fsm.TermToKill), short(s.StopTimeout), short(fsm.SchedulingDelay))
}

// fence reads the command that switches a lost holder off.
func (p *parser) fence(o object, s *fsm.System, action fsm.Action) {
	command, f := o.text("fence")
	timeout, t := o.duration("fence_timeout", leastTimeout, mostTimeout)
	switch {
	case !f.set && t.set:
		p.fail(t.keyAt, t.key, "leave it out, or name the command that switches a lost member off in fence", "there is no fence that it could limit")
	case f.set && s.Guarantee == fsm.AtLeastOne && action != 0:
		p.fail(f.keyAt, f.key, orAtMostOne, "only at-most-one systems wait for a lost holder: nobody else need be switched off")
	case f.good:
		p.shellLess(command, f, "put arguments into a script")
		s.Fence, s.FenceTimeout = command, defaultTimeout
		if t.good {
			s.FenceTimeout = timeout
		}
	}
}
