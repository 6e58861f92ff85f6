package enroll

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

// log is a Node and a Registrar that a test drives.
type log struct {
	mu      sync.Mutex
	at      fsm.Index
	known   bool
	moved   chan struct{}
	changed chan struct{}

	due     bool // a registration is
	settle  bool
	asked   int
	sent    []fsm.Command
	fails   error
	refuses string
	lag     time.Duration // until what is committed is read
	shown   int
}

func newLog() *log { return &log{moved: make(chan struct{}), changed: make(chan struct{})} }

func (l *log) View() (*fsm.State, fsm.Index) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fsm.New(), l.at
}

func (l *log) Changed(after fsm.Index) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at > after {
		done := make(chan struct{})
		close(done)
		return done
	}
	return l.changed
}

func (l *log) Leads() (bool, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known, l.moved
}

func (l *log) Propose(_ context.Context, c fsm.Command) (fsm.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = append(l.sent, c)
	if l.fails != nil {
		return fsm.Result{}, l.fails
	}
	if l.refuses != "" {
		return fsm.Result{Why: l.refuses}, nil
	}
	epoch := l.at + 1
	time.AfterFunc(l.lag, func() { l.read(epoch) })
	return fsm.Result{Applied: true, Epoch: fsm.Epoch(epoch)}, nil
}

func (l *log) read(at fsm.Index) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = at
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *log) Register() (fsm.Register, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	return fsm.Register{Member: "n1", Nonce: fsm.Nonce{1}}, l.due
}

func (l *log) Settled() (fsm.Settle, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fsm.Settle{Member: "n1", Epoch: 1}, l.settle
}

// show is what has the Registrar ask for no more.
func (l *log) show() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown++
	if l.at > 0 && l.due {
		l.due, l.settle = false, true
	} else {
		l.settle = false
	}
}

func (l *log) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func (l *log) lead(known bool) {
	l.change(func() {
		l.known = known
		close(l.moved)
		l.moved = make(chan struct{})
	})
}

func (l *log) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sent)
}

func (l *log) shows() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shown
}

func (l *log) isDue() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.due
}

func loop(t *testing.T, f func(*log, chan struct{})) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l, news := newLog(), make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			e := Loop{Node: l, Registrar: l, Show: l.show, Wake: news, Log: zerolog.Nop()}
			e.Run(ctx)
		})
		f(l, news)
		cancel()
		running.Wait()
	})
}

// Nothing is asked for before a leader is known; then the registration, and once that
// is read, and not sooner, what is due next.
func TestLoop(t *testing.T) {
	loop(t, func(l *log, news chan struct{}) {
		l.change(func() { l.due, l.lag = true, 30*time.Millisecond })
		time.Sleep(10 * time.Second)
		l.change(func() {
			if l.asked != 0 {
				t.Error("asked without a leader")
			}
		})
		l.lead(true)
		synctest.Wait()
		if l.count() != 1 || l.shows() != 0 {
			t.Errorf("%d sent, %d shown", l.count(), l.shows())
		}
		time.Sleep(30 * time.Millisecond)
		synctest.Wait()
		if l.count() != 2 || l.shows() != 1 {
			t.Errorf("once it is read: %d sent, %d shown", l.count(), l.shows())
		}
		time.Sleep(30 * time.Millisecond)
		synctest.Wait()
		if l.count() != 2 || l.shows() != 2 {
			t.Errorf("settled: %d sent, %d shown", l.count(), l.shows())
		}
		if reg, ok := l.sent[0].(fsm.Register); !ok || reg.At == 0 {
			t.Errorf("first %+v", l.sent[0])
		}
		l.change(func() { l.due = true })
		news <- struct{}{}
		synctest.Wait()
		if l.count() != 3 {
			t.Error("not woken")
		}
	})
}

// What fails is sent again, ever later, and at once when another leads.
func TestLoopRetries(t *testing.T) {
	for _, fail := range []func(*log){
		func(l *log) { l.fails = errors.New("lost") },
		func(l *log) { l.refuses = "no" },
	} {
		loop(t, func(l *log, news chan struct{}) {
			l.change(func() { l.due = true; fail(l) })
			l.lead(true)
			time.Sleep(340 * time.Millisecond) // at 0, 50, 150
			news <- struct{}{}                 // changes nothing
			synctest.Wait()
			if l.count() != 3 {
				t.Errorf("%d sent", l.count())
			}
			l.lead(true)
			synctest.Wait()
			if l.count() != 4 {
				t.Errorf("%d sent after another leads", l.count())
			}
			time.Sleep(time.Minute)
			if n := l.count(); n < 60 || n > 66 {
				t.Errorf("%d sent in a minute", n)
			}
			l.change(func() { l.fails, l.refuses = nil, "" })
			time.Sleep(time.Second)
			if l.isDue() {
				t.Error("not sent when it would go well")
			}
		})
	}
}

// A committed registration that is not read is asked for again after a while: it may be
// gone.
func TestLoopDoesNotWaitForEver(t *testing.T) {
	loop(t, func(l *log, _ chan struct{}) {
		l.change(func() { l.due, l.lag = true, time.Hour })
		l.lead(true)
		time.Sleep(timeout + retryFirst + time.Millisecond)
		if l.count() != 2 {
			t.Errorf("%d sent", l.count())
		}
	})
}
