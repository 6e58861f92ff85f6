package udp

import (
	"math"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// One direction loses a third of what is sent, the other nothing: each side sees
// what it can know.
func TestLossAndRoundTrip(t *testing.T) {
	inBubble(t, two, func(t *testing.T, c *cluster) {
		c.pass(3 * time.Second)
		if p := c.peer("n1", "n2"); p.Loss != 0 || p.LossFrom != 0 || p.RTT != 2*time.Millisecond || p.RTTMin != p.RTT {
			t.Errorf("nothing is lost: %+v", p)
		}
		n := 0
		c.change(func() {
			c.wire.cut = func(from, _ netip.AddrPort) bool {
				if from != keyOf(c.addrs["n1"]) {
					return false
				}
				n++
				return n%3 == 0
			}
		})
		c.pass(12 * time.Second)
		// n2's heartbeats arrive; a third of n1's answers does not.
		for _, want := range []struct {
			from, to       fsm.MemberID
			loss, lossFrom float64
		}{{"n1", "n2", 0.33, 0}, {"n2", "n1", 0.33, 0.33}} {
			p := c.peer(want.from, want.to)
			if math.Abs(p.Loss-want.loss) > 0.08 || math.Abs(p.LossFrom-want.lossFrom) > 0.08 {
				t.Errorf("%s of %s: loss %.2f, from it %.2f", want.from, want.to, p.Loss, p.LossFrom)
			}
		}
		c.nodes["n2"].stop()
		c.pass(12 * time.Second)
		if p := c.peer("n1", "n2"); p.LossFrom != -1 || p.RTT != 0 {
			t.Errorf("silent for long, and yet %+v", p)
		}
	})
}

func TestArrivals(t *testing.T) {
	one, two := fsm.Nonce{1}, fsm.Nonce{2}
	for name, test := range map[string]struct {
		come func(a *arrivals)
		want float64
	}{
		"nothing":            {func(*arrivals) {}, -1},
		"too few":            {func(a *arrivals) { a.add(one, 1, 0); a.add(one, 2, 0) }, -1},
		"does not count":     {func(a *arrivals) { run(a, one, 0, 0, 0, 0, 0, 0, 0) }, -1},
		"all":                {func(a *arrivals) { run(a, one, 7, 8, 9, 10) }, 0},
		"in disorder":        {func(a *arrivals) { run(a, one, 7, 9, 8, 10) }, 0},
		"one of five":        {func(a *arrivals) { run(a, one, 7, 8, 10, 11) }, 0.2},
		"another process":    {func(a *arrivals) { run(a, one, 1, 9, 20); run(a, two, 1, 2, 3, 4) }, 0},
		"a number far ahead": {func(a *arrivals) { run(a, one, 1, 2, 1<<60, 1<<60+1, 1<<60+2, 1<<60+3) }, 0},
		"over two spans": {func(a *arrivals) {
			run(a, one, 1, 2, 3)
			a.add(one, 5, span)
			a.add(one, 4, span) // late, of the span that began with it
			a.add(one, 8, span)
		}, 0.25},
		"late, of the span before": {func(a *arrivals) {
			run(a, one, 1, 3)
			a.add(one, 4, span)
			a.add(one, 2, span)
		}, 0},
	} {
		a := &arrivals{}
		test.come(a)
		if got := a.loss(span); math.Abs(got-test.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func run(a *arrivals, process fsm.Nonce, seqs ...uint64) {
	for _, s := range seqs {
		a.add(process, s, 0)
	}
}

func TestEchoes(t *testing.T) {
	e := &echoes{}
	for i := range 300 { // 30 s at 100 ms; each tenth is not answered
		at := time.Duration(i) * 100 * time.Millisecond
		e.add(at)
		e.add(at)
		if i%10 != 0 {
			e.answered(at, at+time.Duration(1+i%5)*time.Millisecond)
			e.answered(at, at+time.Hour)
		}
		e.answered(at+1, at+2) // never sent
	}
	median, least, loss := e.measured(30 * time.Second)
	if median != 3*time.Millisecond || least != time.Millisecond || math.Abs(loss-0.1) > 0.02 {
		t.Errorf("%v %v %v", median, least, loss)
	}
	if n := len(e.before) + len(e.present); n > 101 {
		t.Errorf("%d are kept", n)
	}
	if median, _, loss := e.measured(time.Minute); median != 0 || loss != -1 {
		t.Errorf("long ago, and yet %v %v", median, loss)
	}
}

// A process that is held up says by how much, and one that is not says nothing
// worth a word.
func TestLateIsMeasured(t *testing.T) {
	var late atomic.Int64
	inBubble(t, two, func(t *testing.T, c *cluster) {
		n1 := c.nodes["n1"]
		n1.mu.Lock()
		n1.cfg.Measure.Late = func(d time.Duration) { late.Store(max(late.Load(), int64(d))) }
		n1.mu.Unlock()
		c.pass(3 * time.Second)
		if most := time.Duration(late.Load()); most > time.Millisecond {
			t.Errorf("nothing held it up, and it was %v late", most)
		}
		n1.mu.Lock() // the machine sleeps
		clock := n1.cfg.Clock
		n1.cfg.Clock = func() time.Duration { return clock() + beat + 120*time.Millisecond }
		n1.mu.Unlock()
		c.pass(beat)
		if most := time.Duration(late.Load()); most < 120*time.Millisecond || most > beat+120*time.Millisecond {
			t.Errorf("it was %v late", most)
		}
	})
}
