package ip

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/actions/netif"
	"github.com/flip-ha/flip/fsm"
)

// script is what happens to one item: its calls come one after the other, as the
// executor makes them.
type script struct {
	job   fsm.Job
	steps []step
}

type step struct {
	do   string
	wait time.Duration // before it
}

// watcher is the oracle: it looks at each effect when it happens, and knows of
// nothing but the rules.
type watcher struct {
	w     *world
	wrong []string
	gated map[netip.Addr]bool
	gone  map[netip.Addr]bool // released, and not asked for since
	lease map[netip.Addr]*lease
}

func (o *watcher) complain(format string, args ...any) {
	o.wrong = append(o.wrong, fmt.Sprintf(format, args...))
}

// saw is called under the world's lock, before the effect is done.
func (o *watcher) saw(kind string, a netip.Addr) {
	plumbed := slices.ContainsFunc(o.w.addrs, func(p netif.Address) bool { return p.Prefix.Addr() == a })
	gated := o.gated[a]
	switch kind {
	case "add":
		if gated && !o.w.inGate[a] {
			o.complain("%s is plumbed outside the gate", a)
		}
		if o.gone[a] {
			o.complain("%s is plumbed after it was released", a)
		}
	case "ungate":
		if gated && plumbed {
			o.complain("%s leaves the gate while it is plumbed", a)
		}
	case "announce":
		if o.gone[a] {
			o.complain("%s is announced after it was released", a)
		}
		if l := o.lease[a]; l != nil && l.over.Load() {
			o.complain("%s is announced without a lease", a)
		}
	}
}

func TestDriverKeepsItsRules(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		kinds := []fsm.Job{{AtMostOne: true, Gated: true}, {AtMostOne: true, Gated: true}, {AtMostOne: true}, {}}
		var scripts []script
		for i, job := range kinds {
			job.Key, job.IP = fsm.Key{System: "vips", Item: fsm.ItemID(fmt.Sprint(i))}, noProbe
			job.Addrs = []string{fmt.Sprintf("10.0.0.%d/32", 10*i+5), fmt.Sprintf("10.1.0.%d/24", 10*i+6)}
			steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
				return step{
					rapid.SampledFrom([]string{"acquire", "acquire", "release", "adopt", "over", "break first", "break last", "heal", "remove", "permanent", "unmark", "move"}).Draw(rt, "do"),
					time.Duration(rapid.SampledFrom([]int{0, 0, 1, 3, 150, 2500}).Draw(rt, "wait")) * time.Millisecond,
				}
			}), 1, 12).Draw(rt, "steps")
			scripts = append(scripts, script{job, steps})
		}
		slow := time.Duration(rapid.IntRange(0, 3).Draw(rt, "slow")) * time.Millisecond
		var wrong []string
		synctest.Test(t, func(t *testing.T) { wrong = play(t, scripts, slow) })
		if len(wrong) > 0 {
			rt.Fatalf("%v", wrong)
		}
	})
}

func play(t *testing.T, scripts []script, slow time.Duration) []string {
	w := newWorld(t)
	defer w.run()()
	w.slow = slow
	o := &watcher{w: w, gated: map[netip.Addr]bool{}, gone: map[netip.Addr]bool{}, lease: map[netip.Addr]*lease{}}
	w.noted = o.saw
	var wg sync.WaitGroup
	held := make([]bool, len(scripts))
	for i := range scripts {
		for _, a := range scripts[i].job.Addrs {
			addr := netip.MustParsePrefix(a).Addr()
			o.gated[addr], o.gone[addr] = scripts[i].job.Gated, true
		}
	}
	for i := range scripts {
		wg.Go(func() { held[i] = o.act(&scripts[i]) })
	}
	wg.Wait()
	w.others(func() { clear(w.fail) })
	time.Sleep(3 * time.Second)
	for i, s := range scripts {
		o.settled(&s, held[i])
	}
	return o.wrong
}

// act plays one script, and answers whether the item is held at its end under a
// lease that runs.
func (o *watcher) act(s *script) (held bool) {
	w := o.w
	var addrs []netip.Addr
	for _, a := range s.job.Addrs {
		addrs = append(addrs, netip.MustParsePrefix(a).Addr())
	}
	first := netip.MustParsePrefix(s.job.Addrs[0])
	at := netif.Address{Link: 2, Prefix: first, Mark: mark(&s.job), Valid: time.Minute}
	l := &lease{}
	mark := func(gone bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, a := range addrs {
			o.gone[a] = gone
			if s.job.AtMostOne {
				o.lease[a] = l
			}
		}
	}
	release := func() {
		if w.d.Release(w.t.Context(), s.job) == nil {
			held = false
			mark(true)
		}
	}
	for _, step := range s.steps {
		time.Sleep(step.wait)
		plumbed := func() bool {
			return slices.ContainsFunc(w.addrs, func(a netif.Address) bool { return a.Prefix == first && a.Link == 2 })
		}
		switch step.do {
		case "acquire":
			if l.over.Load() {
				release() // as the executor does before it acquires under another lease
				if held {
					continue
				}
				l = &lease{}
			}
			mark(false)
			ctx := w.t.Context()
			if s.job.AtMostOne {
				ctx = l.ctx()
			}
			if err := w.d.Acquire(ctx, s.job); err != nil {
				release() // as the executor does after a failure
			} else {
				held = true
			}
		case "release":
			release()
		case "adopt":
			s.job.Token++
			w.d.Adopted(s.job)
		case "over":
			if s.job.AtMostOne {
				w.mu.Lock() // so that no frame is between the question and the oracle
				l.over.Store(true)
				w.mu.Unlock()
			}
		case "break first", "break last":
			w.others(func() {
				i := map[string]int{"break first": 0, "break last": 1}[step.do]
				w.fail["add "+addrs[i].String()] = errors.New("broken")
			})
		case "heal":
			w.others(func() { delete(w.fail, "add "+addrs[0].String()); delete(w.fail, "add "+addrs[1].String()) })
		case "remove":
			w.others(func() { w.unset(at) })
		case "permanent", "unmark", "move":
			w.others(func() {
				if !plumbed() {
					return
				}
				b := at
				switch step.do {
				case "permanent":
					b.Valid = 0
				case "unmark":
					b.Mark = 0
				case "move":
					w.unset(at)
					b.Link, b.Mark, b.Valid = 3, 0, 0
				}
				w.set(b)
			})
		}
	}
	return held && !l.over.Load()
}

// settled looks at the end, when nobody has done anything for a while.
func (o *watcher) settled(s *script, held bool) {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	for i, text := range s.job.Addrs {
		p := netip.MustParsePrefix(text)
		found := slices.DeleteFunc(slices.Clone(o.w.addrs), func(a netif.Address) bool { return a.Prefix.Addr() != p.Addr() })
		want := netif.Address{Link: 2 + i, Prefix: p, Mark: mark(&s.job), Valid: valid(&s.job, 300*time.Millisecond)}
		switch {
		case held && (len(found) != 1 || found[0] != want):
			o.complain("held: %v, want %v", found, want)
		case held && s.job.Gated && !o.w.inGate[p.Addr()]:
			o.complain("%s is held outside the gate", p)
		case o.gone[p.Addr()] && len(found) != 0:
			o.complain("released: %v", found)
		case o.gone[p.Addr()] && o.w.inGate[p.Addr()]:
			o.complain("%s was released and is in the gate", p)
		}
	}
}
