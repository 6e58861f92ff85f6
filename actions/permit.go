package actions

import (
	"context"
	"errors"
	"sync/atomic"
)

// errLeaseOver ends an acquire of an at-most-one item that has lost its lease
// before its next step.
var errLeaseOver = errors.New("the lease is over")

// withdrawn says whether an acquire ended since it was not to be any more: that
// is no failure of the item's.
func withdrawn(err error) bool { return errors.Is(err, errUnwanted) || errors.Is(err, errLeaseOver) }

// ErrOutsideGate is wrapped by the error of a Release that leaves alone what its
// driver has never plumbed: it stands outside of the gate, which need not stay
// shut for it.
var ErrOutsideGate = errors.New("flip has not plumbed it")

// permitKey is where the context of an effect keeps the question that Permitted
// asks.
type permitKey struct{}

// permit is what one Acquire, and all that follows from it, may go on under. It
// is asked without any lock, before each frame that is sent.
type permit struct{ ask atomic.Pointer[func() error] }

// set changes the terms; nil: there are none.
func (p *permit) set(ask func() error) {
	if ask == nil {
		ask = func() error { return nil }
	}
	p.ask.Store(&ask)
}

func (p *permit) may() error { return (*p.ask.Load())() }

// refuse is the permit of what is let go of.
func refuse() error { return errUnwanted }

// withPermit makes a context whose steps also depend on ask.
func withPermit(ctx context.Context, ask func() error) context.Context {
	return context.WithValue(ctx, permitKey{}, ask)
}

// Permit is what a Driver keeps of ctx for what it does for an item after its
// Acquire has ended, such as repeating an announcement: the function says
// whether the item may still be held, under the newest decision to hold it on
// and that decision's lease. Once a release has begun it may not. It takes no
// lock and may be asked at any time.
func Permit(ctx context.Context) func() error {
	if ask, ok := ctx.Value(permitKey{}).(func() error); ok {
		return ask
	}
	return func() error { return nil }
}

// Permitted says whether the effect that ctx belongs to may take its next step:
// nil, or why not. A Driver asks right before each step, with nothing slow in
// between: a thread may have been starved since the decision, and an effect
// never outlives the decision behind it.
func Permitted(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if ask, ok := ctx.Value(permitKey{}).(func() error); ok {
		return ask()
	}
	return nil
}
