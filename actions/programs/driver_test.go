package programs

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReleasesAreToldFirst(t *testing.T) {
	inBubble(t, func(b *bench) {
		s := b.claim(newProcess(7), Claim{})
		b.do(actions.Acquire, jobOf("a", 5))
		b.acks(b.tells(s, "acquire a@5")...)
		b.good("acquire a")
		// The release begins first, and comes late.
		b.Begins(actions.Effect{Kind: actions.Release, Job: jobOf("a", 5)})
		b.do(actions.Acquire, jobOf("b", 6))
		b.tells(s)
		b.do(actions.Release, jobOf("a", 5))
		e := b.tells(s, "release a@5", "acquire b@6")
		b.acks(e[1])
		b.good("acquire b")
		b.open("release a")
		b.acks(e[0])
		b.good("release a")
	})
}

func TestTakenBackBeforeItWasSent(t *testing.T) {
	inBubble(t, func(b *bench) {
		s := b.claim(newProcess(7), Claim{})
		b.do(actions.Acquire, jobOf("a", 5))
		synctest.Wait()
		time.Sleep(time.Second)
		b.bad("acquire a", "has not taken it")
		b.do(actions.Release, jobOf("a", 5))
		b.good("release a")
		b.tells(s)
	})
}

func TestNobodyHasClaimed(t *testing.T) {
	inBubble(t, func(b *bench) {
		job := jobOf("a", 5)
		if why := b.Absent(&job); why == "" {
			t.Error("somebody is there")
		}
		hooked := fsm.Job{Key: job.Key, Action: fsm.ActionHooks}
		if why := b.Absent(&hooked); why != "" {
			t.Errorf("of hooks: %s", why)
		}
		b.do(actions.Acquire, job)
		b.bad("acquire a", "no program")
		b.do(actions.Release, job)
		b.good("release a")
	})
}

// What is not let go of in time stays with the program, and is not told twice.
func TestALateRelease(t *testing.T) {
	inBubble(t, func(b *bench) {
		s := b.claim(newProcess(7), Claim{})
		b.do(actions.Acquire, jobOf("a", 5))
		b.acks(b.tells(s, "acquire a@5")...)
		b.do(actions.Release, jobOf("a", 5))
		e := b.tells(s, "release a@5")
		time.Sleep(time.Second)
		b.bad("release a", "has not let go of it")
		b.do(actions.Release, jobOf("a", 5))
		b.tells(s)
		b.open("release a")
		b.acks(e...)
		b.good("release a")
		b.tells(s)
		b.frees()
	})
}

// What is let go of between two attempts is told of: the next one need not wait.
func TestReleasedBetweenAttempts(t *testing.T) {
	for name, let := range map[string]func(b *bench, p *fakeProcess, e []Event){
		"acknowledged": func(b *bench, _ *fakeProcess, e []Event) { b.acks(e...) },
		"ended":        func(_ *bench, p *fakeProcess, _ []Event) { p.end() },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) {
				p := newProcess(7)
				s := b.claim(p, Claim{})
				b.do(actions.Acquire, jobOf("a", 5))
				b.acks(b.tells(s, "acquire a@5")...)
				b.do(actions.Release, jobOf("a", 5))
				e := b.tells(s, "release a@5")
				time.Sleep(time.Second)
				b.bad("release a", "has not let go of it")
				b.frees()
				let(b, p, e)
				b.frees("a")
				b.do(actions.Release, jobOf("a", 5))
				b.good("release a")
			})
		})
	}
}

func TestKilledOnTimeout(t *testing.T) {
	for _, hard := range []bool{false, true} {
		inBubble(t, func(b *bench) {
			p := newProcess(7)
			p.hard = hard
			s := b.claim(p, Claim{})
			job := jobOf("a", 5)
			b.do(actions.Acquire, job)
			b.acks(b.tells(s, "acquire a@5")...)
			job.KillOnTimeout = true
			b.do(actions.Release, job)
			b.tells(s, "release a@5")
			time.Sleep(time.Second)
			if !hard {
				b.good("release a")
				return
			}
			b.open("release a")
			time.Sleep(killWait)
			b.bad("release a", "nor does SIGKILL")
		})
	}
}

