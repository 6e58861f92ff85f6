package actions

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

// fakeDriver takes as long, and fails as often, as a test says.
type fakeDriver struct {
	mu    sync.Mutex
	calls []string
	up    map[fsm.Key]bool
	takes time.Duration
	fails func(kind Kind, job fsm.Job) error // nil: never
	begun time.Time
}

func (d *fakeDriver) Acquire(ctx context.Context, job fsm.Job) error { return d.do(ctx, Acquire, job) }

func (d *fakeDriver) Release(ctx context.Context, job fsm.Job) error { return d.do(ctx, Release, job) }

func (d *fakeDriver) do(ctx context.Context, kind Kind, job fsm.Job) error {
	d.mu.Lock()
	d.calls = append(d.calls, fmt.Sprintf("%v %v %s@%d", time.Since(d.begun), kind, job.Item, job.Token))
	takes := d.takes
	d.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fails != nil {
		if err := d.fails(kind, job); err != nil {
			return err
		}
	}
	d.up[job.Key] = kind == Acquire
	return nil
}

func (d *fakeDriver) failing(fails func(Kind, fsm.Job) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fails = fails
}

func (d *fakeDriver) took() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	calls := d.calls
	d.calls = nil
	return calls
}

func (d *fakeDriver) holds() []fsm.Key {
	d.mu.Lock()
	defer d.mu.Unlock()
	var keys []fsm.Key
	for k, up := range d.up {
		if up {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, fsm.Key.Compare)
	return keys
}

// bench is an Executor in a bubble, with its log of reports.
type bench struct {
	*Executor
	t      *testing.T
	driver *fakeDriver
	log    *syncBuffer
	end    func()

	mu      sync.Mutex
	reports []fsm.Report
	refuse  error
	until   time.Time // of the lease
}

func newBench(t *testing.T) *bench {
	d := &fakeDriver{up: map[fsm.Key]bool{}, takes: 20 * time.Millisecond, begun: time.Now()}
	b := &bench{t: t, driver: d, log: &syncBuffer{}}
	b.Executor = New(Config{
		Core:    CoreConfig{Self: "n1", Machine: "m1"},
		Drivers: map[fsm.Action]Driver{fsm.ActionHooks: d}, Log: zerolog.New(b.log),
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, b.report) }()
	b.end = sync.OnceFunc(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bench) report(_ context.Context, r fsm.Report) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reports = append(b.reports, r)
	return b.refuse
}

func (b *bench) told() []fsm.Report {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.reports
	b.reports = nil
	return r
}

func (b *bench) refusing(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuse = err
}

// lease makes the lease run for a time from now; the executor is not told.
func (b *bench) grant(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until = time.Now().Add(d)
}

func (b *bench) lease() (time.Duration, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	left := time.Until(b.until)
	return left, left > 0
}

func (b *bench) set(at fsm.Index, jobs ...fsm.Job) {
	b.Set(fsm.Slice{At: at, Epoch: 5, Want: jobs}, b.lease)
}

func item(name string, token fsm.Token, most bool) fsm.Job {
	return fsm.Job{Key: fsm.Key{System: "s", Item: fsm.ItemID(name)}, Token: token, AtMostOne: most, Action: fsm.ActionHooks, Alive: "up", Down: "down"}
}

func (b *bench) wantCalls(want ...string) {
	b.t.Helper()
	if got := b.driver.took(); !slices.Equal(got, want) {
		b.t.Errorf("calls\n %s\nwant\n %s", strings.Join(got, "\n "), strings.Join(want, "\n "))
	}
}

func TestExecutorAcquiresAndReportsUntilSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.end()
		b.set(10, item("a", 7, false))
		time.Sleep(19 * time.Millisecond)
		if r := b.told(); len(r) != 0 {
			t.Errorf("reported before it is true: %v", r)
		}
		time.Sleep(10 * time.Millisecond)
		if r := b.told(); len(r) != 1 || len(r[0].Acquired) != 1 || r[0].Member != "n1" || r[0].Epoch != 5 {
			t.Errorf("want one report at once, got %v", r)
		}
		b.refusing(errors.New("no leader"))
		time.Sleep(time.Second)
		if n := len(b.told()); n != 10 {
			t.Errorf("repeated %d times in 1 s, want 10: each interval, failing or not", n)
		}
		seen := item("a", 7, false)
		seen.Reported = true
		b.set(11, seen)
		time.Sleep(time.Second)
		if r := b.told(); len(r) != 0 {
			t.Errorf("the log shows it, and still: %v", r)
		}
		b.wantCalls("0s acquire a@7")
		contains(t, b.log.String(), `"system":"s","item":"a","token":7,"reason":"","message":"acquiring"`, `"ms":20,"message":"acquired"`)
		if n := strings.Count(b.log.String(), "report not delivered"); n != 1 {
			t.Errorf("%d lines about failing reports, want 1", n)
		}
	})
}

func TestExecutorReleasesAtTheLeasesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.end()
		b.grant(333 * time.Millisecond)
		b.set(10, item("a", 7, true))
		time.Sleep(300 * time.Millisecond)
		b.grant(300 * time.Millisecond) // renewed: nobody tells the executor
		time.Sleep(time.Second)
		b.wantCalls("0s acquire a@7", "600ms release a@7")
		b.grant(time.Minute) // begun anew, and nobody says so either
		time.Sleep(time.Second)
		if calls := b.driver.took(); len(calls) != 1 || !strings.HasSuffix(calls[0], "acquire a@7") {
			t.Errorf("got %v", calls)
		}
	})
}

func TestExecutorCancelsWhatNobodyWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.end()
		b.driver.takes = time.Minute
		b.set(10, item("a", 7, false))
		time.Sleep(time.Second)
		b.set(11)
		time.Sleep(time.Second)
		b.wantCalls("0s acquire a@7", "1s release a@7")
		contains(t, b.log.String(), "cancelling the acquire", "acquire cancelled")
		if strings.Contains(b.log.String(), `"level":"error"`) {
			t.Errorf("a cancelled acquire is no error:\n%s", b.log)
		}
	})
}

func TestExecutorDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.end()
		b.driver.takes = time.Hour
		job := item("a", 7, false)
		job.StartTimeout, job.StopTimeout = 3*time.Second, 2*time.Second
		b.set(10, job)
		time.Sleep(9 * time.Second)
		// 3 s alive, 2 s down; alive is due again 1 s after it failed.
		b.wantCalls("0s acquire a@7", "3s release a@7", "5s acquire a@7", "8s release a@7")
		contains(t, b.log.String(), "failed to acquire", "failed to release", "deadline exceeded")
	})
}

func TestExecutorRetriesAndReportsFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.end()
		b.driver.takes = 0
		b.driver.failing(func(kind Kind, _ fsm.Job) error {
			if kind == Acquire {
				return errors.New("no such device")
			}
			return nil
		})
		b.set(10, item("a", 7, false))
		time.Sleep(2900 * time.Millisecond)
		if r := b.told(); len(r) != 0 {
			t.Errorf("reported too early: %v", r)
		}
		time.Sleep(200 * time.Millisecond)
		r := b.told()
		if len(r) == 0 || len(r[0].Failed) != 1 || r[0].Failed[0].Err != "no such device" {
			t.Fatalf("got %v", r)
		}
		b.wantCalls("0s acquire a@7", "0s release a@7", "1s acquire a@7", "1s release a@7", "3s acquire a@7", "3s release a@7")
		st := b.Status()
		if len(st) != 1 || st[0].Phase != PhaseFailed || st[0].Err != "no such device" || st[0].Fails != 3 || st[0].Retry != 33*time.Second {
			t.Errorf("status %+v", st)
		}
	})
}

func TestExecutorReleasesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.end()
		b.grant(time.Hour)
		b.set(10, item("a", 7, true), item("b", 7, false), item("c", 7, true))
		time.Sleep(time.Second)
		b.driver.failing(func(kind Kind, job fsm.Job) error {
			if kind == Release && job.Item == "c" {
				return errors.New("busy")
			}
			return nil
		})
		ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer stop()
		err := b.ReleaseAll(ctx, false)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.HasSuffix(err.Error(), "not released: s/c (busy)") {
			t.Errorf("got %v", err)
		}
		if kept, of := b.Kept(); len(kept) != 1 || kept[0].Item != "c" || of != 5 {
			t.Errorf("kept %v in epoch %d", kept, of)
		}
		if up := b.driver.holds(); len(up) != 2 || up[0].Item != "b" {
			t.Errorf("at-least-one items stay: %v", up)
		}
		b.driver.failing(nil)
		if err := b.ReleaseAll(t.Context(), true); err != nil {
			t.Error(err)
		}
		if up := b.driver.holds(); len(up) != 0 {
			t.Errorf("still up: %v", up)
		}
		if b.set(20, item("d", 20, true)); b.ReleaseAll(t.Context(), true) != nil {
			t.Error("nothing is held")
		}
		time.Sleep(time.Second)
		if up := b.driver.holds(); len(up) != 0 {
			t.Errorf("acquired after the stop: %v", up)
		}
	})
}

func TestExecutorEndsWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.driver.takes = time.Hour
		b.set(10, item("a", 7, false))
		time.Sleep(time.Second)
		b.end()
		if d := time.Since(b.driver.begun); d != time.Second {
			t.Errorf("Run took %v to end", d-time.Second)
		}
	})
}

// A report that hangs holds neither effects nor the next report back for long.
func TestExecutorOutlivesAHungReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDriver{up: map[fsm.Key]bool{}, begun: time.Now()}
		x := New(Config{Core: CoreConfig{Self: "n1"}, Drivers: map[fsm.Action]Driver{fsm.ActionHooks: d}, Log: zerolog.Nop()})
		ctx, stop := context.WithCancel(t.Context())
		calls := 0
		done := make(chan error, 1)
		go func() {
			done <- x.Run(ctx, func(ctx context.Context, _ fsm.Report) error {
				calls++
				<-ctx.Done()
				return ctx.Err()
			})
		}()
		x.Set(fsm.Slice{At: 10, Epoch: 5, Want: []fsm.Job{item("a", 7, false)}}, nil)
		time.Sleep(time.Second)
		x.Set(fsm.Slice{At: 11, Epoch: 5, Want: []fsm.Job{item("a", 7, false), item("b", 11, false)}}, nil)
		time.Sleep(20 * time.Second)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if up := d.holds(); len(up) != 2 || calls < 3 {
			t.Errorf("up %v, %d reports", up, calls)
		}
	})
}

// Many slots, a limit, and everybody calling at once: for the race detector,
// and for the limit.
func TestExecutorUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.end()
		b.grant(time.Hour)
		var jobs []fsm.Job
		want := map[fsm.Key]bool{}
		for i := range 200 {
			jobs = append(jobs, item(fmt.Sprintf("i%03d", i), 7, i%2 == 0))
			want[jobs[i].Key] = true
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for at := range fsm.Index(50) {
					b.set(10+at, jobs...)
					b.Status()
					b.Kept()
					time.Sleep(time.Millisecond)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		b.driver.mu.Lock()
		if !maps.Equal(b.driver.up, want) {
			t.Errorf("%d up, want %d", len(b.driver.up), len(want))
		}
		b.driver.mu.Unlock()
		if n := len(b.driver.took()); n != 200 {
			t.Errorf("%d effects, want 200", n)
		}
	})
}
