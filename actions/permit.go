package actions

import (
	"context"
	"errors"
)

// errLeaseOver ends an acquire of an at-most-one item that has lost its lease
// before its next step.
var errLeaseOver = errors.New("the lease is over")

// withdrawn says whether an acquire ended since it was not to be any more: that
// is no failure of the item's.
func withdrawn(err error) bool { return errors.Is(err, errUnwanted) || errors.Is(err, errLeaseOver) }

// permitKey is where the context of an effect keeps the question that Permitted
// asks.
type permitKey struct{}

// withPermit makes a context whose steps also depend on ask.
func withPermit(ctx context.Context, ask func() error) context.Context {
	return context.WithValue(ctx, permitKey{}, ask)
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
