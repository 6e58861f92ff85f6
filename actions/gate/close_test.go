package gate

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// With nobody alive the gate shuts by itself, never after the lease. The control
// answers on.
func TestClosesByItself(t *testing.T) {
	w := newWorld(t)
	trials := 10
	if testing.Short() {
		trials = 4
	}
	least, void := time.Duration(1<<62), 0
	for i := 0; i < trials; {
		lease := time.Duration(60+23*i) * time.Millisecond
		g, err := Open(Config{Name: "flip-test"}, gated)
		must(t, err)
		p := w.udp("UDP", gated4, control4, echoPort)
		if i%2 == 1 {
			p = w.udp("UDP", gated6, control6, echoPort)
		}
		p.settle(t)
		var end time.Time
		err = g.Renew(func() (time.Duration, bool) {
			end = time.Now().Add(lease)
			return lease, true
		})
		must(t, g.Close()) // nobody is left to shut it
		last, answers := lastAnswer(t, p, end.Add(40*time.Millisecond))
		early := end.Sub(last)
		if answers > 0 && early < 0 {
			t.Errorf("lease of %s: answered %s after its end", lease, -early)
		}
		if err != nil || answers == 0 { // this thread was held up
			if void++; void > 10 {
				t.Fatalf("lease of %s: never answered: %v", lease, err)
			}
			continue
		}
		i++
		least = min(least, early)
		t.Logf("lease %s: last answer %s before its end, %d in all", lease, early.Round(10*time.Microsecond), answers)
	}
	t.Logf("nearest to a lease's end: %s before it; %d trials void", least.Round(10*time.Microsecond), void)
}

// lastAnswer asks without pause until a time and says when the gated address was
// last heard. The control must be heard at the end.
func lastAnswer(t *testing.T, p *probe, until time.Time) (last time.Time, answers int) {
	t.Helper()
	for time.Now().Before(until) {
		p.send(t, p.gated)
		p.send(t, p.beside)
		for {
			a, ok := p.receive(t, patience)
			if !ok {
				t.Fatal("the control does not answer")
			}
			if a == p.beside {
				break
			}
			last = p.at // not now: this thread may have been held up
			answers++
		}
	}
	return last, answers
}

// A renewal loses nothing that goes through the gate.
func TestRenewalLosesNothing(t *testing.T) {
	w := newWorld(t)
	g := w.gate(options{}, gated...)
	opened(t, g)
	p := w.udp("UDP", gated4, control4, echoPort)
	p.settle(t)
	stop, renewed := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { renewed <- n }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			err := g.Renew(func() (time.Duration, bool) { return 30 * time.Second, true })
			if err != nil && !errors.Is(err, ErrLapsed) { // held up by others on this machine
				t.Error(err)
				return
			}
			n++
		}
	}()
	lost, sent := 0, 0
	for began := time.Now(); time.Since(began) < 300*time.Millisecond; sent++ {
		if !p.answers(t) {
			lost++
		}
	}
	close(stop)
	n := <-renewed
	if lost > 0 || n < 50 {
		t.Errorf("%d of %d lost in %d renewals", lost, sent, n)
	}
	t.Logf("none of %d lost in %d renewals", sent, n)
}

// A gate that takes the place of another's tables lets nothing through between
// them.
func TestTakeoverHasNoGap(t *testing.T) {
	w := newWorld(t)
	g, err := Open(Config{Name: "flip-test"}, gated)
	must(t, err)
	p := w.udp("UDP", gated4, control4, echoPort)
	p.settle(t)
	stop, taken := make(chan struct{}), make(chan error)
	go func() { // another thread: it must be in the host's namespace
		taken <- inHost(w.host, func() error {
			for {
				select {
				case <-stop:
					return g.Close()
				default:
				}
				if err := g.Close(); err != nil {
					return err
				}
				var err error
				if g, err = Open(Config{Name: "flip-test"}, gated); err != nil {
					return err
				}
			}
		})
	}()
	asked := 0
	for began := time.Now(); time.Since(began) < 300*time.Millisecond; asked++ {
		if p.answers(t) {
			t.Fatal("answered between the old tables and the new")
		}
	}
	close(stop)
	must(t, <-taken)
	t.Logf("asked %d times", asked)
}

// inHost runs f on a thread of its own in a namespace; it dies with the goroutine.
func inHost(ns int, f func() error) error {
	runtime.LockOSThread()
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return err
	}
	return f()
}
