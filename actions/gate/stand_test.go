package gate

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

const ms = time.Millisecond

// valve is a gate in virtual time: it shuts as the kernel does.
type valve struct {
	call     chan struct{} // one call at a time, as the kernel's; a mutex would stop the bubble's time
	mu       sync.Mutex
	live     bool
	until    time.Time
	changed  chan struct{}
	renewals int
	refused  int
	shuts    int
	fails    []error // what the next calls of Renew answer
	slips    bool
	hold     time.Duration       // what the next call lasts between the reading of the clock and its end
	opened   func(end time.Time) // checks each opening and renewal
}

func newValve() *valve { return &valve{changed: make(chan struct{}, 1), call: make(chan struct{}, 1)} }

func (v *valve) Renew(left func() (time.Duration, bool)) error {
	v.call <- struct{}{}
	defer func() { <-v.call }()
	if err := v.fault(); err != nil {
		return err
	}
	v.slip()
	lit := time.Now()
	l, ok := left()
	if !ok {
		return fmt.Errorf("%w: no lease", ErrLapsed)
	}
	d, ok := lifetimeOf(l, DefaultFuse, 4*ms)
	if !ok {
		return fmt.Errorf("%w: too little", ErrLapsed)
	}
	v.mu.Lock()
	hold := v.hold
	v.hold = 0
	v.mu.Unlock()
	time.Sleep(hold)
	now := time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	if now.Sub(lit) >= DefaultFuse || v.live && !now.Before(v.until) {
		v.refused++
		v.live = v.live && now.Before(v.until)
		return fmt.Errorf("%w: late", ErrLapsed)
	}
	if v.opened != nil {
		v.opened(now.Add(d))
	}
	v.live, v.until = true, now.Add(d)
	v.renewals++
	return nil
}

func (v *valve) Shut() error {
	v.call <- struct{}{}
	defer func() { <-v.call }()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.live = false
	v.shuts++
	return nil
}

// fault is what the next call must answer.
func (v *valve) fault() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.fails) == 0 {
		return nil
	}
	err := v.fails[0]
	v.fails = v.fails[1:]
	return err
}

// slip shuts the gate as if a repair had come right before this call.
func (v *valve) slip() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.live = v.live && !v.slips
	v.slips = false
}

// fail makes the next calls answer with errors; nil: as they would.
func (v *valve) fail(errs ...error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fails = errs
}

// counts says how often it was renewed, refused and shut.
func (v *valve) counts() (renewals, refused, shuts int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.renewals, v.refused, v.shuts
}

func (v *valve) Left() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.live {
		return 0
	}
	return max(0, time.Until(v.until))
}

func (v *valve) Changed() <-chan struct{} { return v.changed }

// stand is a Keeper with what it keeps, in a bubble.
type stand struct {
	*Keeper
	valve   *valve
	mu      sync.Mutex
	ends    time.Time // of the lease
	may     bool
	granted bool // what MayOpen last said, until it was used
	log     book
	ended   chan error
	stop    func()
}

func newStand(ttl time.Duration) *stand {
	s := &stand{valve: newValve(), may: true, ended: make(chan error, 1)}
	s.Keeper = NewKeeper(KeeperConfig{
		Gate: s.valve, TTL: func() time.Duration { return ttl },
		Lease: func() (time.Duration, bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			left := time.Until(s.ends)
			return left, left > 0
		},
		MayOpen: func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.granted = s.may
			return s.may
		},
		Log: zerolog.New(&s.log),
	})
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() { s.ended <- s.Run(ctx) }()
	return s
}

// lease makes the lease end in d, and wakes the Keeper.
func (s *stand) lease(d time.Duration) {
	s.mu.Lock()
	s.ends = time.Now().Add(d)
	s.mu.Unlock()
	s.Wake()
	synctest.Wait()
}

// acknowledged lives through d with a lease that is renewed as acknowledgements come.
func (s *stand) acknowledged(d, ttl time.Duration) {
	for began := time.Now(); time.Since(began) < d; {
		s.lease(ttl - ms)
		time.Sleep(ttl / 6)
	}
}

// leave says whether it may open from now on.
func (s *stand) leave(may bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.may = may
}

// book is what was logged.
type book struct {
	mu  sync.Mutex
	all strings.Builder
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

// bubble runs f with a Keeper that must end well.
func bubble(t *testing.T, ttl time.Duration, f func(*testing.T, *stand)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newStand(ttl)
		f(t, s)
		s.stop()
		synctest.Wait()
		select {
		case err := <-s.ended:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("Run does not end")
		}
	})
}
