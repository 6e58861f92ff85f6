package probe

import (
	"errors"
	"fmt"
	"time"

	"github.com/flip-ha/flip/e2e/mono"
)

const (
	// senderGap is the longest pause of the sender that does not void the probes
	// that were due in it.
	senderGap = 20 * time.Millisecond
	// mostVoid is the share of void probes, of 100, that a trial may have.
	mostVoid = 5
)

// ErrNotRecovered means that the last probe of the window was still lost.
var ErrNotRecovered = errors.New("the address is not answered again")

// Verdict is what a window of probes says.
type Verdict struct {
	Outage   time.Duration // all stretches together: from a lost probe to the next answered one
	From, To mono.Time     // from the first lost probe to the answered one after the last
	Times    int           // how many stretches
	Lost     int           // not counting void ones
	Sent     int
	Void     int    // probes that were due in a gap of the sender, or lost together with a control's
	Repeat   string // why this trial says nothing; "": it does
}

// Judge finds the outage of a target between two moments. The controls are
// unmanaged addresses on interfaces that no fault touched: what is lost there
// is lost to the machine that runs the test, not to the failover.
func Judge(s Series, controls []Series, from, to mono.Time) (Verdict, error) {
	probes := window(s.Probes, from, to)
	if len(probes) == 0 {
		return Verdict{}, fmt.Errorf("%s: no probe was sent", s.Target.Name)
	}
	gaps := senderGaps(probes, from, to)
	for _, c := range controls {
		gaps = append(gaps, silences(window(c.Probes, from, to), c.Target.slack())...)
	}
	v := Verdict{Sent: len(probes)}
	v.Void = voidTicks(gaps)
	if all := int(to.Sub(from) / Interval); v.Void*100 > all*mostVoid {
		v.Repeat = fmt.Sprintf("%d of %d probes are void", v.Void, all)
	}
	for i := 0; i < len(probes); i++ {
		if !probes[i].Lost() || voided(gaps, probes[i].Sent) {
			continue
		}
		first := i
		for i < len(probes) && probes[i].Lost() { // void ones in between too
			if !voided(gaps, probes[i].Sent) {
				v.Lost++
			}
			i++
		}
		if i == len(probes) {
			return v, fmt.Errorf("%s: %w: lost since %v before the end", s.Target.Name, ErrNotRecovered, to.Sub(probes[first].Sent))
		}
		v.stretch(probes[first].Sent, probes[i].Sent, gaps)
	}
	return v, nil
}

// stretch adds a stretch without an answer. An edge of it inside a gap could lie
// anywhere in it.
func (v *Verdict) stretch(from, to mono.Time, gaps []span) {
	if v.Times == 0 {
		v.From = from
	}
	v.To = to
	v.Times++
	v.Outage += to.Sub(from)
	if voided(gaps, from) || voided(gaps, from.Add(-Interval)) {
		v.Repeat = "a void gap at the outage's beginning"
	}
	if voided(gaps, to) || voided(gaps, to.Add(-Interval)) {
		v.Repeat = "a void gap at the outage's end"
	}
}

// span is a stretch of time, its ends included.
type span struct{ from, to mono.Time }

func voided(gaps []span, t mono.Time) bool {
	for _, g := range gaps {
		if t >= g.from && t <= g.to {
			return true
		}
	}
	return false
}

// voidTicks is how many probes were due within the gaps, which may overlap.
func voidTicks(gaps []span) int {
	seen := map[mono.Time]bool{}
	for _, g := range gaps {
		for t := g.from / mono.Time(Interval); t <= g.to/mono.Time(Interval); t++ {
			seen[t] = true
		}
	}
	return len(seen)
}

func window(probes []Probe, from, to mono.Time) []Probe {
	var out []Probe
	for _, p := range probes {
		if p.Sent >= from && p.Sent < to {
			out = append(out, p)
		}
	}
	return out
}

// senderGaps are the pauses of the sender, those at the window's ends included.
func senderGaps(probes []Probe, from, to mono.Time) []span {
	var gaps []span
	last := from
	for _, p := range probes {
		if p.Sent.Sub(last) > senderGap {
			gaps = append(gaps, span{last, p.Sent})
		}
		last = p.Sent
	}
	if to.Sub(last) > senderGap {
		gaps = append(gaps, span{last, to})
	}
	return gaps
}

// silences are the stretches of lost probes, with the slack around them.
func silences(probes []Probe, slack time.Duration) []span {
	var out []span
	for i := 0; i < len(probes); i++ {
		if !probes[i].Lost() {
			continue
		}
		first := i
		for i+1 < len(probes) && probes[i+1].Lost() {
			i++
		}
		out = append(out, span{probes[first].Sent.Add(-slack), probes[i].Sent.Add(slack)})
	}
	return out
}
