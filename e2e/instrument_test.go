package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mono"
	"github.com/flip-ha/flip/e2e/probe"
	"github.com/flip-ha/flip/e2e/watch"
)

// instrumentPriority is that of the echo servers: above flip's.
const instrumentPriority = 20

// instrument is a process that measures until it is stopped.
type instrument struct {
	t      *testing.T
	what   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	out    *bufio.Reader
	stderr *bytes.Buffer
	ended  bool
}

// startInstrument starts the test binary in a role and waits until it measures.
func startInstrument(t *testing.T, space *lab.Space, what string, cfg any) *instrument {
	t.Helper()
	cmd := space.Command(instrumentPriority, os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+what)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in := &instrument{t: t, what: what, cmd: cmd, stderr: &bytes.Buffer{}}
	cmd.Stderr = in.stderr
	stdin, err := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	in.stdin, in.out = stdin, bufio.NewReaderSize(out, 1<<20)
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the %s: %v", what, err)
	}
	t.Cleanup(in.end)
	if err := json.NewEncoder(stdin).Encode(cfg); err != nil {
		t.Fatalf("tell the %s: %v", what, err)
	}
	if _, err := in.out.ReadString('\n'); err != nil {
		in.end()
		t.Fatalf("the %s did not start: %v: %s", what, err, in.stderr)
	}
	return in
}

// stop ends the measuring and reads the result.
func (in *instrument) stop(result any) {
	in.t.Helper()
	_ = in.stdin.Close()
	err := json.NewDecoder(in.out).Decode(result)
	_ = in.cmd.Wait()
	in.ended = true
	if err != nil {
		in.t.Fatalf("the %s has no result: %v: %s", in.what, err, in.stderr)
	}
}

// ask has it tell a result and go on.
func (in *instrument) ask(result any) {
	in.t.Helper()
	if _, err := fmt.Fprintln(in.stdin, "tell"); err != nil {
		in.t.Fatalf("ask the %s: %v", in.what, err)
	}
	line, err := in.out.ReadBytes('\n')
	if err != nil {
		in.t.Fatalf("the %s does not answer: %v: %s", in.what, err, in.stderr)
	}
	if err := json.Unmarshal(line, result); err != nil {
		in.t.Fatalf("the %s has no result: %v", in.what, err)
	}
}

func (in *instrument) end() {
	if !in.ended {
		in.ended = true
		_ = in.cmd.Process.Kill()
		_ = in.cmd.Wait()
	}
}

// controlEvery is how many milliseconds pass from one probe of a control to the
// next.
const controlEvery = 5

// prober asks addresses from the client, and each host's own as controls.
type prober struct {
	*instrument
	hosts []*lab.Host
}

func (n *network) probe(addrs ...netip.Addr) *prober {
	n.t.Helper()
	return n.probeEvery(1, addrs...)
}

// probeEvery asks each address once in so many milliseconds.
func (n *network) probeEvery(every int, addrs ...netip.Addr) *prober {
	n.t.Helper()
	var cfg probe.Config
	add := func(name string, addr netip.Addr, every int) {
		cfg.Targets = append(cfg.Targets, probe.Target{Name: name, Addr: netip.AddrPortFrom(addr, lab.EchoPort), Every: every})
	}
	for _, a := range addrs {
		add(a.String(), a, every)
	}
	for _, h := range n.Hosts {
		add(h.Name, h.Addr4, controlEvery)
	}
	return &prober{startInstrument(n.t, n.Client.Space, roleProbe, cfg), n.Hosts}
}

// probed is what a prober has found.
type probed map[string]probe.Series

func (p *prober) stop() probed {
	p.t.Helper()
	var list []probe.Series
	p.instrument.stop(&list)
	out := probed{}
	for _, s := range list {
		out[s.Target.Name] = s
	}
	return out
}

