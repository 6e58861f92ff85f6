package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/fsm"
)

// listSuffix is of the list of what a node may hold, beside its control socket: in
// a directory that is gone with the boot, as what is listed.
const listSuffix = ".list"

func (d *daemon) listPath() string {
	return strings.TrimSuffix(d.paths.socket, socketSuffix) + listSuffix
}

// inherited is what a former process of this node has left on this machine.
type inherited struct{ held, gone []fsm.Job }

// has reports whether anything of a slot was left, as the list knows better than
// any configuration.
func (l *inherited) has(k fsm.Key) bool {
	same := func(j fsm.Job) bool { return j.Key == k }
	return slices.ContainsFunc(l.held, same) || slices.ContainsFunc(l.gone, same)
}

// openLedger takes over the list, and ends the hooks that a former process left at
// work before anything else is done: an `alive` that ends after the `down` for the
// same item would bring it up again.
func (d *daemon) openLedger(ctx context.Context) error {
	id := ledger.Identity{Boot: d.host.Boot, Member: d.self.Name, Instance: d.self.Instance}
	list, left, err := ledger.Open(d.listPath(), id, d.log)
	if err != nil {
		return hinted{
			fmt.Errorf("open the list of what this node may hold: %w", err),
			"the directory of the control socket must be writable; --dir or --socket name another one",
		}
	}
	d.list = list
	d.undo = append(d.undo, list.Close)
	runs, held, gone := ledger.Inherit(left)
	if len(left) > 0 {
		d.log.Warn().Int("held", len(held)).Int("released_first", len(gone)).Int("hooks_at_work", len(runs)).
			Msg("a former process of this node has left something")
	}
	if err := ledger.EndRuns(ctx, runs, actions.DefaultGrace, d.log); err != nil {
		return err
	}
	d.left = inherited{held: held, gone: gone}
	return nil
}

// holdsMost reports whether anything that is held at most once is listed.
func (d *daemon) holdsMost() bool {
	return slices.ContainsFunc(d.list.Entries(), func(e ledger.Entry) bool { return e.Job.AtMostOne })
}

// lettingGo reports whether the release of anything held at most once is still to
// be tried, or under way. One that has failed is tried again by this process; to
// end that for it would mend nothing.
func (d *daemon) lettingGo() bool {
	return slices.ContainsFunc(d.list.Entries(), func(e ledger.Entry) bool {
		return e.Job.AtMostOne && (e.Phase != ledger.Stopping || e.Run != "")
	})
}
