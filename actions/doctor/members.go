package doctor

import (
	"fmt"
	"time"
)

// Member is another member as the daemon, or without one this command, finds it.
type Member struct {
	Name, Addr string
	// TCP and UDP are "" for well, else what is wrong in words; nil: not known.
	TCP, UDP  *string
	RoundTrip *time.Duration // of heartbeats; nil: not known
	Loss      *float64       // of heartbeats that it did not answer, from 0 to 1; nil: not known
	LossFrom  *float64       // of its own that did not arrive here; nil: not known
	// Clock is by how much its wall clock is ahead of this machine's; nil: not
	// known. It may be wrong by Within.
	Clock  *time.Duration
	Within time.Duration
}

const (
	// A false lapse with 3 voters is a matter of 5,000 hours at 1 % loss on the
	// member's own link, of two hours at 5 %.
	lossy, veryLossy = 0.01, 0.05
	clockApart       = time.Second
)

// Members judges whether and how well every other member is reached.
func Members(all []Member, daemon bool, t Timing) []Finding {
	var out []Finding
	for _, m := range all {
		out = append(out, reached(m, daemon)...)
		out = append(out, way(m, t)...)
		out = append(out, clock(m)...)
	}
	if len(all) == 0 {
		return []Finding{skip("members", "there are no others")}
	}
	return out
}

func reached(m Member, daemon bool) []Finding {
	f := Finding{Check: "reachable", On: m.Name, Verdict: OK, Found: "TCP and UDP at " + m.Addr}
	if !daemon {
		f.Found = "TCP at " + m.Addr + "; UDP cannot be asked without the daemon"
		if m.TCP != nil && *m.TCP != "" {
			f.Verdict, f.Found, f.Do = Warn, "TCP: "+*m.TCP, "is flip running there? do both firewalls let "+m.Addr+" through, TCP and UDP?"
		}
		return []Finding{f}
	}
	var out []Finding
	for _, p := range []struct {
		name string
		is   *string
	}{{"TCP", m.TCP}, {"UDP", m.UDP}} {
		switch {
		case p.is == nil:
			out = append(out, Finding{Check: "reachable", On: m.Name, Verdict: Skip, Found: p.name + ": the daemon has not found out yet; ask again in some seconds"})
		case *p.is != "":
			out = append(out, Finding{
				Check: "reachable", On: m.Name, Verdict: Bad, Found: p.name + ": " + *p.is,
				Do: "is flip running there, with the same file and key? do both firewalls let " + m.Addr + " through, TCP and UDP?",
			})
		}
	}
	if len(out) == 0 {
		return []Finding{f}
	}
	return out
}

// way judges the way there and back.
func way(m Member, t Timing) []Finding {
	if m.RoundTrip == nil && m.Loss == nil && m.LossFrom == nil {
		return nil
	}
	f := Finding{Check: "link", On: m.Name, Verdict: OK}
	if m.RoundTrip != nil {
		f.Found = "round trip " + brief(*m.RoundTrip)
		switch {
		case *m.RoundTrip > t.Lease/3:
			f.Verdict, f.Do = Bad, "choose a longer timing (wan): too much of each lease is spent on the way"
		case *m.RoundTrip > t.Lease/6:
			f.Verdict, f.Do = Warn, "choose a longer timing (wan), or look why the network is slow"
		}
	}
	return []Finding{losses(f, m)}
}

// losses adds what the way loses to what is known of it.
func losses(f Finding, m Member) Finding {
	worst := 0.0
	for _, l := range []struct {
		share *float64
		words string
	}{{m.Loss, "%.1f %% of heartbeats not answered"}, {m.LossFrom, "%.1f %% of its own lost"}} {
		if l.share == nil {
			continue
		}
		if f.Found != "" {
			f.Found += ", "
		}
		f.Found += fmt.Sprintf(l.words, *l.share*100)
		worst = max(worst, *l.share)
	}
	switch {
	case worst >= veryLossy:
		f.Verdict, f.Do = Bad, "mend the network: at this rate a lease ends by itself every few hours (ethtool -S, switch counters)"
	case worst >= lossy:
		if f.Verdict == OK {
			f.Verdict = Warn
		}
		f.Do = or(f.Do, "mend the network before it gets worse (ethtool -S, switch counters)")
	}
	return f
}

// clock judges wall clocks. No lease depends on them. Logs are compared by them,
// and of a machine whose clock was set far back a new process can be taken for an
// old one's datagrams played back.
func clock(m Member) []Finding {
	if m.Clock == nil {
		return nil
	}
	f := Finding{Check: "clock", On: m.Name, Verdict: OK, Found: apart(*m.Clock, m.Within)}
	if m.Clock.Abs() > clockApart+m.Within {
		f.Verdict = Warn
		f.Found += ": no lease depends on it, but logs of the two are hard to compare"
		f.Do = "set both by NTP (chronyc tracking, timedatectl)"
	}
	return []Finding{f}
}

func apart(d, within time.Duration) string {
	switch {
	case d.Abs() <= within:
		return "the same as here, as far as can be told (to " + brief(within) + ")"
	case d < 0:
		return fmt.Sprintf("%s behind this one, to %s", brief(-d), brief(within))
	default:
		return fmt.Sprintf("%s ahead of this one, to %s", brief(d), brief(within))
	}
}
