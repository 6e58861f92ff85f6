package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flip-ha/flip/config"
	"github.com/flip-ha/flip/e2e/mono"
	"github.com/flip-ha/flip/e2e/swarm"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure"
)

// herd is all agents of this process.
type herd struct {
	spec    fsm.Spec
	keys    *secure.Keys
	boot    string
	traffic map[netip.AddrPort]*traffic // by voter; nobody writes it any more
	agents  []*agent
}

// newHerd reads the file and opens a socket for each agent.
func newHerd(cfg swarm.Config) (*herd, error) {
	data, err := os.ReadFile(cfg.File)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	if len(cfg.Agents) == 0 {
		return nil, errors.New("whom to play?")
	}
	file, err := config.Parse(cfg.File, data, config.Overrides{ID: cfg.Agents[0]})
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("read the boot id: %w", err)
	}
	h := &herd{spec: file.Spec, boot: strings.TrimSpace(string(boot)), traffic: map[netip.AddrPort]*traffic{}}
	if h.keys, err = secure.Derive([]byte(file.Node.Key)); err != nil {
		return nil, fmt.Errorf("derive the cluster's keys: %w", err)
	}
	for name, server := range h.spec.Servers {
		if !server.Votes() {
			continue
		}
		addr, err := netip.ParseAddrPort(server.Addr)
		if err != nil {
			return nil, fmt.Errorf("the address of %s: %w", name, err)
		}
		h.traffic[addr] = &traffic{}
	}
	for _, name := range cfg.Agents {
		a, err := h.newAgent(fsm.MemberID(name))
		if err != nil {
			return nil, err
		}
		h.agents = append(h.agents, a)
	}
	return h, nil
}

// sourcesEvery is how often it is noted which voter serves each agent.
const sourcesEvery = 5 * time.Millisecond

// run plays all agents until ctx ends.
func (h *herd) run(ctx context.Context) {
	for _, a := range h.agents {
		a.start(ctx)
	}
	tick := time.NewTicker(sourcesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := mono.Now()
		for _, a := range h.agents {
			a.noteSource(now)
		}
	}
}

// obey does what an order says.
func (h *herd) obey(o swarm.Order) (any, error) {
	switch o.Do {
	case swarm.Tell:
		return h.state(), nil
	case swarm.Known:
		return h.times(func(a *agent) (mono.Time, bool, bool) {
			at, ok := a.knew(o.On, o.Since)
			return at, ok, true
		}), nil
	case swarm.Served:
		return h.times(func(a *agent) (mono.Time, bool, bool) { return a.served(o.Since, fsm.MemberID(o.But)) }), nil
	case swarm.Kill:
		i := slices.IndexFunc(h.agents, func(a *agent) bool { return string(a.name) == o.Agent })
		if i < 0 {
			return nil, fmt.Errorf("nobody here is %q", o.Agent)
		}
		return h.agents[i].die(o.Word)
	default:
		return nil, fmt.Errorf("no order %q", o.Do)
	}
}

// mostIll is how many are named.
const mostIll = 10

func (h *herd) state() swarm.State {
	s := swarm.State{Sources: map[string]int{}, Traffic: map[string]swarm.Traffic{}}
	for addr, t := range h.traffic {
		s.Traffic[addr.String()] = t.read()
	}
	for _, a := range h.agents {
		s.Lapses += int(a.lapses.Load())
		s.Epochs += int(a.epochs.Load())
		if a.isDead() {
			continue
		}
		s.Live++
		s.Items += len(a.exec.Held())
		_, at := a.node.View()
		if s.Read[1] = max(s.Read[1], uint64(at)); s.Live == 1 || uint64(at) < s.Read[0] {
			s.Read[0] = uint64(at)
		}
		source := string(a.node.Source())
		s.Sources[source]++
		_, leased := a.end.Lease()
		if leased {
			s.Leased++
		}
		if (!leased || source == "") && len(s.Ill) < mostIll {
			s.Ill = append(s.Ill, fmt.Sprintf("%s: a lease %v, served by %q", a.name, leased, source))
		}
	}
	return s
}

// times asks each agent that lives for a moment: whether it has one, and whether it is
// to be counted at all.
func (h *herd) times(ask func(*agent) (at mono.Time, ok, counts bool)) swarm.Times {
	out := swarm.Times{At: []mono.Time{}}
	for _, a := range h.agents {
		if a.isDead() {
			continue
		}
		at, ok, counts := ask(a)
		switch {
		case !counts:
		case ok:
			out.At = append(out.At, at)
		default:
			out.Missing = append(out.Missing, string(a.name))
		}
	}
	return out
}

// noted is what became of an agent when: by which voter it was served, what it read.
type noted struct {
	mu      sync.Mutex
	sources []source
	flips   []flip
}

type source struct {
	at mono.Time
	by fsm.MemberID
}

// flip is a maintenance that was read to begin or to end.
type flip struct {
	at mono.Time
	on bool
}

// noteMaintenance notes whether there is any, as read by now.
func (n *noted) noteMaintenance(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if last := len(n.flips) - 1; last < 0 && on || last >= 0 && n.flips[last].on != on {
		n.flips = append(n.flips, flip{mono.Now(), on})
	}
}

// knew is when maintenance was read to be on, or off, since a moment.
func (n *noted) knew(on bool, since mono.Time) (mono.Time, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range n.flips {
		if f.on == on && f.at >= since {
			return f.at, true
		}
	}
	return 0, false
}

func (n *noted) note(by fsm.MemberID, at mono.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if last := len(n.sources) - 1; last < 0 || n.sources[last].by != by {
		n.sources = append(n.sources, source{at, by})
	}
}

// served is from when on a voter other than but has served it, for good, which was
// served otherwise at some time since; counts: it was so.
func (n *noted) served(since mono.Time, but fsm.MemberID) (at mono.Time, ok, counts bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, s := range n.sources {
		until := since.Add(1) // of the last one: now
		if i+1 < len(n.sources) {
			until = n.sources[i+1].at
		}
		if until <= since {
			continue // over by then
		}
		if s.by == "" || s.by == but {
			counts, ok = true, false
		} else if counts && !ok {
			at, ok = s.at, true
		}
	}
	return at, ok, counts
}
