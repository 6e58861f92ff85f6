package guard_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/gate"
	"github.com/flip-ha/flip/actions/guard"
	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/actions/netif"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/udp"
)

// serve is the whole of a guard's child, as cmd/flip has it.
func serve(ctx context.Context) error {
	out, flush := guard.NewWriter(os.Stderr)
	err := guard.Serve(ctx, guard.ServeConfig{
		Open: openDuties,
		Log:  zerolog.New(out).With().Timestamp().Logger(),
	})
	limit := make(chan struct{})
	time.AfterFunc(time.Second, func() { close(limit) })
	flush(limit)
	return err
}

// openDuties makes ready what a guard works with.
func openDuties(h guard.Hello, f guard.Files, log zerolog.Logger) (guard.Duties, error) {
	d := guard.Duties{
		Hooks: actions.NewHooks(actions.HooksConfig{Self: h.Member, Log: log}),
		EndRuns: func(ctx context.Context, runs []string) error {
			return ledger.EndRuns(ctx, runs, actions.DefaultGrace, log)
		},
	}
	if h.List != "" {
		d.Resume = func() (guard.List, []ledger.Entry, error) { return ledger.Resume(h.List, log) }
	}
	// Whatever cannot be had is said, and the rest is done all the same.
	var errs []error
	remover, err := netif.NewRemover()
	if err == nil {
		d.Addresses = remover
	}
	errs = append(errs, err)
	if f.Gate != nil {
		heir, err := gate.Inherit(f.Gate, h.Gate)
		if err == nil {
			d.Gate = heir
		}
		errs = append(errs, err)
	}
	if f.Socket != nil {
		var nonce fsm.Nonce
		_, _ = rand.Read(nonce[:])
		bye, err := udp.NewFarewell(udp.FarewellConfig{
			Member: h.Member, Host: h.Host, Process: h.Process, Key: h.Key, Nonce: nonce, Log: log,
		}, f.Socket)
		if err == nil {
			d.Farewell = bye
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		log.Error().Err(err).Msg("the guard is not whole")
	}
	return d, nil
}