// judge finds the outage of an address; controls are hosts that no fault
// touched meanwhile.
func (p probed) judge(addr netip.Addr, from, to mono.Time, controls ...*lab.Host) (probe.Verdict, error) {
	var c []probe.Series
	for _, h := range controls {
		c = append(c, p[h.Name])
	}
	return probe.Judge(p[addr.String()], c, from, to)
}

// watcher asks on every host's wire who answers.
type watcher struct {
	*instrument
	from mono.Time
}

func (n *network) watch(addrs ...netip.Addr) *watcher {
	return n.watchOn(n.Hosts, false, addrs...)
}

// watchOn watches on some hosts' wires; with once an address is asked for, by
// UDP alone, from its announcement to its first answer.
func (n *network) watchOn(hosts []*lab.Host, once bool, addrs ...netip.Addr) *watcher {
	n.t.Helper()
	cfg := watch.Config{
		Addrs: addrs, MAC: lab.WatcherMAC().String(), Source4: lab.WatcherAddr4(), Source6: lab.WatcherAddr6(),
		EchoPort: lab.EchoPort, Once: once,
	}
	for _, h := range hosts {
		cfg.Ports = append(cfg.Ports, watch.Port{Name: h.ServicePort(), MAC: h.MAC.String()})
	}
	return &watcher{startInstrument(n.t, n.Wires, roleWatch, cfg), mono.Now()}
}

// report is what a watcher has seen, with the names of the hosts.
type report struct {
	watch.Report
	from, to mono.Time
	names    map[string]string // of hardware addresses
}

func (w *watcher) stop(n *network) report {
	w.t.Helper()
	r := report{from: w.from, to: mono.Now(), names: map[string]string{}}
	w.instrument.stop(&r.Report)
	for _, h := range n.Hosts {
		r.names[h.MAC.String()] = h.Name
	}
	return r
}

// overlaps are the stretches in which two hosts answered, in words.
func (r report) overlaps() []string {
	var out []string
	for _, o := range watch.Overlaps(r.Runs) {
		out = append(out, fmt.Sprintf("%s and %s both answered for %s for %v", r.names[o.A], r.names[o.B], o.Addr, o.During.Len()))
	}
	return out
}

// watched plays a scenario under the watcher's eyes. It fails if two hosts
// answered for an address at the same time. If the machine kept the watcher from
// looking nobody can know: the scenario is played again, at most twice, and then
// fails.
func (n *network) watched(scenario func() report) {
	n.t.Helper()
	for i := 0; ; i++ {
		r := scenario()
		for _, o := range r.overlaps() {
			n.t.Error(o)
		}
		blind := r.blind()
		switch {
		case blind == "":
			return
		case i == mostRepeats:
			n.t.Error(blind)
			return
		}
		n.t.Logf("repeated: %s", blind)
	}
}

// blind says that the watcher looked away for more than a moment and one part
// in twenty; "": it did not.
func (r report) blind() string {
	away := r.Unwatched(r.from, r.to)
	if away <= 100*time.Millisecond || away*20 <= r.to.Sub(r.from) {
		return ""
	}
	return fmt.Sprintf("the watcher did not look for %v of %v", away, r.to.Sub(r.from))
}

// sees fails unless every method showed every address's holder at some time: a
// watcher that sees nothing proves nothing.
func (r report) sees(t *testing.T, addrs ...netip.Addr) {
	t.Helper()
	for _, a := range addrs {
		methods := map[watch.Method]int{}
		for _, run := range r.Runs {
			if run.Addr == a {
				methods[run.Method] += run.N
			}
		}
		first := watch.ARP
		if a.Is6() {
			first = watch.ND
		}
		if methods[first] < 10 || methods[watch.UDP] < 10 {
			t.Errorf("the watcher has hardly seen %s: %v", a, methods)
		}
	}
}

// last is when a host last answered for an address before a moment.
func (r report) last(addr netip.Addr, h *lab.Host, before mono.Time) (mono.Time, bool) {
	return watch.LastAnswer(r.Runs, addr, h.MAC.String(), before)
}
