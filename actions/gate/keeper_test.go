package gate

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// A steady lease is renewed three times in its length, at each timing, and the
// gate stays open; without acknowledgements it is open for the rest and no more.
func TestKeeperRenews(t *testing.T) {
	for _, ttl := range []time.Duration{50 * ms, 300 * ms, 3000 * ms} {
		bubble(t, ttl, func(t *testing.T, s *stand) {
			synctest.Wait()
			if n, _, _ := s.valve.counts(); s.Open() || n > 0 {
				t.Error("open without a lease")
			}
			s.lease(ttl - ms)
			if n, _, _ := s.valve.counts(); !s.Open() || n != 1 {
				t.Error("not open as soon as the lease runs")
			}
			s.acknowledged(30*ttl, ttl)
			n, _, _ := s.valve.counts()
			if most := 30*share + 10; ttl >= 300*ms && (n < 30*share-10 || n > most) || n > 30*6+1 {
				t.Errorf("ttl %s: %d renewals in 30 leases", ttl, n)
			}
			if got := strings.Count(s.log.String(), "\n"); got != 1 {
				t.Errorf("ttl %s: it was not open throughout: %s", ttl, s.log.String())
			}
			s.mu.Lock()
			end := s.ends
			s.mu.Unlock()
			for s.Open() {
				time.Sleep(ms)
			}
			if early := time.Until(end); early < 0 || early > ttl/share+DefaultFuse+8*ms+2*ms {
				t.Errorf("ttl %s: shut %s before the end of the lease", ttl, early)
			}
			if more, _, _ := s.valve.counts(); more > n+1 {
				t.Errorf("%d renewals for a lease that does not grow", more-n)
			}
			n, _, _ = s.valve.counts()
			time.Sleep(2 * ttl)
			if now, _, _ := s.valve.counts(); now != n {
				t.Errorf("%d renewals after the end", now-n)
			}
			if !strings.Contains(s.log.String(), "gate shut") {
				t.Errorf("not logged: %s", s.log.String())
			}
		})
	}
}

// It opens only when it may, and asks that for each opening, not for renewals.
func TestKeeperMayOpen(t *testing.T) {
	const ttl = 300 * ms
	bubble(t, ttl, func(t *testing.T, s *stand) {
		s.leave(false)
		s.acknowledged(2*ttl, ttl)
		if n, refused, _ := s.valve.counts(); s.Open() || n > 0 || refused > 0 {
			t.Error("opened though it must not")
		}
		s.leave(true)
		s.lease(ttl - ms)
		if !s.Open() {
			t.Error("not opened as soon as it may")
		}
		s.leave(false)
		s.acknowledged(5*ttl, ttl)
		if !s.Open() {
			t.Error("a renewal asked whether it may open")
		}
		time.Sleep(ttl)
		s.lease(ttl - ms)
		if s.Open() {
			t.Error("opened a second time without asking")
		}
	})
}

// What looked open and was repaired meanwhile is not opened without asking.
func TestKeeperRenewsAndDoesNotOpen(t *testing.T) {
	const ttl = 300 * ms
	for _, may := range []bool{true, false} {
		bubble(t, ttl, func(t *testing.T, s *stand) {
			s.lease(ttl - ms)
			s.leave(may)
			s.valve.mu.Lock()
			s.valve.slips = true
			s.valve.mu.Unlock()
			s.acknowledged(ttl, ttl)
			if s.Open() != may {
				t.Errorf("open %t, may %t", s.Open(), may)
			}
		})
	}
}

// A lease that ends before its time shuts the gate at once.
func TestKeeperShuts(t *testing.T) {
	bubble(t, 300*ms, func(t *testing.T, s *stand) {
		s.lease(299 * ms)
		s.lease(-ms)
		if _, _, n := s.valve.counts(); s.Open() || n != 1 {
			t.Errorf("open %t after %d Shut", s.Open(), n)
		}
		s.lease(-ms)
		if _, _, n := s.valve.counts(); n != 1 {
			t.Errorf("%d Shut", n)
		}
	})
}

// After a repair, which shuts the gate, it opens at once, if it may.
func TestKeeperOpensAfterARepair(t *testing.T) {
	bubble(t, 300*ms, func(t *testing.T, s *stand) {
		s.lease(299 * ms)
		for _, may := range []bool{true, false} {
			s.leave(may)
			_ = s.valve.Shut()
			s.valve.changed <- struct{}{}
			synctest.Wait()
			if s.Open() != may {
				t.Errorf("open %t, may %t", s.Open(), may)
			}
		}
	})
}

