package actions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

// notes is a Ledger; its driver writes into the same book.
type notes struct {
	mu    sync.Mutex
	lines []string
	err   error // of Begin
	fails error // of what is done
}

func (n *notes) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

func (n *notes) Begin(e Effect) (string, error) {
	n.note("begin %v %s@%d", e.Kind, e.Job.Item, e.Job.Token)
	n.mu.Lock()
	defer n.mu.Unlock()
	return "run-" + string(e.Job.Item), n.err
}

func (n *notes) End(e Effect, err error) {
	n.note("end %v %s@%d %v", e.Kind, e.Job.Item, e.Job.Token, err)
}
func (n *notes) Adopted(j fsm.Job) { n.note("adopted %s@%d", j.Item, j.Token) }

type notesDriver struct{ *notes }

func (d notesDriver) Acquire(ctx context.Context, j fsm.Job) error { return d.do(ctx, "acquire", j) }

func (d notesDriver) Release(ctx context.Context, j fsm.Job) error { return d.do(ctx, "release", j) }
func (d notesDriver) Adopted(fsm.Job)                              {}

func (n *notes) do(ctx context.Context, verb string, j fsm.Job) error {
	n.note("%s %s as %q", verb, j.Item, Run(ctx))
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fails
}

// errors are what listing and doing things end with from here on.
func (n *notes) errors(listing, doing error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err, n.fails = listing, doing
}

// took are the lines since the last call; what one effect says stands together.
func (n *notes) took() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	lines := n.lines
	n.lines = nil
	return strings.Join(lines, "; ")
}

// withNotes runs an Executor in a bubble.
func withNotes(t *testing.T, f func(*Executor, *notes, *syncBuffer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n, log := &notes{}, &syncBuffer{}
		x := New(Config{
			Core: CoreConfig{Self: "n1", Machine: "m1"}, Drivers: map[fsm.Action]Driver{fsm.ActionHooks: notesDriver{n}},
			Ledger: n, Log: zerolog.New(log),
		})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- x.Run(ctx, func(context.Context, fsm.Report) error { return nil }) }()
		f(x, n, log)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func running() (time.Duration, bool) { return time.Hour, true }

func job(item string, token fsm.Token, most bool) fsm.Job {
	return fsm.Job{
		Key: fsm.Key{System: "web", Item: fsm.ItemID(item)}, Token: token, AtMostOne: most, Action: fsm.ActionHooks,
		Alive: "up", Down: "down",
	}
}

func TestLedgerStandsAroundEachEffect(t *testing.T) {
	withNotes(t, func(x *Executor, n *notes, log *syncBuffer) {
		expect := func(want string) {
			t.Helper()
			synctest.Wait()
			if got := n.took(); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}
		x.Set(fsm.Slice{At: 10, Epoch: 5, Want: []fsm.Job{job("a", 7, true)}}, running)
		expect(`begin acquire a@7; acquire a as "run-a"; end acquire a@7 <nil>`)
		x.Set(fsm.Slice{At: 11, Epoch: 5, Want: []fsm.Job{job("a", 11, true)}}, running)
		expect(`adopted a@11`)
		n.errors(nil, errors.New("busy"))
		x.Set(fsm.Slice{At: 12, Epoch: 5}, running)
		expect(`begin release a@11; release a as "run-a"; end release a@11 busy`)
		// A release that cannot be listed goes on, and says so; an acquire does not.
		n.errors(errors.New("no space left"), nil)
		time.Sleep(time.Second)
		expect(`begin release a@11; release a as "run-a"; end release a@11 <nil>`)
		contains(t, log.String(), "released without being listed", "no space left")
		x.Set(fsm.Slice{At: 13, Epoch: 5, Want: []fsm.Job{job("a", 13, true)}}, running)
		expect(`begin acquire a@13; begin release a@13; release a as "run-a"; end release a@13 <nil>`)
		contains(t, log.String(), "list it before it is done")
	})
}

// What a former process left up is not brought up again, and what else it left
// goes first: by whom and in which order the list is told.
func TestExecutorTakesOver(t *testing.T) {
	withNotes(t, func(x *Executor, n *notes, _ *syncBuffer) {
		x.Adopt([]fsm.Job{job("up", 7, false), job("gone", 7, false)})
		x.Sweep([]fsm.Job{job("half", 8, false), job("most", 8, true)})
		synctest.Wait()
		if got, want := n.took(), `begin release most@8; release most as "run-most"; end release most@8 <nil>`; got != want {
			t.Errorf("before the first slice: %s", got)
		}
		x.Set(fsm.Slice{At: 20, Epoch: 20, Want: []fsm.Job{job("half", 8, false), job("most", 8, true), job("up", 7, false)}}, running)
		synctest.Wait()
		got := n.took()
		for _, line := range []string{
			"adopted up@7", `release gone as "run-gone"`, `release half as "run-half"`, `acquire half as "run-half"`, `acquire most as "run-most"`,
		} {
			if !strings.Contains(got, line) {
				t.Errorf("no %q in %s", line, got)
			}
		}
		if strings.Contains(got, "acquire up") || strings.Contains(got, "release up") ||
			strings.Index(got, "release half") > strings.Index(got, "acquire half") {
			t.Error(got)
		}
		var held []string
		for _, j := range x.Held() {
			held = append(held, string(j.Item))
		}
		if !slices.Equal(held, []string{"half", "most", "up"}) {
			t.Errorf("held are %v", held)
		}
	})
}
