package actions

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

// addresses is a driver like the one for addresses: it keeps its permits, is told
// of what is held on, and knows what is unfit.
type addresses struct {
	fakeDriver
	x *Executor

	own     sync.Mutex // held while it calls Recheck, and asked for under the executor's lock
	permits map[fsm.Key]func() error
	adopted []string
	carrier map[fsm.Key]bool // lost
	changes atomic.Int32
}

func (d *addresses) Acquire(ctx context.Context, job fsm.Job) error {
	d.own.Lock()
	d.permits[job.Key] = Permit(ctx)
	d.own.Unlock()
	return d.fakeDriver.Acquire(ctx, job)
}

func (d *addresses) Adopted(job fsm.Job) {
	d.x.Status() // no lock is held
	d.own.Lock()
	defer d.own.Unlock()
	d.adopted = append(d.adopted, string(job.Item))
	if err := d.permits[job.Key](); err != nil {
		d.adopted = append(d.adopted, err.Error())
	}
}

func (d *addresses) unfit(job *fsm.Job) string {
	d.own.Lock()
	defer d.own.Unlock()
	if d.carrier[job.Key] {
		return "no carrier on eth0"
	}
	return ""
}

// lose takes a carrier away, or gives it back.
func (d *addresses) lose(k fsm.Key, lost bool) {
	d.own.Lock()
	defer d.own.Unlock()
	d.carrier[k] = lost
	d.x.Recheck()
}

func (d *addresses) heard() []string {
	d.own.Lock()
	defer d.own.Unlock()
	return slices.Clone(d.adopted)
}

func (d *addresses) permitted(k fsm.Key) error {
	d.own.Lock()
	defer d.own.Unlock()
	return d.permits[k]()
}

// newAddressBench is a bench whose items of ActionIP have a driver of their own.
func newAddressBench(t *testing.T) (*bench, *addresses) {
	b := newBench(t)
	b.end() // another Executor takes its place
	d := &addresses{
		fakeDriver: fakeDriver{up: map[fsm.Key]bool{}, takes: time.Millisecond, begun: time.Now()},
		permits:    map[fsm.Key]func() error{}, carrier: map[fsm.Key]bool{},
	}
	b.Executor = New(Config{
		Core:    CoreConfig{Self: "n1", Machine: "m1", Unfit: d.unfit, MaxParallel: 1},
		Drivers: map[fsm.Action]Driver{fsm.ActionHooks: b.driver, fsm.ActionIP: d},
		Changed: func() {
			d.x.Clear() // no lock is held
			d.changes.Add(1)
		},
		Log: zerolog.New(b.log),
	})
	d.x = b.Executor
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, b.report) }()
	b.end = sync.OnceFunc(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return b, d
}

func address1(name string, token fsm.Token) fsm.Job {
	j := item(name, token, true)
	j.Action, j.Alive, j.Down, j.Gated, j.IP = fsm.ActionIP, "", "", true, &fsm.IP{}
	return j
}

func TestExecutorPicksTheDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newAddressBench(t)
		defer b.end()
		b.grant(time.Hour)
		odd := item("odd", 7, false)
		odd.Action = 99
		b.set(10, address1("a", 7), item("h", 7, false), odd)
		time.Sleep(time.Second)
		b.wantCalls("0s acquire h@7")
		if calls := d.took(); !slices.Equal(calls, []string{"0s acquire a@7"}) {
			t.Errorf("addresses: %q", calls)
		}
		contains(t, b.log.String(), "no driver for this action")
	})
}

// However many addresses there are, their driver gets them all at once.
func TestExecutorBatchesAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newAddressBench(t)
		defer b.end()
		b.grant(333 * time.Millisecond)
		var jobs []fsm.Job
		for i := range 100 {
			jobs = append(jobs, address1(string(rune('A'+i)), 7))
		}
		b.set(10, jobs...)
		time.Sleep(time.Second)
		calls := d.took()
		if len(calls) != 200 {
			t.Fatalf("%d calls, want 200", len(calls))
		}
		for i, c := range calls {
			if at := []string{"0s acquire ", "333ms release "}[i/100]; !strings.HasPrefix(c, at) {
				t.Fatalf("call %d is %q, want %q", i, c, at)
			}
		}
	})
}

func TestExecutorTellsOfWhatIsHeldOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newAddressBench(t)
		defer b.end()
		b.grant(time.Hour)
		a := address1("a", 7)
		b.set(10, a)
		time.Sleep(10 * time.Millisecond)
		first := time.Now().Add(time.Second)
		b.Set(fsm.Slice{At: 11, Epoch: 5, Want: []fsm.Job{a}}, func() (time.Duration, bool) {
			return time.Until(first), time.Now().Before(first)
		})
		time.Sleep(500 * time.Millisecond)
		if got := d.heard(); len(got) != 0 {
			t.Errorf("nothing is new, and told of %q", got)
		}
		// Another epoch, another lease, the same token: the permit follows.
		b.Set(fsm.Slice{At: 20, Epoch: 19, Want: []fsm.Job{a}}, b.lease)
		time.Sleep(time.Second)
		if got := d.heard(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("told of %q", got)
		}
		b.Set(fsm.Slice{At: 21, Epoch: 19, Want: []fsm.Job{address1("a", 21)}}, b.lease)
		time.Sleep(time.Second)
		if got := d.heard(); !slices.Equal(got, []string{"a", "a"}) {
			t.Errorf("told of %q", got)
		}
		if err := d.permitted(a.Key); err != nil {
			t.Errorf("held on under a lease that runs: %v", err)
		}
		b.grant(0)
		if err := d.permitted(a.Key); !errors.Is(err, errLeaseOver) {
			t.Errorf("the newer lease is over: %v", err)
		}
		if calls := d.took(); len(calls) != 1 {
			t.Errorf("calls %q", calls)
		}
	})
}

