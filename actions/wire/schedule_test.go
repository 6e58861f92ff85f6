package wire

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestNext(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct{ since, want time.Duration }{
		{-1, 0},
		{0, 100 * ms},
		{99 * ms, 100 * ms},
		{100 * ms, 300 * ms},
		{300 * ms, 1100 * ms},
		{1100 * ms, 2000 * ms},
		{2 * time.Second, 4 * time.Second},
		{4*time.Second - 1, 4 * time.Second},
		{4 * time.Second, 64 * time.Second},
		{63 * time.Second, 64 * time.Second},
		{64 * time.Second, 124 * time.Second},
		{24 * time.Hour, 24*time.Hour + 4*time.Second},
	} {
		if got := Next(test.since); got != test.want {
			t.Errorf("after %s: %s, want %s", test.since, got, test.want)
		}
	}
}

func TestProbeRounds(t *testing.T) {
	const ms = time.Millisecond
	for n, want := range []time.Duration{0, 2 * ms, 50 * ms, 200 * ms, 500 * ms, 1000 * ms, 1500 * ms} {
		if got := roundDue(n); got != want {
			t.Errorf("round %d: %s, want %s", n, got, want)
		}
	}
}

func TestFrames(t *testing.T) {
	for addr, want := range map[string]int{"10.0.0.1": 2, "::ffff:10.0.0.1": 2, "fd00::1": 1} {
		if got := Frames(addrOf(addr)); got != want {
			t.Errorf("%s: %d", addr, got)
		}
	}
}

// Few addresses never wait; many take as long as their number says.
func TestPacer(t *testing.T) {
	now := time.Unix(1000, 0)
	var p Pacer
	if granted, wait := p.Take(now, burst); granted != burst || wait != 0 {
		t.Fatal(granted, wait)
	}
	if granted, wait := p.Take(now, 1); granted != 0 || wait != 2*time.Millisecond {
		t.Fatal(granted, wait)
	}
	var many Pacer
	start, left := now, 2000
	for left > 0 {
		granted, wait := many.Take(now, left)
		left -= granted
		now = now.Add(wait)
		if granted == 0 && wait == 0 {
			t.Fatal("no frame and no time to wait")
		}
	}
	if took := now.Sub(start); took != 3900*time.Millisecond { // the first 50 at once
		t.Errorf("2,000 frames took %s", took)
	}
}

// Never more than a burst and what the time allows since any grant before; and
// whoever waits as told gets something.
func TestPacerNeverExceedsItsRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type grant struct {
			at     time.Time
			frames int
		}
		var p Pacer
		var log []grant
		now := time.Unix(rapid.Int64Range(0, 2e9).Draw(t, "start"), 0)
		promised := false
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			want := rapid.IntRange(0, 200).Draw(t, "want")
			granted, wait := p.Take(now, want)
			if granted > want || granted < 0 || wait < 0 || (granted < want) != (wait > 0) {
				t.Fatalf("want %d: %d, %s", want, granted, wait)
			}
			if promised && want > 0 && granted == 0 {
				t.Fatal("waited as told, in vain")
			}
			log = append(log, grant{now, granted})
			sum := 0
			for i := len(log) - 1; i >= 0; i-- {
				sum += log[i].frames
				if allowed := burst + int(now.Sub(log[i].at)*PerSecond/time.Second); sum > allowed {
					t.Fatalf("%d frames in %s", sum, now.Sub(log[i].at))
				}
			}
			promised = wait > 0 && rapid.Bool().Draw(t, "patient")
			if !promised {
				wait = time.Duration(rapid.Int64Range(0, int64(200*time.Millisecond)).Draw(t, "pause"))
			}
			now = now.Add(wait)
		}
	})
}

// A clock that was set back by an hour costs a burst, not an hour.
func TestPacerWithAClockSetBack(t *testing.T) {
	var p Pacer
	now := time.Unix(100_000, 0)
	p.Take(now, burst)
	now = now.Add(-time.Hour)
	if _, wait := p.Take(now, 1); wait > 100*time.Millisecond {
		t.Fatal(wait)
	}
}
