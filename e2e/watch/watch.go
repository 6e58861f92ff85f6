// Package watch is the truth of the wire: it asks, by ARP, by neighbour
// solicitation and by UDP, on the wire of every host, cut off or not, who
// answers for each address, and keeps which hardware address did and when.
package watch

import (
	"net/netip"
	"time"

	"github.com/flip-ha/flip/e2e/mono"
)

const (
	// Interval is the time from one question to the next of its kind.
	Interval = 5 * time.Millisecond
	// InFlight is for how long a frame, or what the kernel has begun to send, may
	// still be under way when the address has already moved.
	InFlight = 20 * time.Millisecond
	// runGap ends a run: a host that has not answered for so long, a dozen
	// questions, has let the address go in between. Flip cannot give an address
	// away, and have it back, in less.
	runGap = 60 * time.Millisecond
)

// Method is how a host showed that it has an address.
type Method string

// The methods.
const (
	ARP      Method = "arp"      // answered, or claimed by any ARP frame with it as sender
	ND       Method = "nd"       // a neighbour advertisement for it, asked for or not
	UDP      Method = "udp"      // an answer from it
	Announce Method = "announce" // an ARP frame with it as sender, or an NA, that nobody asked for
)

// Port is the wire of one host.
type Port struct {
	Name string `json:"name"` // of the interface at the bridge's end
	MAC  string `json:"mac"`  // the host's
}

// Config is what the watcher's process is told, as JSON in its environment.
type Config struct {
	Ports    []Port       `json:"ports"`
	Addrs    []netip.Addr `json:"addrs"`
	MAC      string       `json:"mac"` // whom it asks as
	Source4  netip.Addr   `json:"source4"`
	Source6  netip.Addr   `json:"source6"`
	EchoPort uint16       `json:"echo_port"`
	// Once: an address is asked for, by UDP only, when a host announces it, and no
	// more once that host has answered: for thousands of addresses.
	Once bool `json:"once"`
}

// Run is a stretch of time in which one host kept answering for an address by
// one method.
type Run struct {
	Addr        netip.Addr `json:"addr"`
	MAC         string     `json:"mac"`
	Method      Method     `json:"method"`
	First, Last mono.Time
	N           int `json:"n"`
}

// Report is what a watcher has seen.
type Report struct {
	Runs []Run `json:"runs"`
	// Asked is the number of rounds, Pauses what was not watched: longer than
	// InFlight between two rounds.
	Asked  int    `json:"asked"`
	Pauses []Span `json:"pauses"`
}

// Span is a stretch of time.
type Span struct{ From, To mono.Time }

// Len is how long it is.
func (s Span) Len() time.Duration { return s.To.Sub(s.From) }
