package agent

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
)

const (
	// hedgeMost bounds how long one voter is waited for before the next is asked beside
	// it; below, it is half a lease. A handshake takes milliseconds.
	hedgeMost  = 500 * time.Millisecond
	hedgeLeast = 100 * time.Millisecond
	// quietLeast is how long a voter may say nothing in any case, however short the lease
	// is: a machine that is busy for a moment is not left for that.
	quietLeast = 100 * time.Millisecond
	// attemptMost bounds an attempt that others run beside.
	attemptMost = 3 * time.Second
	// After a round in which no voter served this member: the first pause, doubled up
	// to the most. Each is drawn from half of it to one and a half.
	roundFirst = 100 * time.Millisecond
	roundMost  = time.Second
	// spreadMost bounds the pause after a stream has broken, drawn from nothing to an
	// eighth of the lease: all that a voter served lose it at one moment, and a voter
	// takes 256 handshakes at a time.
	spreadMost = 250 * time.Millisecond
	// homeEvery is how often a member that is served by another voter than the first of
	// its order looks whether that one can serve it again; drawn up to twice as long.
	// Else all would in time read from the voter that was restarted first.
	homeEvery = 30 * time.Second
	// blindFirst is how long the voter that serves may know no leader before others are
	// asked whether they do, blindEvery how long it takes to ask again; both are drawn up
	// to twice as long. Elections are over by then, and where nobody leads asking is no use.
	blindFirst = 2 * time.Second
	blindEvery = 10 * time.Second
)

// follower keeps one stream, and finds another in time. It is one goroutine, with one
// more for each stream.
type follower struct {
	n     *Node
	links sync.WaitGroup
	heard chan news

	cur    *link          // whose reading is shown; nil: nobody's
	trying []*link        // those asked beside it
	asked  []fsm.MemberID // in this round
	rounds int            // that failed, in a row
	next   time.Time      // nobody is asked before
	lost   time.Time      // since when cur is nil
	home   time.Time      // when to ask the first of the order again
	homing bool           // it is being asked, or all others are: there may be a better one
	blind  time.Time      // when to ask others for one that knows a leader; zero: cur does
}

func newFollower(n *Node) *follower {
	return &follower{n: n, heard: make(chan news)}
}

// run follows until ctx ends.
func (f *follower) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	f.lost = time.Now()
	defer f.links.Wait()
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		timer.Reset(f.look(ctx, now).Sub(now))
		select {
		case <-ctx.Done():
			return
		case n := <-f.heard:
			f.take(n, time.Now())
		case <-f.n.wakeFollow:
		case <-timer.C:
		}
	}
}

// look does what is due and says when to look again.
func (f *follower) look(ctx context.Context, now time.Time) time.Time {
	lease := f.n.lease()
	wake := now.Add(time.Second)
	at := func(t time.Time) {
		if t.After(now) && t.Before(wake) {
			wake = t
		}
	}
	if f.cur != nil && now.Sub(f.cur.heard) >= 2*quiet(lease) {
		f.lose(now, "it says nothing any more")
	}
	order := preferred(f.n.cfg.Self, f.voters())
	if !f.seeks(now, lease, order) {
		f.settle()
		at(f.cur.heard.Add(quiet(lease)))
		at(f.cur.since.Add(lease / 2)) // when Behind begins to count
		at(f.home)
		at(f.blind)
		return wake
	}
	f.expire(now, at)
	f.ask(ctx, now, lease, order, at)
	if f.cur != nil {
		at(f.cur.heard.Add(quiet(lease)))
		at(f.cur.heard.Add(2 * quiet(lease)))
		return wake
	}
	if over := f.lost.Add(lease / 2); now.Before(over) {
		at(over)
	} else {
		f.n.forgetLeader()
	}
	return wake
}

// seeks reports whether another voter than the present one is wanted.
func (f *follower) seeks(now time.Time, lease time.Duration, order []fsm.MemberID) bool {
	switch {
	case f.cur == nil,
		now.Sub(f.cur.heard) >= quiet(lease),
		!slices.Contains(order, f.cur.voter),
		now.Sub(f.cur.since) >= lease/2 && f.n.cfg.Detector.Behind():
		if f.homing {
			f.homing, f.asked = false, nil
			for _, l := range f.trying {
				f.asked = append(f.asked, l.voter)
			}
		}
		return true
	}
	if f.homing {
		return true
	}
	switch {
	case order[0] != f.cur.voter && !now.Before(f.home):
		f.homing, f.asked = true, without(order, order[0]) // and nobody else
	case !f.blind.IsZero() && !now.Before(f.blind):
		f.homing, f.asked = true, nil
		f.blind = now.Add(blindEvery + rand.N(blindEvery))
	}
	return f.homing
}

// sees notes whether the present voter knows a leader. One that does not may be cut off
// from all others, and who has no lease is told by nobody that it is behind.
func (f *follower) sees(now time.Time, l leader) {
	switch {
	case l != leader{}:
		f.blind = time.Time{}
	case f.blind.IsZero():
		f.blind = now.Add(blindFirst + rand.N(blindFirst))
	}
}

// quiet is how long a voter may say nothing before another one is looked for.
func quiet(lease time.Duration) time.Duration { return max(lease/2, quietLeast) }

func without(all []fsm.MemberID, one fsm.MemberID) []fsm.MemberID {
	return slices.DeleteFunc(slices.Clone(all), func(m fsm.MemberID) bool { return m == one })
}

