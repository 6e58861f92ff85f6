// Package metrics turns what a node knows of itself into Prometheus' format:
// all that `flip status` shows, read anew at each scrape, and what the daemon
// observes as it goes.
//
// Its metrics are listed in docs/metrics.md, which a test keeps the same.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
)

// Step is one part of the way from a failure to its being made good.
type Step string

// The steps, in their order. Each is measured on one machine's clock.
const (
	// StepDetect, on the leader: from the last heartbeat that the voters heard
	// to the lost member's Down being committed.
	StepDetect Step = "detect"
	// StepApply: from the commit of a move to this node's reading it. On the
	// leader it is the time in the log's thread, elsewhere the time since the
	// entry came in.
	StepApply Step = "apply"
	// StepAcquire: from this node's reading that an item is its own to holding
	// it, waiting for whoever may still hold it included.
	StepAcquire Step = "acquire"
	// StepRelease: from this node's reading that an item is not its own any
	// more, or the end of its lease, to having let go.
	StepRelease Step = "release"
)

var steps = []Step{StepDetect, StepApply, StepAcquire, StepRelease}

const (
	// Two pairs of Prometheus servers may ask at once; more would only queue for
	// the same answer, and the status of a million items takes a while.
	maxScrapes = 4
	// Below Prometheus' own default of 10 s: it then sees why.
	scrapeTimeout = 8 * time.Second
)

// Exporter collects one node's metrics in a registry of its own. Every method
// may be called from any goroutine at any time, also before the source can
// answer, as long as nobody scrapes yet.
type Exporter struct {
	registry *prometheus.Registry
	handler  http.Handler
	sampled  *sampled

	step        map[Step]prometheus.Observer
	gap         prometheus.Histogram
	leaseLeft   prometheus.Histogram
	lapses      prometheus.Counter
	late        prometheus.Counter
	diskSync    prometheus.Histogram
	gateRenewal prometheus.Histogram
	plan        prometheus.Histogram
}

// New makes an Exporter. source is asked at each scrape, from its goroutine.
func New(source StatusSource, log zerolog.Logger) *Exporter {
	e := &Exporter{registry: prometheus.NewRegistry(), sampled: newSampled()}
	failover := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "flip_failover_step_seconds",
		Help:    "Time that each step from a failure to its being made good has taken here.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2, 15), // 1 ms to 16 s: `fast` on a LAN to a slow hook
	}, []string{"step"})
	e.step = make(map[Step]prometheus.Observer, len(steps))
	for _, s := range steps {
		e.step[s] = failover.WithLabelValues(string(s)) // so that each is there before it happens
	}
	// 5 ms to 3.3 s: a heartbeat of `fast` is due each 8 ms, a lease of `wan` lasts 3 s.
	beats := prometheus.ExponentialBuckets(0.005, 1.5, 17)
	e.gap = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "flip_heartbeat_gap_seconds", Buckets: beats,
		Help: "Time between two heartbeats heard from the same member, of all members.",
	})
	e.leaseLeft = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "flip_lease_left_at_renewal_seconds", Buckets: beats,
		Help: "What was left of this node's lease each time it was renewed; near 0 it was about to let go.",
	})
	e.lapses = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "flip_lease_lapses_total",
		Help: "How often this node's lease has ended for want of answers.",
	})
	e.late = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "flip_late_beats_total",
		Help: "Heartbeats that this node itself sent later than a third of the lease after the one before: it was starved, or its disk or memory held it up.",
	})
	e.diskSync = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "flip_disk_sync_seconds",
		Help:    "Time that a write to the log took, until the disk had it.",
		Buckets: prometheus.ExponentialBuckets(0.00005, 2, 17), // 50 us to 3.3 s: above 2 s a leader gives up
	})
	e.gateRenewal = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "flip_gate_renewal_seconds",
		Help:    "Time that a renewal of the kernel gate took in the kernel.",
		Buckets: prometheus.ExponentialBuckets(0.000005, 2, 18), // 5 us raw to 0.7 s: beside a stranger's huge transaction
	})
	e.plan = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "flip_plan_seconds",
		Help:    "Time that the leader took to find out what is to be moved.",
		Buckets: prometheus.ExponentialBuckets(0.00005, 2, 17), // 50 us to 3.3 s: a few items to a million
	})
	e.registry.MustRegister(
		newStatusCollector(source), e.sampled,
		failover, e.gap, e.leaseLeft, e.lapses, e.late, e.diskSync, e.gateRenewal, e.plan,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	e.handler = onlyReading(promhttp.HandlerFor(e.registry, promhttp.HandlerOpts{
		ErrorLog:            errorLog{log},
		ErrorHandling:       promhttp.ContinueOnError, // the rest is worth having
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeTimeout,
	}))
	return e
}

// ServeHTTP answers a scrape, whatever the path.
func (e *Exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.handler.ServeHTTP(w, r) }

// ObserveStep records that a step of a failover, a planned move or a stop took d.
func (e *Exporter) ObserveStep(s Step, d time.Duration) {
	if o, known := e.step[s]; known {
		o.Observe(d.Seconds())
	}
}

// ObserveHeartbeatGap records the time between two heartbeats of one member.
func (e *Exporter) ObserveHeartbeatGap(d time.Duration) { e.gap.Observe(d.Seconds()) }

// ObserveLeaseLeft records what was left of the lease when it was renewed.
func (e *Exporter) ObserveLeaseLeft(d time.Duration) { e.leaseLeft.Observe(d.Seconds()) }

// CountLapse records that the lease has ended.
func (e *Exporter) CountLapse() { e.lapses.Inc() }

// CountLateBeat records that this node sent a heartbeat late.
func (e *Exporter) CountLateBeat() { e.late.Inc() }

// ObserveDiskSync records how long a write to the log took.
func (e *Exporter) ObserveDiskSync(d time.Duration) { e.diskSync.Observe(d.Seconds()) }

// ObserveGateRenewal records how long a renewal of the gate took.
func (e *Exporter) ObserveGateRenewal(d time.Duration) { e.gateRenewal.Observe(d.Seconds()) }

// ObservePlan records how long a plan took.
func (e *Exporter) ObservePlan(d time.Duration) { e.plan.Observe(d.Seconds()) }

// WatchAddresses has f asked at each scrape; before it is called there are no
// metrics of addresses.
func (e *Exporter) WatchAddresses(f func() Addresses) { e.sampled.setAddresses(f) }

// WatchGate has f asked at each scrape. f reports false while there is no gate:
// flip_gate_state, which comes with the status, says why.
func (e *Exporter) WatchGate(f func() (Gate, bool)) { e.sampled.setGate(f) }

// onlyReading refuses every method but GET and HEAD.
func onlyReading(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "metrics are for reading", http.StatusMethodNotAllowed)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// errorLog is where a collection that failed in part is told of.
type errorLog struct{ log zerolog.Logger }

// Println implements promhttp.Logger.
func (l errorLog) Println(v ...any) {
	l.log.Error().Interface("cause", words(v)).Msg("metrics collected in part only")
}
