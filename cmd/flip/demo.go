package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
)

const (
	timingSample = "sample"
	timingLAN    = "lan"
)

// What a takeover is to take at most, from the signal to the new hook's end:
// the lease plus a tenth, a commit and the start of a hook.
var demoAims = map[string]int64{timingSample: 1700, timingLAN: 350}

const (
	// settleLimit is far above what founding takes with the sample's timing on
	// a busy machine.
	settleLimit = 60 * time.Second
	// traceLimit is how long the hooks' trace may differ from the API: the
	// former holder's ip_down runs after the new one's ip_up was reported.
	traceLimit = 5 * time.Second
	lookEvery  = 50 * time.Millisecond
)

func demoCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "watch a takeover on this machine: three nodes, one is killed",
		Description: `Starts three flip processes on loopback from the sample of Flip's README, shows
who holds what, kills an owner with SIGKILL, measures how long the takeover
takes, starts the owner again and shows that its data come home. Needs no root,
leaves nothing behind. Exits 0, or 1 when what it saw is not what must be.

Examples:
  flip demo
  flip demo --timing lan   flip's default timing instead of the sample's
  flip demo --keep         leave the three running, to look at them`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "keep", Usage: "leave all running and say how to look at it"},
			&cli.StringFlag{Name: "timing", Value: timingSample, Usage: "`WHICH`: sample, as in the README, or lan, flip's default"},
			&cli.StringFlag{Name: "hooks", Usage: "take ip_up and ip_down from `DIR`; they write to $" + traceEnv},
			jsonFlag(),
		},
		Action: a.demo,
	}
}

type demoOptions struct {
	keep, json    bool
	timing, hooks string
}

// demo is one run of `flip demo`; one goroutine owns it.
type demo struct {
	app     *App
	opts    demoOptions
	words   io.Writer
	paint   painter
	dir     string
	path    string // PATH of the nodes
	ports   []int
	procs   map[string]*process // those that should be running
	figures figures
}

func (a *App) demo(c *cli.Context) error {
	opts := demoOptions{keep: c.Bool("keep"), json: c.Bool("json"), timing: c.String("timing"), hooks: c.String("hooks")}
	if err := atMost(c, 0); err != nil {
		return err
	}
	if demoAims[opts.timing] == 0 {
		return &usageError{what: fmt.Sprintf("no timing %q", opts.timing), hint: "--timing sample or --timing lan"}
	}
	d := &demo{app: a, opts: opts, words: a.Stdout, paint: a.painter(), procs: map[string]*process{}}
	if opts.json {
		d.words, d.paint = a.Stderr, false
	}
	d.figures.Timing, d.figures.AimMS = opts.timing, demoAims[opts.timing]
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := d.run(ctx)
	if opts.json {
		err = errors.Join(err, printJSON(a.Stdout, d.figures))
	}
	return err
}

// run is the demo from its directory to its end, whatever happens between.
func (d *demo) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "flip-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	d.dir = dir
	err = d.play(ctx)
	interrupted := ctx.Err() != nil
	if interrupted {
		err = errors.New("interrupted")
	}
	d.figures.OK = err == nil
	switch {
	case err == nil:
		d.say("All was as it must be.")
	case !interrupted:
		d.failed()
	}
	if d.opts.keep && !interrupted {
		d.kept()
	} else {
		err = errors.Join(err, d.clean())
	}
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return nil
}

func (d *demo) play(ctx context.Context) error {
	ports, moved, err := demoPorts()
	if err != nil {
		return err
	}
	d.ports, d.figures.Ports = ports, ports
	if d.path, err = writeDemo(d.dir, ports, d.opts.timing == timingLAN, d.opts.hooks); err != nil {
		return err
	}
	d.intro(moved)
	if err := d.found(ctx); err != nil {
		return err
	}
	if err := d.killOwner(ctx, "flip1", "192.168.0.1"); err != nil {
		return err
	}
	return d.bringBack(ctx, "flip1")
}

func (d *demo) found(ctx context.Context) error {
	d.say("1. All three start, found a cluster and share the addresses.")
	begin := time.Now()
	for _, id := range demoNodes {
		p, err := d.start(id)
		if err != nil {
			return err
		}
		d.procs[id] = p
	}
	if err := d.await(ctx, "all nodes active", allActive); err != nil {
		return err
	}
	d.figures.FoundingMS = time.Since(begin).Milliseconds()
	return d.mature(ctx)
}

