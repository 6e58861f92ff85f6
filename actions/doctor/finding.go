package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Verdict is what a check has come to.
type Verdict string

// The verdicts, best first; a Note asks for nothing.
const (
	OK   Verdict = "ok"
	Note Verdict = "note"
	Skip Verdict = "skip" // could not be looked at, or does not matter here: Found says why
	Warn Verdict = "warn" // the next failure may cost more time than promised
	Bad  Verdict = "bad"  // a failover will not work, or a promise does not hold
)

// Finding is one line of what the doctor says.
type Finding struct {
	Check   string  `json:"check"`        // which look it was; keeps its name
	On      string  `json:"on,omitempty"` // at what, where there are several: an interface, a member
	Verdict Verdict `json:"verdict"`
	Found   string  `json:"found"`        // in words
	Do      string  `json:"do,omitempty"` // of Warn and Bad
}

// Timing is how fast the cluster finds failures: all verdicts on delays go by it.
type Timing struct{ Heartbeat, Lease time.Duration }

// Short reports whether heartbeats are so close together that the machine's
// scheduler alone could end a lease: the largest gap between heartbeats of a busy
// machine without priority was 39 ms.
func (t Timing) Short() bool { return t.Lease <= 300*time.Millisecond }

// Worst reports whether anything was found that is to be mended.
func Worst(all []Finding) Verdict {
	order := []Verdict{OK, Note, Skip, Warn, Bad}
	worst := OK
	for _, f := range all {
		if slices.Index(order, f.Verdict) > slices.Index(order, worst) {
			worst = f.Verdict
		}
	}
	return worst
}

func skip(check, why string) Finding { return Finding{Check: check, Verdict: Skip, Found: why} }

// brief writes a duration, which is not negative, with three digits at most.
func brief(d time.Duration) string {
	unit := time.Nanosecond
	for _, u := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= 100*u {
			unit = u
			break
		}
		if d >= 10*u {
			unit = u / 10
			break
		}
		if d >= u {
			unit = u / 100
			break
		}
	}
	text := d.Round(unit).String()
	if d >= time.Minute {
		return strings.Replace(text, "m0s", "m", 1)
	}
	i := strings.IndexFunc(text, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	return text[:i] + " " + text[i:]
}

// spread is what a number of measurements came to.
type spread struct {
	n                int
	median, p99, max time.Duration
}

func spreadOf(all []time.Duration) spread {
	if len(all) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(all))
	at := func(percent int) time.Duration { return sorted[min(len(sorted)-1, len(sorted)*percent/100)] }
	return spread{n: len(sorted), median: at(50), p99: at(99), max: sorted[len(sorted)-1]}
}

func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
