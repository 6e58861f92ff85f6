package programs

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
)

func fileConn(t *testing.T, fd int) net.Conn {
	t.Helper()
	f := os.NewFile(uintptr(fd), "socket")
	defer func() { _ = f.Close() }()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// fakeProcess lives until it is ended.
type fakeProcess struct {
	id   ProcessID
	over chan struct{}
	once sync.Once
	hard bool // SIGKILL does not end it
}

func newProcess(pid int) *fakeProcess {
	return &fakeProcess{id: ProcessID{pid, 1}, over: make(chan struct{})}
}

func (p *fakeProcess) ID() ProcessID { return p.id }
func (p *fakeProcess) Close() error  { return nil }
func (p *fakeProcess) end()          { p.once.Do(func() { close(p.over) }) }

func (p *fakeProcess) Kill() error {
	if !p.hard {
		p.end()
	}
	return nil
}

func (p *fakeProcess) Wait(ctx context.Context) error {
	select {
	case <-p.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bench is a Driver in a bubble, and what its calls have come to.
type bench struct {
	*Driver
	t     *testing.T
	mu    sync.Mutex
	ended map[string]error
	slots map[fsm.Key]fsm.Slot
	asked int       // Changed
	freed []fsm.Key // Freed
}

func inBubble(t *testing.T, test func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, ended: map[string]error{}, slots: map[fsm.Key]fsm.Slot{}}
		b.Driver = New(Config{
			Self: "n1", Lease: func() (time.Duration, bool) { return 400 * time.Millisecond, true }, Log: zerolog.Nop(),
			Slot:    func(k fsm.Key) (fsm.Slot, bool) { s, ok := b.slots[k]; return s, ok },
			Changed: func() { b.mu.Lock(); b.asked++; b.mu.Unlock() },
			Freed:   func(keys []fsm.Key) { b.mu.Lock(); b.freed = append(b.freed, keys...); b.mu.Unlock() },
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		test(b)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func jobOf(item string, token fsm.Token) fsm.Job {
	return fsm.Job{Key: fsm.Key{System: "s", Item: fsm.ItemID(item)}, Token: token, Action: fsm.ActionClient, Reason: "because"}
}

// do begins an effect that takes a second at most.
func (b *bench) do(kind actions.Kind, job fsm.Job) {
	b.Begins(actions.Effect{Kind: kind, Job: job})
	go func() {
		ctx, stop := context.WithTimeout(b.t.Context(), time.Second)
		defer stop()
		var err error
		if kind == actions.Acquire {
			err = b.Acquire(ctx, job)
		} else {
			err = b.Release(ctx, job)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.ended[fmt.Sprintf("%v %s", kind, job.Item)] = err
	}()
}

// result is how an effect has ended.
func (b *bench) result(what string) (err error, ended bool) {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	err, ended = b.ended[what]
	delete(b.ended, what)
	return err, ended
}

func (b *bench) good(what string) {
	b.t.Helper()
	if err, ended := b.result(what); !ended || err != nil {
		b.t.Fatalf("%s: ended %v, %v", what, ended, err)
	}
}

func (b *bench) bad(what, words string) {
	b.t.Helper()
	if err, ended := b.result(what); !ended || err == nil || !strings.Contains(err.Error(), words) {
		b.t.Fatalf("%s: ended %v, %v", what, ended, err)
	}
}

func (b *bench) open(what string) {
	b.t.Helper()
	if err, ended := b.result(what); ended {
		b.t.Fatalf("%s has ended: %v", what, err)
	}
}

func (b *bench) claim(p *fakeProcess, c Claim) *Stream {
	b.t.Helper()
	c.System = "s"
	if c.Session == "" {
		c.Session = "one"
	}
	s, err := b.Claim(p, c)
	if err != nil {
		b.t.Fatal(err)
	}
	b.tells(s, "session")
	return s
}

// tells reads what the program is told, and no more.
func (b *bench) tells(s *Stream, want ...string) []Event {
	b.t.Helper()
	synctest.Wait()
	var got []string
	var events []Event
	for {
		some, err := s.take()
		if err != nil {
			b.t.Fatal(err)
		}
		for _, e := range some {
			kind := map[Kind]string{Session: "session", Acquire: "acquire", Release: "release", Token: "token"}[e.Kind]
			if e.Kind != Session {
				kind = fmt.Sprintf("%s %s@%d", kind, e.Key.Item, e.Token)
			}
			got, events = append(got, kind), append(events, e)
		}
		if len(some) == 0 {
			break
		}
	}
	if !slices.Equal(got, want) {
		b.t.Fatalf("told %q, want %q", got, want)
	}
	return events
}

func (b *bench) acks(events ...Event) {
	b.t.Helper()
	var seqs []uint64
	for _, e := range events {
		seqs = append(seqs, e.Seq)
	}
	if _, err := b.Ack(ProcessID{7, 1}, Ack{Session: "one", Seqs: seqs}); err != nil {
		b.t.Fatal(err)
	}
}

// frees says of what Freed was told since.
func (b *bench) frees(want ...fsm.ItemID) {
	b.t.Helper()
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	var got []fsm.ItemID
	for _, k := range b.freed {
		got = append(got, k.Item)
	}
	if b.freed = nil; !slices.Equal(got, want) {
		b.t.Errorf("freed %v, and %v is right", got, want)
	}
}
