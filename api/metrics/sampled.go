package metrics

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Addresses is what the ip action has done since the daemon started.
type Addresses struct {
	Held      int    // addresses plumbed here by flip now
	Repaired  uint64 // put right after somebody had removed or altered them
	Announced uint64 // to everybody, counted for each address and round
	Told      uint64 // frames sent to one host each
	Strangers uint64 // hosts outside the cluster that answered for an address of ours
}

// Gate is the state of the kernel gate.
type Gate struct {
	Owned     bool // strangers cannot alter its tables
	Open      bool
	Addresses int // inside it
	Renewals  uint64
	Refused   uint64 // came too late, and the kernel opened nothing
	Fused     uint64 // of these: the fuse had burnt, so the call came late although the lease ran
	Repairs   uint64 // of what a stranger had done to its tables
	Worst     time.Duration
}

// sampled collects what parts of the daemon count by themselves.
type sampled struct {
	families

	mu        sync.Mutex
	addresses func() Addresses
	gate      func() (Gate, bool)

	held, repaired, announced, told, strangers           family
	owned, open, inside, renewals, refused, mends, worst family
	fused                                                family
}

func newSampled() *sampled {
	s := &sampled{}
	s.held = s.gauge("flip_addresses", "Addresses that flip has plumbed on this node.")
	s.repaired = s.counter("flip_address_repairs_total", "Addresses put right after somebody had removed or altered them.")
	s.announced = s.counter("flip_address_announcements_total", "Announcements to everybody by ARP or ND, counted for each address and round.")
	s.told = s.counter("flip_address_unicasts_total", "ARP and ND frames sent to tell single hosts of an address (notify).")
	s.strangers = s.counter("flip_address_strangers_total", "Hosts outside the cluster that have answered for an address of flip's.")
	s.owned = s.gauge("flip_gate_owned", "1 if the kernel lets nobody else alter the gate's tables (Linux 6.9 and later).")
	s.open = s.gauge("flip_gate_open", "1 while the gate lets packets pass.")
	s.inside = s.gauge("flip_gate_addresses", "Addresses inside the gate.")
	s.renewals = s.counter("flip_gate_renewals_total", "Openings and renewals of the gate.")
	s.refused = s.counter("flip_gate_refusals_total", "Renewals that came too late, so that the kernel opened nothing.")
	s.fused = s.counter("flip_gate_fuse_refusals_total", "Renewals refused since the call came later after reading the clock than the fuse allows: this process was starved or stopped.")
	s.mends = s.counter("flip_gate_repairs_total", "Repairs of the gate's tables after somebody else had altered them.")
	s.worst = s.gauge("flip_gate_renewal_worst_seconds", "The longest that a renewal of the gate has taken.")
	return s
}

func (s *sampled) setAddresses(f func() Addresses) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addresses = f
}

func (s *sampled) setGate(f func() (Gate, bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = f
}

// Collect implements prometheus.Collector.
func (s *sampled) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	addresses, gate := s.addresses, s.gate
	s.mu.Unlock()
	if addresses != nil {
		a := addresses()
		s.held.put(ch, float64(a.Held))
		s.repaired.put(ch, float64(a.Repaired))
		s.announced.put(ch, float64(a.Announced))
		s.told.put(ch, float64(a.Told))
		s.strangers.put(ch, float64(a.Strangers))
	}
	if gate == nil {
		return
	}
	g, up := gate()
	if !up {
		return
	}
	s.owned.put(ch, truth(g.Owned))
	s.open.put(ch, truth(g.Open))
	s.inside.put(ch, float64(g.Addresses))
	s.renewals.put(ch, float64(g.Renewals))
	s.refused.put(ch, float64(g.Refused))
	s.fused.put(ch, float64(g.Fused))
	s.mends.put(ch, float64(g.Repairs))
	s.worst.put(ch, g.Worst.Seconds())
}

// families are the metrics of a collector that reads its values at each scrape.
type families struct{ all []*prometheus.Desc }

// Describe implements prometheus.Collector.
func (f *families) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range f.all {
		ch <- d
	}
}

func (f *families) gauge(name, help string, labels ...string) family {
	return f.add(prometheus.GaugeValue, name, help, labels)
}

func (f *families) counter(name, help string, labels ...string) family {
	return f.add(prometheus.CounterValue, name, help, labels)
}

func (f *families) add(kind prometheus.ValueType, name, help string, labels []string) family {
	d := prometheus.NewDesc(name, help, labels, nil)
	f.all = append(f.all, d)
	return family{d, kind}
}

// family is one metric with its kind.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

// put sends one value. The format takes UTF-8 only, and a path may be anything.
func (f family) put(ch chan<- prometheus.Metric, v float64, labels ...string) {
	for i, l := range labels {
		labels[i] = strings.ToValidUTF8(l, "\uFFFD")
	}
	m, err := prometheus.NewConstMetric(f.desc, f.kind, v, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(f.desc, err)
	}
	ch <- m
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func itoa(n uint16) string { return strconv.FormatUint(uint64(n), 10) }

func words(v []any) string { return strings.TrimSpace(fmt.Sprintln(v...)) }