// What an item's announcer keeps of its Acquire ends when a release begins, not
// when it has ended.
func TestExecutorTakesThePermitBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newAddressBench(t)
		defer b.end()
		b.grant(time.Hour)
		a := address1("a", 7)
		b.set(10, a)
		time.Sleep(10 * time.Millisecond)
		if err := d.permitted(a.Key); err != nil {
			t.Error(err)
		}
		d.mu.Lock()
		d.takes = time.Second
		d.mu.Unlock()
		b.set(11)
		synctest.Wait()
		if err := d.permitted(a.Key); !errors.Is(err, errUnwanted) {
			t.Errorf("it is being released: %v", err)
		}
		// Neither may an acquire that was cancelled and has not noticed.
		b.set(12, a)
		time.Sleep(1500 * time.Millisecond)
		b.set(13)
		synctest.Wait()
		if err := d.permitted(a.Key); !errors.Is(err, errUnwanted) {
			t.Errorf("it was cancelled: %v", err)
		}
	})
}

func TestExecutorRechecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newAddressBench(t)
		defer b.end()
		b.grant(time.Hour)
		a := address1("a", 7)
		b.set(10, a)
		time.Sleep(10 * time.Millisecond)
		b.told()
		d.lose(a.Key, true)
		synctest.Wait()
		r := b.told()
		if len(r) != 1 || len(r[0].Failed) != 1 || r[0].Failed[0].Err != "no carrier on eth0" {
			t.Fatalf("reported %+v", r)
		}
		time.Sleep(10 * time.Millisecond)
		if up := d.holds(); len(up) != 0 {
			t.Errorf("up without a carrier: %v", up)
		}
		if st := b.Status(); len(st) != 1 || st[0].Phase != PhaseFailed || st[0].Why != "no carrier on eth0" {
			t.Errorf("%+v", st)
		}
		b.Set(fsm.Slice{At: 11, Epoch: 5, Failed: []fsm.Job{a}}, b.lease)
		b.told()
		d.lose(a.Key, false)
		synctest.Wait()
		if r = b.told(); len(r) == 0 || !slices.Equal(r[len(r)-1].Mended, []fsm.Key{a.Key}) {
			t.Errorf("reported %+v", r)
		}
		b.set(12)
		synctest.Wait()
		b.told()
		time.Sleep(time.Second)
		if r = b.told(); len(r) != 0 {
			t.Errorf("the log knows, and still %+v", r)
		}
	})
}

func TestExecutorSaysWhenTheGateMayOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d := newAddressBench(t)
		defer b.end()
		if e, ok := b.Clear(); e != 0 || ok {
			t.Errorf("before any slice: %d, %v", e, ok)
		}
		b.grant(time.Hour)
		b.set(10, address1("a", 7))
		if e, ok := b.Clear(); e != 5 || !ok {
			t.Errorf("nothing is up: %d, %v", e, ok)
		}
		time.Sleep(10 * time.Millisecond)
		d.mu.Lock()
		d.takes = time.Second
		d.mu.Unlock()
		// The lease lapses, another epoch begins: what it may not hold is going.
		b.grant(0)
		b.Wake()
		synctest.Wait()
		before := d.changes.Load()
		b.grant(time.Hour)
		b.Set(fsm.Slice{At: 20, Epoch: 20}, b.lease)
		if e, ok := b.Clear(); e != 20 || ok {
			t.Errorf("it is still being released: %d, %v", e, ok)
		}
		time.Sleep(2 * time.Second)
		if e, ok := b.Clear(); e != 20 || !ok || d.changes.Load() == before {
			t.Errorf("it is gone: %d, %v; told %d times", e, ok, d.changes.Load()-before)
		}
	})
}

// Done queues: what was decided under a lease that is over by now is decided
// again, under the one of the next Step.
func TestCoreDecidesInStep(t *testing.T) {
	var notes []string
	c := NewCore(CoreConfig{Self: "n1", Note: func(_ fsm.Key, _ fsm.Token, text string) { notes = append(notes, text) }})
	c.Set(fsm.Slice{At: 10, Epoch: 5, Want: []fsm.Job{item("a", 7, true)}})
	start, _, _ := c.Step(0, true)
	c.Set(fsm.Slice{At: 20, Epoch: 5, Want: []fsm.Job{item("a", 20, true)}})
	c.Step(time.Second, true)
	c.Done(2*time.Second, start[0], nil)
	if r := c.Report(); len(r.Acquired) != 0 || len(notes) != 0 {
		t.Errorf("decided outside Step: %+v, %q", r, notes)
	}
	start, _, _ = c.Step(3*time.Second, false)
	if r := c.Report(); len(r.Acquired) != 0 || len(start) != 1 || start[0].Kind != Release {
		t.Errorf("without a lease: %+v, started %v", r, start)
	}
}
