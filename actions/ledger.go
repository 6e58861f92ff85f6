package actions

import (
	"context"

	"github.com/flip-ha/flip/fsm"
)

// Ledger is told of an item before anything is done for it, and how that ended,
// so that something that outlives this process knows what it may have left. It
// is called outside the Executor's locks, from the goroutine of the effect; the
// calls of one slot never overlap, but Adopted, which is told like an Adopter.
type Ledger interface {
	// Begin is called right before an effect. run names the processes that the
	// effect starts: hooks have it as FLIP_RUN in their environment. An error keeps
	// an acquire from being begun, and a release from nothing.
	Begin(e Effect) (run string, err error)
	// End is called when the effect has ended, as err says.
	End(e Effect, err error)
	// Adopted is called for what is held on under a newer decision.
	Adopted(job fsm.Job)
}

type runKey struct{}

// WithRun names the processes that are started under the context.
func WithRun(ctx context.Context, run string) context.Context {
	if run == "" {
		return ctx
	}
	return context.WithValue(ctx, runKey{}, run)
}

// Run is what the Ledger named the effect behind a Driver's call; "" if there is
// no Ledger.
func Run(ctx context.Context) string {
	run, _ := ctx.Value(runKey{}).(string)
	return run
}
