package ip

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

func TestUnfit(t *testing.T) {
	tracked := &fsm.IP{NoProbe: true, Track: []fsm.Track{{Interface: "eth1"}, {Route: "192.0.2.0/24"}}}
	for name, c := range map[string]struct {
		held  bool
		job   func(*fsm.Job)
		world func(w *world)
		want  string
	}{
		"fit":                   {},
		"fit, held":             {held: true},
		"no carrier":            {world: func(w *world) { w.links[1].Carrier = false }, want: "interface eth0 has no carrier"},
		"down":                  {world: func(w *world) { w.links[1].Up = false }, want: "interface eth0 is down"},
		"held, down":            {held: true, world: func(w *world) { w.links[1].Up = false }, want: "interface eth0 is down"},
		"held, gone":            {held: true, world: func(w *world) { w.links = w.links[:1] }, want: "interface eth0 is gone"},
		"held, its subnet gone": {held: true, world: func(w *world) { w.addrs = w.addrs[1:] }},
		"no subnet":             {world: func(w *world) { w.addrs = w.addrs[1:] }, want: "name an interface"},
		"named, gone": {
			job: func(j *fsm.Job) { j.Interface = "eth7" }, want: `interface "eth7"`,
		},
		"by the system's name": {
			job:   func(j *fsm.Job) { j.IP = &fsm.IP{Interface: "eth1"} },
			world: func(w *world) { w.links[2].Carrier = false }, want: "interface eth1 has no carrier",
		},
		"tracked route": {job: func(j *fsm.Job) { j.IP = tracked }, want: "tracked route 192.0.2.0/24 is not"},
		"tracked, all stand": {
			job:   func(j *fsm.Job) { j.IP = tracked },
			world: func(w *world) { w.routes[netip.MustParsePrefix("192.0.2.0/24")] = true },
		},
		"tracked interface": {
			job: func(j *fsm.Job) { j.IP = tracked }, world: func(w *world) { w.links[2].Carrier = false },
			want: "tracked interface eth1 has no carrier",
		},
		"tracked interface gone": {
			job: func(j *fsm.Job) { j.IP = tracked }, world: func(w *world) { w.links = w.links[:2] }, want: `tracked interface "eth1"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				defer w.run()()
				job := gatedJob("a", "10.0.0.5/32")
				if c.job != nil {
					c.job(&job)
				}
				if c.held {
					must(t, w.d.Acquire(t.Context(), job))
				}
				_ = w.d.Unfit(&job) // which remembers what it answered
				before := w.rechecks.Load()
				if c.world != nil {
					w.others(func() { c.world(w) })
				}
				time.Sleep(10 * time.Millisecond)
				got := w.d.Unfit(&job)
				if c.want == "" && got != "" || !strings.Contains(got, c.want) {
					t.Errorf("unfit: %q, want %q", got, c.want)
				}
				if again := w.d.Unfit(&job); again != got {
					t.Errorf("then %q", again)
				}
				if told := w.rechecks.Load() != before; c.world != nil && !told {
					t.Error("nobody was told")
				}
			})
		})
	}
}

// The addresses that flip itself plumbs change nothing about who is fit.
func TestNobodyIsToldOfOwnAddresses(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		time.Sleep(time.Second)
		before := w.rechecks.Load()
		must(t, w.d.Acquire(t.Context(), gatedJob("a", "10.0.0.5/32")))
		must(t, w.d.Release(t.Context(), gatedJob("a", "10.0.0.5/32")))
		time.Sleep(5 * time.Second)
		if got := w.rechecks.Load(); got != before {
			t.Errorf("told %d times", got-before)
		}
	})
}

// asking is a job that asks the wire before it is plumbed.
func asking(item string, addrs ...string) fsm.Job {
	job := gatedJob(item, addrs...)
	job.IP = &fsm.IP{}
	return job
}

func TestStrangerBeforePlumbing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		addr := netip.MustParseAddr("10.0.0.5")
		w.answers[addr] = strangeMAC
		job := asking("a", "10.0.0.5/32")
		began := time.Now()
		err := w.d.Acquire(t.Context(), job)
		const words = "10.0.0.5 is answered by 02:00:00:00:66:66, which is no member of this cluster: find that host, or take the address out of the configuration"
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Fatalf("%v", err)
		}
		if took := time.Since(began); took > 5*time.Millisecond {
			t.Errorf("plumbing was delayed by %v", took)
		}
		wantEvents(t, w, "ask 10.0.0.5")
		if got := w.d.Unfit(&job); got != words || w.rechecks.Load() == 0 {
			t.Errorf("unfit: %q", got)
		}
		// He is asked for every 10 s, and stays a stranger while he answers.
		time.Sleep(35 * time.Second)
		if got := w.d.Unfit(&job); got != words {
			t.Errorf("after a while: %q", got)
		}
		if asked := w.took(); len(asked) != 3 {
			t.Errorf("asked again: %v", asked)
		}
		if st := w.d.Status(); len(st) != 1 || st[0].Stranger != words || st[0].Held {
			t.Errorf("%+v", st)
		}
		before := w.rechecks.Load()
		w.others(func() { delete(w.answers, addr) })
		time.Sleep(12 * time.Second)
		if got := w.d.Unfit(&job); got != "" || w.rechecks.Load() == before {
			t.Errorf("still unfit: %q", got)
		}
		must(t, w.d.Acquire(t.Context(), job))
		if w.log.count("a stranger answers") != 1 || w.log.count("no stranger answers") != 1 {
			t.Error(w.log.buf.String())
		}
	})
}

func TestStrangerAfterPlumbing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		addr := netip.MustParseAddr("10.0.0.5")
		job := asking("a", "10.0.0.5/32", "10.0.0.6/32")
		must(t, w.d.Acquire(t.Context(), job))
		time.Sleep(500 * time.Millisecond)
		before := w.rechecks.Load()
		w.others(func() { w.answers[addr] = strangeMAC })
		time.Sleep(10 * time.Millisecond)
		if got := w.d.Unfit(&job); !strings.Contains(got, "10.0.0.5 is answered by 02:00:00:00:66:66") || w.rechecks.Load() == before {
			t.Errorf("unfit: %q", got)
		}
		must(t, w.d.Release(t.Context(), job))
		// One second after plumbing nobody is listened for.
		w.others(func() { delete(w.answers, addr) })
		time.Sleep(30 * time.Second)
		must(t, w.d.Acquire(t.Context(), job))
		time.Sleep(1100 * time.Millisecond)
		w.others(func() { w.answers[addr] = strangeMAC })
		time.Sleep(5 * time.Second)
		if got := w.d.Unfit(&job); got != "" {
			t.Errorf("unfit: %q", got)
		}
	})
}

func TestMembersAndOwnLinksAreNoStrangers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		w.answers[netip.MustParseAddr("10.0.0.5")] = memberMAC
		w.answers[netip.MustParseAddr("10.0.0.6")] = w.links[2].MAC
		job := asking("a", "10.0.0.5/32", "10.0.0.6/32")
		must(t, w.d.Acquire(t.Context(), job))
		time.Sleep(2 * time.Second)
		if got := w.d.Unfit(&job); got != "" {
			t.Errorf("unfit: %q", got)
		}
	})
}

// Who was taken for a stranger may turn out to be a member whose MAC was not
// known yet.
func TestStrangerBecomesKnown(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		w.answers[netip.MustParseAddr("10.0.0.5")] = strangeMAC
		job := asking("a", "10.0.0.5/32")
		if err := w.d.Acquire(t.Context(), job); err == nil {
			t.Fatal("acquired")
		}
		w.mu.Lock()
		w.members[strangeMAC.String()] = true
		w.mu.Unlock()
		time.Sleep(1100 * time.Millisecond)
		must(t, w.d.Acquire(t.Context(), job))
	})
}

func TestForgottenStranger(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		w.answers[netip.MustParseAddr("10.0.0.5")] = strangeMAC
		if err := w.d.Acquire(t.Context(), asking("a", "10.0.0.5/32")); err == nil {
			t.Fatal("acquired")
		}
		time.Sleep(11 * time.Minute)
		if got := w.d.Stats().Strange; got != 0 {
			t.Errorf("%d strangers that nobody asks about", got)
		}
	})
}

// Without the right to ask, addresses are plumbed all the same, and it is said
// once.
func TestDeaf(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.run()()
		w.deaf = errors.New("no CAP_NET_RAW")
		for _, item := range []string{"a", "b", "c"} {
			must(t, w.d.Acquire(t.Context(), asking(item, "10.0.0."+string('4'+item[0]-'a')+"/32")))
		}
		time.Sleep(2 * time.Second)
		if n := w.log.count("cannot ask"); n != 1 {
			t.Errorf("%d lines", n)
		}
	})
}

func TestWhoAsksFirst(t *testing.T) {
	held := func(atMostOne bool) []fsm.Blocker {
		return []fsm.Blocker{{Entry: fsm.Entry{Member: "n2", AtMostOne: atMostOne}, After: time.Second}}
	}
	for name, c := range map[string]struct {
		job  fsm.Job
		want bool
	}{
		"at-most-one":                {fsm.Job{AtMostOne: true, Previous: "n2"}, true},
		"after a bet":                {fsm.Job{AtMostOne: true, Blocked: held(true)}, true},
		"beside an at-least-one":     {fsm.Job{AtMostOne: true, Blocked: held(false)}, false},
		"switched off":               {fsm.Job{AtMostOne: true, IP: noProbe}, false},
		"at-least-one, the first":    {fsm.Job{}, true},
		"at-least-one, again":        {fsm.Job{Previous: "n1"}, true},
		"at-least-one, from another": {fsm.Job{Previous: "n2"}, false},
	} {
		if got := asksFirst(&c.job, "n1"); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Questions before plumbing go together, and delay nobody by more than 5 ms.
func TestQuestionsGoTogether(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		took := make(chan time.Duration, 200)
		for i := range 200 {
			go func() {
				time.Sleep(time.Duration(i) * 10 * time.Microsecond)
				began := time.Now()
				must(t, w.d.Acquire(t.Context(), asking("i"+string(rune(i)), netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}).String())))
				took <- time.Since(began)
			}()
		}
		var all []time.Duration
		for range 200 {
			all = append(all, <-took)
		}
		if worst := slices.Max(all); worst > 5*time.Millisecond {
			t.Errorf("delayed by %v", worst)
		}
	})
}
