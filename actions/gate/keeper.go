package gate

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// Valve is what a Keeper needs of a gate. Left never waits, and is also asked
// while Renew asks for the lease.
type Valve interface {
	Renew(left func() (time.Duration, bool)) error
	Shut() error
	Left() time.Duration
	Changed() <-chan struct{}
}

var _ Valve = (*Gate)(nil)

const (
	// share of the lease that is used up when the gate is renewed: more often
	// would cost every listing of the host's ruleset a new start (ACTIONS.md 4).
	share = 3
	// steps of a lease: how often the Keeper looks by itself, though it should be
	// woken, and after how much more of a lease a renewal is worth the while.
	steps = 24
	// failures in a row, other than ErrLapsed, that end the Keeper.
	failures = 3
)

// KeeperConfig is what a Keeper is made from. The functions are called from
// Run's goroutine, Lease with the gate's lock held: it must not call the gate.
type KeeperConfig struct {
	Gate    Valve
	Lease   func() (left time.Duration, ok bool)
	TTL     func() time.Duration // the length of the lease as agreed now
	MayOpen func() bool          // all that may not be held is gone from this machine; asked for each opening
	Log     zerolog.Logger
}

// Keeper opens the gate when the lease runs and MayOpen says so, and renews it
// while the lease does.
type Keeper struct {
	cfg  KeeperConfig
	wake chan struct{}
	open atomic.Bool

	// Of Run's goroutine.
	read   time.Time // when the lease was read for the last renewal
	ends   time.Time // when it ended then
	failed int
}

// NewKeeper makes a Keeper; Run starts it.
func NewKeeper(cfg KeeperConfig) *Keeper {
	return &Keeper{cfg: cfg, wake: make(chan struct{}, 1)}
}

// Wake says that the lease or the answer of MayOpen may have changed.
func (k *Keeper) Wake() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Open says whether the gate is open, as far as the Keeper knows.
func (k *Keeper) Open() bool { return k.open.Load() && k.cfg.Gate.Left() > 0 }

// Run keeps the gate until ctx ends; it then leaves it to shut by itself. An
// error says that the gate failed: the lease must end.
func (k *Keeper) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
		case <-k.cfg.Gate.Changed():
		case <-timer.C:
		}
		if ctx.Err() != nil {
			return nil
		}
		next, err := k.step()
		if err != nil {
			return err
		}
		timer.Reset(next)
	}
}

// step does what is due and says when to look again.
func (k *Keeper) step() (time.Duration, error) {
	ttl := max(k.cfg.TTL(), steps*time.Millisecond)
	look := ttl / steps
	left, ok := k.cfg.Lease()
	now := time.Now()
	shut := k.cfg.Gate.Left() <= 0
	if k.open.Load() && shut {
		why := "it was not renewed in time"
		if !ok {
			why = "the lease is over"
		}
		k.lapsed(why)
	}
	if !ok {
		return ttl / 6, k.end()
	}
	if shut {
		if !k.cfg.MayOpen() {
			return ttl / 6, nil
		}
		return look, k.renew(true)
	}
	if wait := due(now, k.read, k.cfg.Gate.Left(), ttl); wait > 0 {
		return wait, nil
	}
	if now.Add(left).Sub(k.ends) < look {
		return look, nil // no more of a lease than the gate has
	}
	return look, k.renew(false)
}

// due is how long a renewal can wait: until a third of the lease is used up
// since the last, or no more than that is left of the opening.
func due(now, read time.Time, open, ttl time.Duration) time.Duration {
	return min(read.Add(ttl/share).Sub(now), open-ttl/share)
}

// renew renews, once more if it was refused: a thread may have been held up, or
// the kernel may have been faster.
func (k *Keeper) renew(mayOpen bool) error {
	err := k.once(mayOpen)
	if errors.Is(err, ErrLapsed) {
		if k.cfg.Gate.Left() <= 0 {
			mayOpen = k.cfg.MayOpen()
		}
		err = k.once(mayOpen)
	}
	switch {
	case err == nil:
		k.failed = 0
		if !k.open.Swap(true) {
			k.cfg.Log.Info().Dur("left", k.cfg.Gate.Left()).Msg("gate open")
		}
		return nil
	case errors.Is(err, ErrLapsed):
		k.failed = 0
		if k.cfg.Gate.Left() <= 0 {
			k.lapsed(err.Error())
		}
		return nil
	}
	k.failed++
	fatal := errors.Is(err, ErrForbidden) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrForeign) || errors.Is(err, ErrClosed)
	if fatal || k.failed >= failures {
		k.open.Store(false)
		return fmt.Errorf("keep the gate open: %w", err)
	}
	k.cfg.Log.Warn().Err(err).Int("failed", k.failed).Msg("gate not renewed")
	return nil
}

// once renews, and opens only if it may: a repair, or somebody's Shut, may have
// come between the look at the gate and this.
func (k *Keeper) once(mayOpen bool) error {
	var read, ends time.Time
	err := k.cfg.Gate.Renew(func() (time.Duration, bool) {
		if !mayOpen && k.cfg.Gate.Left() <= 0 {
			return 0, false
		}
		left, ok := k.cfg.Lease()
		read = time.Now()
		ends = read.Add(left)
		return left, ok
	})
	if err == nil {
		k.read, k.ends = read, ends
	}
	return err
}

// end shuts what an ended lease has left open.
func (k *Keeper) end() error {
	if !k.open.Load() {
		return nil
	}
	if err := k.cfg.Gate.Shut(); err != nil {
		return fmt.Errorf("shut the gate at the end of the lease: %w", err)
	}
	k.lapsed("the lease is over")
	return nil
}

func (k *Keeper) lapsed(why string) {
	if k.open.Swap(false) {
		k.cfg.Log.Warn().Str("why", why).Msg("gate shut")
	}
}