// voters are those that may be asked.
func (f *follower) voters() []fsm.MemberID {
	return candidates(f.n.spec(), f.n.view().state.Voters(), f.n.cfg.Self)
}

// settle stops looking for another voter: the present one is as good as any.
func (f *follower) settle() {
	for _, l := range f.trying {
		l.end()
	}
	f.trying, f.asked, f.rounds, f.homing = nil, nil, 0, false
}

// expire gives up attempts that take too long.
func (f *follower) expire(now time.Time, at func(time.Time)) {
	for _, l := range slices.Clone(f.trying) {
		if over := l.begun.Add(attemptMost); now.Before(over) {
			at(over)
		} else {
			f.fail(l, "no answer in time")
		}
	}
}

// ask asks the next voter of the order, if it is time to.
func (f *follower) ask(ctx context.Context, now time.Time, lease time.Duration, order []fsm.MemberID, at func(time.Time)) {
	if now.Before(f.next) {
		at(f.next)
		return
	}
	hedge := min(max(lease/2, hedgeLeast), hedgeMost)
	if n := len(f.trying); n > 0 {
		if due := f.trying[n-1].begun.Add(hedge); now.Before(due) {
			at(due)
			return
		}
	}
	for _, voter := range order {
		if f.cur != nil && f.cur.voter == voter || slices.Contains(f.asked, voter) {
			continue
		}
		f.asked = append(f.asked, voter)
		f.trying = append(f.trying, f.open(ctx, voter, now))
		at(now.Add(hedge))
		return
	}
	if len(f.trying) > 0 {
		return
	}
	if f.homing {
		f.stay(now)
		return
	}
	pause := roundMost
	if f.rounds < 8 {
		pause = min(roundFirst<<f.rounds, roundMost)
	}
	f.rounds++
	f.asked = nil
	f.next = now.Add(pause/2 + rand.N(pause))
	at(f.next)
}

// stay has the present voter serve for a while, whether it is the first of the order
// or not.
func (f *follower) stay(now time.Time) {
	f.home = now.Add(homeEvery + rand.N(homeEvery))
	f.homing, f.asked = false, nil
}

// open asks a voter.
func (f *follower) open(ctx context.Context, voter fsm.MemberID, now time.Time) *link {
	ctx, end := context.WithCancel(ctx)
	l := &link{voter: voter, begun: now, end: end}
	cfg := &f.n.cfg
	to := client.Target{Addr: f.n.spec().Servers[voter].Addr, Name: voter}
	has := f.n.view()
	req := api.PartRequest{
		Member: cfg.Self, Instance: cfg.Instance, Cluster: cfg.Cluster, Have: max(cfg.Have, has.at), Spec: has.state.Spec().Version,
	}
	f.links.Go(func() {
		defer end()
		l.follow(ctx, cfg.Peers, to, req, has.state.Spec(), f.heard)
	})
	return l
}

// take takes in what a voter says.
func (f *follower) take(n news, now time.Time) {
	l := n.link
	isCur := l == f.cur
	switch {
	case !isCur && !slices.Contains(f.trying, l):
		return // given up by now
	case n.err != nil && isCur:
		f.lose(now, n.err.Error())
		return
	case n.err != nil:
		f.fail(l, n.err.Error())
		return
	}
	l.heard, l.now = now, n.view
	if !isCur {
		if n.view.at < f.n.view().at {
			return // the present one has read further meanwhile
		}
		if f.homing && n.leader == (leader{}) {
			f.fail(l, "it knows no leader")
			return
		}
		f.adopt(l, now)
	}
	f.sees(now, n.leader)
	f.n.publish(n.view, l.voter, n.leader, n.fresh)
}

// adopt has one of those asked serve this member.
func (f *follower) adopt(l *link, now time.Time) {
	was := f.cur
	f.trying = slices.DeleteFunc(f.trying, func(o *link) bool { return o == l })
	f.cur, l.since = l, now
	f.settle()
	f.next = time.Time{}
	f.stay(now)
	f.n.setTrouble(l.voter, "")
	event := f.n.log.Info().Str("voter", string(l.voter)).Uint64("index", uint64(l.now.at))
	if was != nil {
		was.end()
		event = event.Str("before", string(was.voter))
	}
	event.Msg("reads what concerns this node from a voter")
}

// lose ends the present stream.
func (f *follower) lose(now time.Time, why string) {
	l := f.cur
	l.end()
	f.n.setTrouble(l.voter, why)
	f.n.log.Info().Str("voter", string(l.voter)).Str("why", why).Msg("the stream from a voter has ended")
	f.cur, f.lost, f.homing = nil, now, false
	f.n.lost()
	if len(f.trying) > 0 { // others are asked already
		f.asked = append(f.asked, l.voter)
		return
	}
	f.asked, f.rounds = []fsm.MemberID{l.voter}, 0
	if spread := min(f.n.lease()/8, spreadMost); spread > 0 {
		f.next = now.Add(rand.N(spread))
	}
}

// fail ends an attempt.
func (f *follower) fail(l *link, why string) {
	l.end()
	f.trying = slices.DeleteFunc(f.trying, func(o *link) bool { return o == l })
	f.n.setTrouble(l.voter, why)
	f.n.log.Debug().Str("voter", string(l.voter)).Str("why", why).Msg("a voter does not serve this node")
}
