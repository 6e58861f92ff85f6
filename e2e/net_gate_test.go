package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mono"
	"github.com/flip-ha/flip/e2e/results"
)

// metric reads one figure of a daemon's GET /metrics, its samples summed up.
func (n *network) metric(h *lab.Host, name string) float64 {
	n.t.Helper()
	sum, err := metricOf(h, name)
	if err != nil {
		n.t.Fatal(err)
	}
	return sum
}

func metricOf(h *lab.Host, name string) (float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", h.Socket())
	}
	web := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://flip/metrics", nil)
	if err != nil {
		return 0, fmt.Errorf("metrics of %s: %w", h.Name, err)
	}
	resp, err := web.Do(req)
	if err != nil {
		return 0, fmt.Errorf("metrics of %s: %w", h.Name, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, fmt.Errorf("metrics of %s: %w", h.Name, err)
	}
	sum, found := 0.0, false
	for _, line := range strings.Split(string(body), "\n") {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("metrics of %s: %q", h.Name, line)
		}
		sum, found = sum+value, true
	}
	if !found {
		return 0, fmt.Errorf("%s does not tell %s:\n%s", h.Name, name, body)
	}
	return sum, nil
}

// The gate's own figures, and the point of having one: everything flip killed
// or stopped, the last answer comes before the lease's end, and nobody else has
// answered by then.
func TestNetGateClosesByItself(t *testing.T) {
	for _, timing := range []struct {
		name  string
		lease time.Duration
	}{{"lan", 300 * time.Millisecond}, {"fast", 50 * time.Millisecond}} {
		t.Run(timing.name, func(t *testing.T) { testGate(t, timing.name, timing.lease) })
	}
}

func testGate(t *testing.T, timing string, lease time.Duration) {
	n := newIPNetwork(t, timing, nil)
	n.settled()
	var rows []results.Result
	var want []results.Key
	add := func(r results.Result) { rows, want = append(rows, r), append(want, r.Key()) }
	key := func(what string) results.Key { return results.Key{Fault: what, Timing: timing} }
	var rate, micros []float64
	for range trials(t) {
		perSecond, each := n.renewing(n.Hosts[0])
		rate, micros = append(rate, perSecond), append(micros, each)
	}
	add(results.Figures(key("gate renewals"), "a second", rate, 0))
	add(results.Figures(key("gate renewal"), "us", micros, 0))
	for _, fault := range []struct {
		what  string
		s     syscall.Signal
		again func(*lab.Host)
	}{
		{"last answer after SIGKILL", syscall.SIGKILL, func(h *lab.Host) {
			n.exit(h, 5*time.Second)
			n.start(h)
		}},
		{"last answer after SIGSTOP", syscall.SIGSTOP, n.goesOn},
	} {
		var last []time.Duration
		for range trials(t) {
			last = append(last, n.lastAnswer(fault.s, fault.again))
			if d := last[len(last)-1]; d > lease {
				t.Errorf("%s: %v, the lease being %v", fault.what, d, lease)
			}
		}
		add(results.Of(key(fault.what), last, lease))
	}
	record(t, rows, want)
}

// renewing is how often a host renews its gate and for how long, on average.
func (n *network) renewing(h *lab.Host) (perSecond, microseconds float64) {
	n.t.Helper()
	count, spent := n.metric(h, "flip_gate_renewal_seconds_count"), n.metric(h, "flip_gate_renewal_seconds_sum")
	began := mono.Now()
	waitFor(2 * time.Second)
	count, spent = n.metric(h, "flip_gate_renewal_seconds_count")-count, n.metric(h, "flip_gate_renewal_seconds_sum")-spent
	if count < 1 {
		n.t.Fatalf("%s has not renewed its gate in 2 s", h.Name)
	}
	return count / mono.Now().Sub(began).Seconds(), spent / count * 1e6
}

// lastAnswer signals everything flip on a host and returns how long that host
// went on to answer for its group; again has it live on.
func (n *ipNetwork) lastAnswer(s syscall.Signal, again func(*lab.Host)) (late time.Duration) {
	n.t.Helper()
	n.watched(func() (r report) {
		late, r = n.silence(s, again)
		return r
	})
	return late
}

func (n *ipNetwork) silence(s syscall.Signal, again func(*lab.Host)) (time.Duration, report) {
	n.t.Helper()
	n.settled()
	victim := n.others(n.leader())[0]
	g := n.heldBy(victim)
	w := n.watch(g.addrs()...)
	waitFor(calm)
	at, err := victim.SignalBoth(s)
	if err != nil {
		n.t.Fatal(err)
	}
	n.takenOver(settleLimit, victim, g.addrs()...)
	waitFor(calm)
	undone := mono.Now()
	again(victim)
	n.settled()
	r := w.stop(n.network)
	r.sees(n.t, g.addrs()...)
	var last mono.Time
	for _, a := range g.addrs() {
		t, ok := r.last(a, victim, undone)
		if !ok {
			n.t.Fatalf("%s never answered for %s", victim.Name, a)
		}
		last = max(last, t)
	}
	return last.Sub(at), r
}

// Without a gate the kernel's own lifetime ends an address, and the others wait
// for that: later, but never two.
func TestNetUngatedStoppedHolder(t *testing.T) {
	n := newIPNetwork(t, "lan", func(s spec) {
		ipSystem(s)["gate"] = "off"
	})
	d := n.lastAnswer(syscall.SIGSTOP, n.goesOn)
	// A lease of 300 ms makes a lifetime of 2 s, which the kernel ends up to 1.5 s
	// late.
	if limit := 3500 * time.Millisecond; d > limit {
		t.Errorf("the last answer %v after SIGSTOP, want within %v", d, limit)
	}
	t.Logf("the last answer %v after SIGSTOP", d)
}