// A refused renewal is tried again at once; the gate's own failures end the
// Keeper, some at once and others when they repeat.
func TestKeeperFailures(t *testing.T) {
	const ttl = 300 * ms
	again := errors.New("out of memory")
	bubble(t, ttl, func(t *testing.T, s *stand) {
		s.valve.fail(fmt.Errorf("%w: late", ErrLapsed))
		s.lease(ttl - ms)
		if !s.Open() {
			t.Error("not opened by the second call")
		}
		s.valve.fail(again, again, nil)
		s.acknowledged(2*ttl, ttl)
		if !s.Open() {
			t.Error("did not get over two failures")
		}
		s.valve.fail(ErrLapsed, ErrLapsed, ErrLapsed, ErrLapsed, ErrLapsed, ErrLapsed)
		s.acknowledged(ttl, ttl)
		if !s.Open() {
			t.Error("did not get over refusals")
		}
	})
	for name, fails := range map[string][]error{
		"EPERM":    {fmt.Errorf("x: %w", ErrForbidden)},
		"replaced": {ErrForeign}, "gone": {ErrUnavailable}, "closed": {ErrClosed},
		"three times": {again, again, again},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStand(ttl)
			s.valve.fail(fails...)
			s.lease(10 * time.Second)
			time.Sleep(ttl)
			select {
			case err := <-s.ended:
				if !errors.Is(err, fails[0]) || s.Open() {
					t.Errorf("%s: ended with %v, open %t", name, err, s.Open())
				}
			default:
				t.Errorf("%s: goes on", name)
				s.stop()
				if err := <-s.ended; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// turn is one step of a random history.
type turn struct {
	what int // 0: leave to open changes, 1: the next call is held up, 2: repaired, else: acknowledged
	by   time.Duration
	wait time.Duration
}

// Whatever the lease does, whatever is held up: the gate is open only after it
// may and never beyond the lease that was known when it was opened; and with a
// lease for a while, and leave to open, it is open.
func TestKeeperKeepsWithinTheLease(t *testing.T) {
	opened, late := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		turns := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) turn {
			return turn{
				rapid.IntRange(0, 5).Draw(rt, "what"), time.Duration(rapid.IntRange(0, 299).Draw(rt, "by")) * ms,
				time.Duration(rapid.IntRange(0, 200).Draw(rt, "wait")) * ms,
			}
		}), 1, 40).Draw(rt, "turns")
		var wrong error
		synctest.Test(t, func(*testing.T) {
			s := newStand(300 * ms)
			wrong = s.live(turns)
			n, refused, _ := s.valve.counts()
			opened += n
			late += refused
			s.stop()
			if err := <-s.ended; err != nil {
				wrong = err
			}
		})
		if wrong != nil {
			rt.Fatal(wrong)
		}
	})
	if opened == 0 || late == 0 {
		t.Errorf("%d openings, %d late ones: nothing was tried", opened, late)
	}
}

// live goes through a history and says what went wrong in it.
func (s *stand) live(turns []turn) (wrong error) {
	s.valve.mu.Lock()
	s.valve.opened = func(end time.Time) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if end.After(s.ends) {
			wrong = fmt.Errorf("open %s beyond the lease", end.Sub(s.ends))
		}
		if !s.valve.live && !s.granted {
			wrong = errors.New("opened without leave")
		}
		s.granted = false
	}
	s.valve.mu.Unlock()
	may := true
	for _, turn := range turns {
		switch turn.what {
		case 0:
			may = !may
			s.leave(may)
			s.Wake()
		case 1:
			s.valve.mu.Lock()
			s.valve.hold = turn.by / 10
			s.valve.mu.Unlock()
		case 2:
			_ = s.valve.Shut()
			s.valve.changed <- struct{}{}
		default: // the lease never gets shorter
			s.mu.Lock()
			if end := time.Now().Add(turn.by); end.After(s.ends) {
				s.ends = end
			}
			s.mu.Unlock()
			s.Wake()
		}
		time.Sleep(turn.wait)
		synctest.Wait()
	}
	s.leave(true)
	s.valve.mu.Lock()
	s.valve.hold = 0
	s.valve.mu.Unlock()
	time.Sleep(40 * ms)
	s.lease(299 * ms)
	if !s.Open() && wrong == nil {
		wrong = errors.New("shut with a lease")
	}
	return wrong
}
