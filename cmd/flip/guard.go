package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/gate"
	"github.com/flip-ha/flip/actions/guard"
	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/actions/netif"
	"github.com/flip-ha/flip/actions/programs"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/udp"
)

// guardCommandName is what the daemon starts its guard as.
const guardCommandName = "guard"

// lastLines is how long a guard that has done its work waits for its log to be
// taken.
const lastLines = time.Second

func guardCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:   guardCommandName,
		Usage:  "let go of what a daemon held that cannot do so itself; `flip run` starts it",
		Hidden: true,
		Action: a.guard,
	}
}

func (a *App) guard(c *cli.Context) error {
	if c.NArg() > 0 {
		return &usageError{what: "guard takes no arguments", hint: "`flip run` starts it, nobody else"}
	}
	out, flush := guard.NewWriter(a.Stderr)
	// The daemon's level comes with its first words.
	log := newLogger(out, "debug")
	err := guard.Serve(c.Context, guard.ServeConfig{Open: duties, Log: log})
	limit := make(chan struct{})
	time.AfterFunc(lastLines, func() { close(limit) })
	flush(limit)
	if err != nil {
		return hinted{err, "`flip run` starts a guard, nobody else"}
	}
	return nil
}

// duties makes ready what a guard works with.
func duties(h guard.Hello, f guard.Files, log zerolog.Logger) (guard.Duties, error) {
	remover, err := netif.NewRemover()
	if err != nil {
		return guard.Duties{}, err
	}
	d := guard.Duties{
		Addresses: remover,
		EndRuns: func(ctx context.Context, runs []string) error {
			return ledger.EndRuns(ctx, runs, actions.DefaultGrace, log)
		},
	}
	var list atomic.Pointer[ledger.List]
	d.Resume = func() (guard.List, []ledger.Entry, error) {
		opened, entries, err := ledger.Resume(h.List, log)
		if err != nil {
			return nil, nil, err
		}
		list.Store(opened)
		return opened, entries, nil
	}
	hooks := actions.NewHooks(actions.HooksConfig{Self: h.Member, Log: log, Token: func(k fsm.Key) fsm.Token {
		if l := list.Load(); l != nil {
			return l.Token(k)
		}
		return 0
	}})
	d.Hooks = &programs.Left{Path: programsPath(h.List), Boot: h.Host.Boot, Member: h.Member, Others: hooks}
	// A part that fails leaves the others their work.
	if f.Gate != nil {
		if h, err := gate.Inherit(f.Gate, h.Gate); err != nil {
			log.Error().Err(err).Msg("this guard cannot shut the gate: it shuts by itself when the lease ends")
		} else {
			d.Gate = h
		}
	}
	if f.Socket != nil {
		bye, err := udp.NewFarewell(udp.FarewellConfig{
			Member: h.Member, Host: h.Host, Process: h.Process, Key: h.Key, Nonce: newNonce(), Log: log,
		}, f.Socket)
		if err != nil {
			log.Error().Err(err).Msg("this guard cannot say goodbye: the others will notice by the silence")
		} else {
			d.Farewell = bye
		}
	}
	return d, nil
}
