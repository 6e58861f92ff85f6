package ip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/flip-ha/flip/actions/netif"
	"github.com/flip-ha/flip/actions/wire"
	"github.com/flip-ha/flip/fsm"
)

const (
	// askFor bounds by how much the question delays plumbing: a host on the same
	// LAN answers within a millisecond.
	askFor = 5 * time.Millisecond
	// askApart is the least time between two questions before plumbing: those that
	// come in between go together, and are asked for the rest of their time.
	askApart = 2 * time.Millisecond
	// watchFor is how long the question goes on after plumbing.
	watchFor = time.Second
	// watchApart is the same as askApart for these.
	watchApart = 100 * time.Millisecond
)

// asksFirst says whether the wire is asked before a job's addresses are plumbed.
// It is not while an at-least-one holder may be outstanding: that one answers
// rightly, and never waits (LEASES.md, L9).
func asksFirst(job *fsm.Job, self fsm.MemberID) bool {
	if !probes(job) {
		return false
	}
	if !job.AtMostOne {
		return job.Previous == "" || job.Previous == self
	}
	return !slices.ContainsFunc(job.Blocked, func(b fsm.Blocker) bool { return !b.AtMostOne })
}

func probes(job *fsm.Job) bool { return job.IP == nil || !job.IP.NoProbe }

// question is about some addresses of an item.
type question struct {
	key    fsm.Key
	places []place
	end    time.Time // no longer than that
	found  []wire.Answer
	done   chan struct{}
}

// questions gathers what is to be asked before plumbing. A single question goes
// out at once.
type questions struct {
	mu      sync.Mutex
	waiting []*question
	led     bool // somebody is about to ask what waits
	last    time.Time
}

// askFirst asks the wire who answers for a request's addresses; a stranger ends
// the acquire.
func (d *Driver) askFirst(ctx context.Context, r *request) error {
	now := time.Now()
	q := &question{key: r.job.Key, places: r.places, end: now.Add(askFor), done: make(chan struct{})}
	a := &d.ask
	a.mu.Lock()
	a.waiting = append(a.waiting, q)
	lead := !a.led
	a.led = true
	wait := askApart - now.Sub(a.last)
	a.mu.Unlock()
	if lead {
		if wait > 0 {
			<-time.After(wait) // at most askApart; others wait for this one, so it does not end with its context
		}
		gather()
		a.mu.Lock()
		batch := a.waiting
		a.waiting, a.led, a.last = nil, false, time.Now()
		a.mu.Unlock()
		d.askAll(context.WithoutCancel(ctx), batch)
	}
	<-q.done
	for _, answer := range q.found {
		if words := d.judge(q, answer); words != "" {
			d.cfg.Recheck()
			return errors.New(words)
		}
	}
	return nil
}

// askAll asks some questions together, one call for each link. It answers them in
// time: that the sockets are still being put away delays nobody.
func (d *Driver) askAll(ctx context.Context, batch []*question) {
	by := byAsked(batch)
	ctx, cancel := context.WithDeadline(ctx, batch[0].end)
	var mu sync.Mutex // guards late and what is found
	late := false
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		defer cancel()
		d.hear(ctx, batch, func(a wire.Answer) {
			mu.Lock()
			defer mu.Unlock()
			if q := by[a.Addr]; q != nil && !late {
				q.found = append(q.found, a)
			}
		})
	}()
	select {
	case <-heard: // nobody could be asked
	case <-ctx.Done():
	}
	mu.Lock()
	late = true
	mu.Unlock()
	for _, q := range batch {
		close(q.done)
	}
}

func byAsked(batch []*question) map[netip.Addr]*question {
	by := map[netip.Addr]*question{}
	for _, q := range batch {
		for _, p := range q.places {
			by[p.prefix.Addr()] = q
		}
	}
	return by
}