// Its death frees everything, and what the Executor still counts as held is lost until
// it has let go of it, whoever claims the system meanwhile.
func TestDeath(t *testing.T) {
	inBubble(t, func(b *bench) {
		p := newProcess(7)
		s := b.claim(p, Claim{})
		b.do(actions.Acquire, jobOf("a", 5))
		b.do(actions.Acquire, jobOf("b", 5))
		synctest.Wait()
		b.mu.Lock()
		b.asked = 0
		b.mu.Unlock()
		events, _ := s.take()
		for _, e := range events {
			if e.Key.Item == "a" {
				b.acks(e)
			}
		}
		b.good("acquire a")
		if _, err := b.Claim(newProcess(8), Claim{System: "s", Session: "two"}); !errors.As(err, new(*Taken)) {
			t.Errorf("a second program: %v", err)
		}
		p.end()
		b.bad("acquire b", "has ended")
		if _, err := s.Next(t.Context()); !errors.Is(err, ErrOver) {
			t.Errorf("its stream: %v", err)
		}
		b.mu.Lock()
		asked := b.asked
		b.mu.Unlock()
		if asked == 0 {
			t.Error("nobody was told")
		}
		next, err := b.Claim(newProcess(8), Claim{System: "s", Session: "two"})
		if err != nil {
			t.Fatal(err)
		}
		job := jobOf("a", 5)
		if b.Absent(&job) == "" {
			t.Error("what the dead had counts as held")
		}
		b.do(actions.Release, job)
		b.good("release a")
		if why := b.Absent(&job); why != "" {
			t.Error(why)
		}
		b.do(actions.Acquire, job)
		b.tells(next, "session", "acquire a@5")
	})
}

