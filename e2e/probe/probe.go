// Package probe measures what a client sees of a failover: it asks an echo
// server behind each address once a millisecond and judges, from what was
// answered, for how long the address was not.
package probe

import (
	"net/netip"
	"time"

	"github.com/flip-ha/flip/e2e/mono"
)

const (
	// Interval is the time from one probe to the next of an address that is measured.
	Interval = time.Millisecond
	// Limit is how long an answer may take; later, or never: lost.
	Limit = time.Second
)

// Never is the round trip of a probe without an answer.
const Never time.Duration = -1

// Target is an address that is asked.
type Target struct {
	Name string         `json:"name"`
	Addr netip.AddrPort `json:"addr"`
	// Every is how many intervals pass from one probe to the next; 0 means 1. What
	// is only a control is asked less often: a prober that takes the processor from
	// the daemons measures itself.
	Every int `json:"every"`
}

// slack is for how long around a lost probe it is not known what would have become
// of another.
func (t Target) slack() time.Duration { return time.Duration(max(t.Every, 1)-1) * Interval }

// Probe is one question.
type Probe struct {
	Sent mono.Time     `json:"s"`
	RTT  time.Duration `json:"r"` // Never: no answer
	From byte          `json:"f"` // of Series.Hosts: who answered
}

// Lost reports whether the client waited in vain.
func (p Probe) Lost() bool { return p.RTT < 0 || p.RTT > Limit }

// Series is all that was asked of one target, in order.
type Series struct {
	Target Target   `json:"target"`
	Hosts  []string `json:"hosts"`
	Probes []Probe  `json:"probes"`
}

// Config is what the prober's process is told, as JSON in its environment.
type Config struct {
	Targets []Target `json:"targets"`
}
