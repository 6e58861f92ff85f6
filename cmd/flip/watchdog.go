package main

import (
	"context"
	"sync/atomic"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
)

// watchdogRounds is how many times within systemd's limit the loops are asked.
const watchdogRounds = 4

// watchdog tells systemd that this process lives, only as long as its main loops
// turn: a process that breathes but decides nothing must be started anew. Each
// round it asks every loop to turn, and says WATCHDOG=1 when all have.
type watchdog struct {
	limit  time.Duration // systemd's; 0: it has not asked
	tell   func(lines ...string)
	log    zerolog.Logger
	loops  []*pulse // the probes' too
	probes []probe
}

// newWatchdog makes a watchdog; limit is WATCHDOG_USEC, see watchdogLimit. Loops
// and probes are added before Run.
func newWatchdog(limit time.Duration, tell func(lines ...string), log zerolog.Logger) *watchdog {
	return &watchdog{limit: limit, tell: tell, log: log}
}

// watchdogLimit is what systemd asks of this process; 0: nothing.
func watchdogLimit() (time.Duration, error) { return sd.SdWatchdogEnabled(false) }

// pulse is one loop's side of the watchdog.
type pulse struct {
	name  string
	asked chan struct{} // capacity 1: to turn
	moved chan struct{} // capacity 1: has turned
	late  int           // rounds in a row without a turn
	over  atomic.Bool
}

// loop adds a main loop, which must select on Due, call Turned each time around,
// and Over when it returns.
func (w *watchdog) loop(name string) *pulse {
	p := &pulse{name: name, asked: make(chan struct{}, 1), moved: make(chan struct{}, 1)}
	w.loops = append(w.loops, p)
	return p
}

// Due wakes the loop once each round.
func (p *pulse) Due() <-chan struct{} { return p.asked }

// Turned says that the loop has gone around. It never blocks.
func (p *pulse) Turned() { poke(p.moved) }

// Over says that the loop has ended in order and turns no more: a process that
// still lets go of what it holds must not be ended for it.
func (p *pulse) Over() { p.over.Store(true) }

// probe adds a part whose loop is out of reach: f must go through what the loop
// would hold if it hung, a lock say.
func (w *watchdog) probe(name string, f func()) {
	w.probes = append(w.probes, probe{w.loop(name), f})
}

type probe struct {
	*pulse
	try func()
}

// run tries each time it is asked.
func (p probe) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.Due():
			p.try()
			p.Turned()
		}
	}
}

// Run asks and tells until ctx ends. It does not wait for a probe that hangs: it
// would keep a process that is to be replaced from ending.
func (w *watchdog) Run(ctx context.Context) error {
	if w.limit <= 0 {
		<-ctx.Done()
		return nil
	}
	for _, p := range w.probes {
		go p.run(ctx)
	}
	tick := time.NewTicker(w.limit / watchdogRounds)
	defer tick.Stop()
	for {
		for _, p := range w.loops {
			poke(p.asked)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if w.turned() {
			w.tell(sd.SdNotifyWatchdog)
		}
	}
}

// turned reports whether every loop has turned since the last round.
func (w *watchdog) turned() bool {
	all := true
	for _, p := range w.loops {
		if p.over.Load() {
			continue
		}
		select {
		case <-p.moved:
			if p.late > 1 {
				w.log.Warn().Str("loop", p.name).Int("rounds", p.late).Msg("a main loop turns again")
			}
			p.late = 0
		default:
			all = false
			// One round can be bad luck on a busy machine; the second is halfway
			// to the end.
			if p.late++; p.late == 2 {
				w.log.Error().Str("loop", p.name).Dur("limit", w.limit).
					Msg("a main loop hangs: unless it turns again, systemd ends this process and starts it anew")
			}
		}
	}
	return all
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