// mature waits until the voters may vote: one that has just begun calls nobody
// down before it has been a voter, with a lease, for the lease's time and a
// tenth. An owner lost right after founding is missed that much later.
func (d *demo) mature(ctx context.Context) error {
	var timing api.Timing
	err := d.until(ctx, settleLimit, func() (bool, error) {
		for _, id := range demoNodes {
			st, err := d.status(ctx, id)
			if err != nil || !st.Node.Ready || !st.Node.Lease.Running {
				return false, nil
			}
			timing = st.Cluster.Timing
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("wait for every node's lease: %w", err)
	}
	wait := time.Duration(timing.TTLMS+timing.TTLMS/10+2*timing.HeartbeatMS) * time.Millisecond
	d.say("   A voter that has just begun calls nobody down yet: %s until that is over.", spoken(wait.Milliseconds()))
	d.say("")
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return d.checkAlive()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *demo) killOwner(ctx context.Context, id, item string) error {
	p := d.procs[id]
	d.say("2. SIGKILL to %s (pid %d), which holds %s. Its guard says goodbye for it;", id, p.pid, item)
	d.say("   without one the two others would have to agree that it is silent. flip must run ip_up.")
	delete(d.procs, id)
	signalled := time.Now().UnixNano()
	p.kill()
	if err := d.await(ctx, id+" down", flip1Down); err != nil {
		return err
	}
	lines, err := d.trace()
	if err != nil {
		return err
	}
	l, found := takeover(lines, item, id, signalled)
	if !found {
		return fmt.Errorf("no hook brought %s up after %s was killed", item, id)
	}
	const nanos = 1e6
	d.figures.Killed, d.figures.TakenBy, d.figures.TakeoverMS = id, l.node, float64(l.at-signalled)/nanos
	d.say("   %s took %s over %.0f ms after the signal (token %d; by silence it may take %d ms).", l.node, item, d.figures.TakeoverMS, l.token, d.figures.AimMS)
	d.say("")
	return nil
}

func (d *demo) bringBack(ctx context.Context, id string) error {
	d.say("3. %s starts again. What is at home there comes back, acquired first, then released:", id)
	d.say("   at no moment does nobody hold it.")
	begin := time.Now()
	p, err := d.start(id)
	if err != nil {
		return err
	}
	d.procs[id] = p
	if err := d.await(ctx, id+" back", allActive); err != nil {
		return err
	}
	d.figures.FailbackMS = time.Since(begin).Milliseconds()
	return nil
}

// await looks until the API of every node that runs, and then the hooks' trace,
// are as they must be; it shows the last look, whatever it was.
func (d *demo) await(ctx context.Context, situation string, expected pivot) error {
	s := sight{Situation: situation, Expected: expected}
	err := d.until(ctx, settleLimit, func() (ok bool, err error) {
		s.API = d.lookAPI(ctx, expected)
		return s.API.equal(expected), nil
	})
	limit := traceLimit
	if err != nil {
		limit = 0 // only for the table: one look
	}
	errTraces := d.until(ctx, limit, func() (ok bool, lookErr error) {
		if s.Traces, lookErr = d.lookTraces(); lookErr == nil && err == nil {
			lookErr = d.unheard(expected)
		}
		return lookErr == nil && s.Traces.equal(expected), lookErr
	})
	s.OK = err == nil && errTraces == nil
	d.figures.Tables = append(d.figures.Tables, s)
	d.show(s)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", situation, err)
	case errTraces != nil:
		return fmt.Errorf("%s: the API says so, the hooks' trace does not: %w", situation, errTraces)
	default:
		return nil
	}
}

var errNotSo = errors.New("it is not as it must be")

// until looks at once, and again and again, until cond holds or fails, limit
// has passed, a node ends by itself, or ctx ends.
func (d *demo) until(ctx context.Context, limit time.Duration, cond func() (bool, error)) error {
	end := time.NewTimer(limit)
	defer end.Stop()
	again := time.NewTicker(lookEvery)
	defer again.Stop()
	for {
		ok, err := cond()
		if ok || err != nil {
			return err
		}
		if err := d.checkAlive(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end.C:
			if limit > 0 {
				return fmt.Errorf("%w after %v", errNotSo, limit)
			}
			return errNotSo
		case <-again.C:
		}
	}
}