// What was not read is told again over the next connection, or taken back; what was
// read is not.
func TestAnotherConnection(t *testing.T) {
	inBubble(t, func(b *bench) {
		p := newProcess(7)
		s := b.claim(p, Claim{})
		for _, item := range []string{"a", "b", "c"} {
			b.do(actions.Acquire, jobOf(item, 5))
			b.tells(s, fmt.Sprintf("acquire %s@5", item))
		}
		again, err := b.Claim(p, Claim{System: "s", Session: "one", Read: 1, Items: []Item{{ID: "a", Given: 1}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.take(); !errors.Is(err, ErrOver) {
			t.Errorf("the former stream: %v", err)
		}
		b.do(actions.Release, jobOf("b", 5))
		b.good("release b")
		e := b.tells(again, "session", "acquire c@5")[1]
		if e.Seq <= 3 {
			t.Errorf("a number is used again: %d", e.Seq)
		}
		b.acks(Event{Seq: 1}, e)
		b.good("acquire a")
		b.good("acquire c")
		// It says itself what it has no longer.
		b.claim(p, Claim{Read: e.Seq, Items: []Item{{ID: "c", Given: e.Seq, Taken: true}}})
		job := jobOf("a", 5)
		if b.Absent(&job) == "" {
			t.Error("what it does not have counts as held")
		}
	})
}

// A new daemon hears from its program what that has.
func TestInherited(t *testing.T) {
	inBubble(t, func(b *bench) {
		p := newProcess(7)
		held := []fsm.Job{jobOf("kept", 5), jobOf("lost", 5), jobOf("newer", 6)}
		gone := []fsm.Job{jobOf("swept", 5), jobOf("told", 5), jobOf("let go", 5)}
		b.Inherit([]Former{{Entry{System: "s", Session: "one", ProcessID: p.id}, p}}, held, gone)
		for _, j := range gone {
			b.do(actions.Release, j)
		}
		b.open("release swept")
		if _, err := b.Ack(p.id, Ack{Session: "one"}); !errors.Is(err, ErrNoClaim) {
			t.Errorf("an acknowledgement before its claim: %v", err)
		}
		s, err := b.Claim(newProcess(7), Claim{System: "s", Session: "one", Read: 9, Items: []Item{
			{ID: "kept", Token: 5, Given: 1, Taken: true},
			{ID: "newer", Token: 5, Given: 2, Taken: true},
			{ID: "swept", Token: 5, Given: 3, Taken: true},
			{ID: "told", Token: 5, Given: 4, Taken: true, Told: 8},
			{ID: "stray", Token: 5, Given: 5, Taken: true},
		}})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		events, _ := s.take()
		var got []string
		for _, e := range events {
			got = append(got, fmt.Sprintf("%d %s", e.Kind, e.Key.Item))
			if e.Kind != Session && e.Seq <= 9 {
				t.Errorf("%+v has a number that was read", e)
			}
		}
		slices.Sort(got)
		want := []string{fmt.Sprintf("%d ", Session), fmt.Sprintf("%d newer", Token), fmt.Sprintf("%d stray", Release), fmt.Sprintf("%d swept", Release)}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
		b.good("release let go")
		b.acks(Event{Seq: 8})
		b.good("release told")
		b.acks(events...)
		b.good("release swept")
		for item, absent := range map[string]bool{"kept": false, "newer": false, "lost": true} {
			job := jobOf(item, 5)
			if why := b.Absent(&job); (why != "") != absent {
				t.Errorf("%s: %q", item, why)
			}
		}
	})
}

// A former program that has ended meanwhile has nothing.
func TestInheritedOfTheDead(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.Inherit(nil, []fsm.Job{jobOf("a", 5)}, []fsm.Job{jobOf("b", 5)})
		b.do(actions.Release, jobOf("b", 5))
		b.good("release b")
		b.claim(newProcess(7), Claim{})
		job := jobOf("a", 5)
		if b.Absent(&job) == "" {
			t.Error("what the dead had counts as held")
		}
	})
}

func TestLeaves(t *testing.T) {
	inBubble(t, func(b *bench) {
		s := b.claim(newProcess(7), Claim{})
		b.do(actions.Acquire, jobOf("a", 5))
		b.acks(b.tells(s, "acquire a@5")...)
		if got := b.Systems(); !slices.Equal(got, []fsm.SystemID{"s"}) {
			t.Errorf("claimed: %v", got)
		}
		if _, err := b.Ack(ProcessID{8, 1}, Ack{Session: "one", Leave: true}); !errors.Is(err, ErrNoClaim) {
			t.Errorf("another process leaves for it: %v", err)
		}
		got, err := b.Ack(ProcessID{7, 1}, Ack{Session: "one"})
		if err != nil || got.Lease != 400*time.Millisecond || got.Again != 100*time.Millisecond {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := b.Ack(ProcessID{7, 1}, Ack{Session: "one", Leave: true}); err != nil {
			t.Fatal(err)
		}
		if got := b.Systems(); len(got) != 0 {
			t.Errorf("claimed: %v", got)
		}
		job := jobOf("a", 5)
		if b.Absent(&job) == "" {
			t.Error("what it has left counts as held")
		}
		// Nobody goes on with a claim that has ended.
		if _, err := b.Claim(newProcess(7), Claim{System: "s", Session: "one", Again: true}); !errors.Is(err, ErrNoClaim) {
			t.Errorf("it goes on: %v", err)
		}
	})
}

func TestGoneUnasked(t *testing.T) {
	inBubble(t, func(b *bench) {
		s := b.claim(newProcess(7), Claim{})
		b.do(actions.Acquire, jobOf("a", 5))
		e := b.tells(s, "acquire a@5")
		b.acks(e...)
		b.good("acquire a")
		gone := func(given uint64) bool {
			if _, err := b.Ack(ProcessID{7, 1}, Ack{Session: "one", Gone: []Item{{ID: "a", Given: given}}}); err != nil {
				t.Fatal(err)
			}
			job := jobOf("a", 5)
			return b.Absent(&job) != ""
		}
		if gone(e[0].Seq + 1) {
			t.Error("of another time")
		}
		if !gone(e[0].Seq) {
			t.Error("what it has let go of counts as held")
		}
		b.do(actions.Release, jobOf("a", 5))
		b.good("release a")
		b.tells(s)
	})
}
