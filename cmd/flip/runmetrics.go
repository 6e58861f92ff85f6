package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/flip-ha/flip/actions/gate"
	"github.com/flip-ha/flip/api/metrics"
	"github.com/flip-ha/flip/api/server"
	"github.com/flip-ha/flip/fsm"
)

// openMetrics makes the exporter, and its own port if the file names one. A port
// that cannot be had is said loudly and is no reason to leave what this node
// holds to fewer others.
func (d *daemon) openMetrics() {
	d.metrics = metrics.New(d, d.log)
	if g := d.ground; g != nil && g.driver != nil {
		d.metrics.WatchAddresses(g.measured)
		d.metrics.WatchGate(g.measuredGate)
	}
	addr := d.file.Node.Metrics
	if addr == "" {
		return
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		d.noMetrics = fmt.Sprintf("no metrics on a port of their own: listen on %s: %v", addr, err)
		d.log.Error().Err(err).Str("addr", addr).Str("hint", noMetricsDo).Msg("no metrics on a port of their own")
		return
	}
	d.metricsPort = l
	d.undo = append(d.undo, l.Close)
}

const noMetricsDo = "free the port, or name another one by `metrics` in this node's file, and restart flip here; the control socket has /metrics all the same"

// runMetrics serves the port of its own.
func (d *daemon) runMetrics(ctx context.Context) error {
	if d.metricsPort == nil {
		return nil
	}
	if err := server.NewMetrics(d.metrics, d.log).Run(ctx, d.metricsPort); err != nil {
		return fmt.Errorf("serve metrics: %w", err)
	}
	return nil
}

func (g *ground) measured() metrics.Addresses {
	s := g.driver.Stats()
	return metrics.Addresses{
		Held: s.Addresses, Repaired: s.Repairs, Announced: s.Announced, Told: s.TellFrames, Strangers: s.Strangers,
	}
}

func (g *ground) measuredGate() (metrics.Gate, bool) {
	if g.gate == nil {
		return metrics.Gate{}, false
	}
	s := g.gate.Stats()
	return metrics.Gate{
		Owned: s.Owned, Open: s.Open, Addresses: s.Addrs,
		Renewals: s.Renewals, Refused: s.Refused, Fused: s.Late, Repairs: s.Repairs, Worst: s.Worst,
	}, true
}

// timedGate is the gate with its renewals measured.
type timedGate struct {
	*gate.Gate
	took func(time.Duration)
}

// Renew implements gate.Valve.
func (t timedGate) Renew(left func() (time.Duration, bool)) error {
	err := t.Gate.Renew(left)
	if err == nil {
		t.took(t.Stats().Last)
	}
	return err
}

// steps times what this node has to do for each new slice. It belongs to the
// goroutine that feeds the executor.
type steps struct {
	observe  func(metrics.Step, time.Duration)
	down     fsm.Index // the newest Down that was looked at
	taking   map[fsm.Key]step
	dropping map[fsm.Key]step
}

type step struct {
	token fsm.Token
	since time.Time
}

func newSteps(observe func(metrics.Step, time.Duration)) *steps {
	return &steps{observe: observe, taking: map[fsm.Key]step{}, dropping: map[fsm.Key]step{}}
}

// slice compares a new slice with what is under way.
func (s *steps) slice(sl fsm.Slice, now time.Time) {
	taking := make(map[fsm.Key]step)
	for i := range sl.Want {
		j := &sl.Want[i]
		if j.Token == 0 || j.Keep || j.Failed {
			continue
		}
		was, busy := s.taking[j.Key]
		switch {
		case j.Reported && busy && was.token == j.Token:
			s.observe(metrics.StepAcquire, now.Sub(was.since))
		case j.Reported:
		case busy && was.token == j.Token:
			taking[j.Key] = was
		default:
			taking[j.Key] = step{j.Token, now}
		}
	}
	dropping := make(map[fsm.Key]step)
	for i := range sl.Owe {
		k := sl.Owe[i].Job.Key
		dropping[k] = step{sl.Owe[i].Token, now}
		if was, busy := s.dropping[k]; busy {
			dropping[k] = was
		}
	}
	for k, was := range s.dropping {
		if _, still := dropping[k]; !still {
			s.observe(metrics.StepRelease, now.Sub(was.since))
		}
	}
	s.taking, s.dropping = taking, dropping
}

// downs measures the Downs that the log shows since the last call, on the leader
// alone: it is the one that proposed them, a moment ago.
func (s *steps) downs(state *fsm.State, leading bool, now time.Time) {
	first := s.down == 0
	for _, e := range state.JournalSince(s.down) {
		s.down = e.Index
		if e.Kind != fsm.KindDown || len(e.Evidence) == 0 || !leading || first {
			continue
		}
		silent := e.Evidence[0].Silent
		for _, v := range e.Evidence {
			silent = min(silent, v.Silent)
		}
		committed := max(0, now.Sub(time.UnixMilli(e.At)))
		s.observe(metrics.StepDetect, time.Duration(silent)*time.Millisecond+committed)
	}
}