// hear asks until ctx ends, on all links of the questions at the same time, and
// answers on which it could not; take is called for one answer at a time.
func (d *Driver) hear(ctx context.Context, batch []*question, take func(wire.Answer)) (deaf map[int]bool) {
	deaf = map[int]bool{}
	links := map[int]netif.Link{}
	addrs := map[int][]netip.Addr{}
	for _, q := range batch {
		for _, p := range q.places {
			if l := d.fit.current(p.link); speaks(l) {
				links[l.Index] = l
				addrs[l.Index] = append(addrs[l.Index], p.prefix.Addr())
			}
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i, l := range links {
		wg.Go(func() {
			err := d.listen(ctx, onWire(l), addrs[i], func(a wire.Answer) {
				mu.Lock()
				defer mu.Unlock()
				take(a)
			})
			mu.Lock()
			deaf[i] = err != nil
			mu.Unlock()
			d.note("probe on "+l.Name, err, "cannot ask whether others have an address: addresses are plumbed without that")
		})
	}
	wg.Wait()
	return deaf
}

// listen asks on one link until ctx ends.
func (d *Driver) listen(ctx context.Context, l wire.Link, addrs []netip.Addr, take func(wire.Answer)) error {
	answers := make(chan wire.Answer, 64)
	ended := make(chan error, 1)
	go func() { ended <- d.cfg.Wire.Ask(ctx, l, addrs, answers) }()
	for {
		select {
		case a := <-answers:
			take(a)
		case err := <-ended:
			for {
				select {
				case a := <-answers:
					take(a)
				default:
					return err
				}
			}
		}
	}
}

// watchAfter has what was just plumbed watched for a second.
func (d *Driver) watchAfter(batch []*request) {
	d.mu.Lock()
	for _, r := range batch {
		if probes(&r.job) {
			d.watch = append(d.watch, &question{key: r.job.Key, places: r.places})
		}
	}
	d.mu.Unlock()
	d.wake.watch()
}

// watching asks for a second after plumbing whether somebody else answers.
func (d *Driver) watching(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	loop(ctx, d.wake.watching, watchApart, func(time.Time) time.Time {
		d.mu.Lock()
		batch := d.watch
		d.watch = nil
		d.mu.Unlock()
		if len(batch) > 0 {
			wg.Go(func() { d.watchAll(ctx, batch) })
		}
		return time.Time{}
	})
}

func (d *Driver) watchAll(ctx context.Context, batch []*question) {
	ctx, cancel := context.WithTimeout(ctx, watchFor)
	defer cancel()
	by := byAsked(batch)
	d.hear(ctx, batch, func(a wire.Answer) {
		q := by[a.Addr]
		if q == nil {
			return
		}
		d.mu.Lock()
		held := d.byAddr[a.Addr] != nil
		d.mu.Unlock()
		if held && d.judge(q, a) != "" {
			d.cfg.Recheck()
		}
	})
}

// judge decides about an answer: "" if the answer is rightly given, else what is
// wrong with it. The item is unfit from then on.
func (d *Driver) judge(q *question, a wire.Answer) string {
	if d.fit.ours(a.MAC) || d.cfg.Member(a.MAC) {
		return ""
	}
	d.mu.Lock()
	s := d.fit.strangers[a.Addr]
	first := s == nil
	if first {
		now := time.Now()
		s = &stranger{key: q.key, asked: now, due: now.Add(doubtEvery)}
		d.fit.strangers[a.Addr] = s
		d.stats.Strangers++
	}
	s.mac = slices.Clone(a.MAC)
	var link string
	for _, p := range q.places {
		if p.prefix.Addr() == a.Addr {
			s.at, link = p, p.link.Name
		}
	}
	words := s.words(a.Addr)
	d.mu.Unlock()
	if first {
		d.cfg.Log.Error().Str("system", string(q.key.System)).Str("item", string(q.key.Item)).
			Str("address", a.Addr.String()).Str("mac", a.MAC.String()).Str("interface", link).
			Msg("a stranger answers for an address: it cannot be held here")
		d.wake.doubt()
	}
	return words
}

func (s *stranger) words(addr netip.Addr) string {
	return fmt.Sprintf("%s is answered by %s, which is no member of this cluster: find that host, or take the address out of the configuration",
		addr, s.mac)
}
