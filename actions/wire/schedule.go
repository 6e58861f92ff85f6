package wire

import (
	"net/netip"
	"time"
)

// Schedule is when, counted from the first, the rounds of announcements of an
// address are due. After the last of them follows one every Repeat. The first
// may fall into a switch's learning pause or be lost; the later ones find hosts
// and switches that were away.
var Schedule = [...]time.Duration{
	0, 100 * time.Millisecond, 300 * time.Millisecond, 1100 * time.Millisecond, 2 * time.Second, 4 * time.Second,
}

// Repeat is the time between two rounds once the Schedule is used up.
const Repeat = time.Minute

// Next is when, counted from the first round, the next one is due: always later
// than sinceFirst. A negative sinceFirst asks for the first.
func Next(sinceFirst time.Duration) time.Duration {
	for _, at := range Schedule {
		if at > sinceFirst {
			return at
		}
	}
	last := Schedule[len(Schedule)-1]
	return last + ((sinceFirst-last)/Repeat+1)*Repeat
}

// Frames is how many frames one round costs for addr.
func Frames(addr netip.Addr) int {
	if addr.Unmap().Is4() {
		return 2 // request and reply form
	}
	return 1
}

// PerSecond is how many frames of repeated rounds are sent in a second. A thousand
// addresses still get a round within 4 s, while the ARP of a host with few
// addresses stays far from what a switch polices.
const PerSecond = 500

// burst is how many frames a Pacer lets go at once: a tenth of a second's worth,
// so that few addresses never wait.
const burst = PerSecond / 10

// A Pacer spreads repeated rounds over time; the first round of an address is
// not paced. The zero value is ready. It has no clock and no lock: its owner
// brings both.
type Pacer struct {
	// full is when the allowance would be whole again.
	full time.Time
}

// Take says how many of want frames may be sent at now, and if those are not
// all, how long to wait before asking for the rest. What it granted counts as
// sent.
func (p *Pacer) Take(now time.Time, want int) (granted int, wait time.Duration) {
	const each, whole = time.Second / PerSecond, burst * time.Second / PerSecond
	if p.full.Before(now) {
		p.full = now
	}
	if late := p.full.Sub(now); late > whole {
		p.full = now.Add(whole) // the clock was set back
	}
	granted = max(0, min(want, int((whole-p.full.Sub(now))/each)))
	p.full = p.full.Add(time.Duration(granted) * each)
	if granted == want {
		return granted, 0
	}
	rest := min(want-granted, burst)
	return granted, p.full.Add(time.Duration(rest) * each).Sub(now.Add(whole))
}
