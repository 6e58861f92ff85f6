package ip

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/flip-ha/flip/actions/wire"
	"github.com/flip-ha/flip/fsm"
)

const (
	// doubtEvery is how often it is asked whether a stranger still answers.
	doubtEvery = 10 * time.Second
	// doubtChunk is how many addresses are asked for at one time, so that a
	// thousand of them are no storm of broadcasts.
	doubtChunk = 128
	// doubtFor is how long answers are waited for.
	doubtFor = time.Second
	// memberEvery is how often it is looked whether a stranger has turned out to be
	// a member whose MACs were not known yet.
	memberEvery = time.Second
	// doubtLimit is how long a verdict is kept that nobody asks for: the item is no
	// longer of this cluster, or goes elsewhere. It is asked anew when it is
	// acquired again.
	doubtLimit = 10 * time.Minute
)

// stranger is a host that is no member and answers for an item's address. The
// driver's lock guards it.
type stranger struct {
	key   fsm.Key
	mac   net.HardwareAddr
	at    place
	asked time.Time // Unfit last answered with it
	due   time.Time // to be asked for again
}

// doubting asks the wire again about strangers, until they no longer answer.
func (d *Driver) doubting(ctx context.Context) {
	loop(ctx, d.wake.doubting, memberEvery, func(now time.Time) time.Time {
		fit := d.known()
		ask := d.doubts(now)
		if len(ask) > 0 {
			fit = d.askAgain(ctx, ask) || fit
		}
		if fit && ctx.Err() == nil {
			d.cfg.Recheck()
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(d.fit.strangers) == 0 {
			return time.Time{}
		}
		return now.Add(memberEvery)
	})
}

// known drops the verdicts on those that are known as members by now, and says
// whether there were any.
func (d *Driver) known() bool {
	d.mu.Lock()
	macs := map[netip.Addr]net.HardwareAddr{}
	for addr, s := range d.fit.strangers {
		macs[addr] = s.mac
	}
	d.mu.Unlock()
	fit := false
	for addr, mac := range macs {
		if d.fit.ours(mac) || d.cfg.Member(mac) {
			d.acquit(addr, "who answered for an address is a member of this cluster")
			fit = true
		}
	}
	return fit
}

// doubts are those that are to be asked for again now.
func (d *Driver) doubts(now time.Time) []*question {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []*question
	for addr, s := range d.fit.strangers {
		if now.Sub(s.asked) > doubtLimit {
			delete(d.fit.strangers, addr)
			continue
		}
		if s.due.After(now) {
			continue
		}
		out = append(out, &question{key: s.key, places: []place{s.at}})
	}
	slices.SortFunc(out, func(a, b *question) int { return a.places[0].prefix.Addr().Compare(b.places[0].prefix.Addr()) })
	return out[:min(len(out), doubtChunk)]
}

// askAgain asks about strangers and says whether one no longer answers.
func (d *Driver) askAgain(ctx context.Context, ask []*question) (fit bool) {
	asked, cancel := context.WithTimeout(ctx, doubtFor)
	defer cancel()
	by := byAsked(ask)
	still := map[netip.Addr]bool{}
	deaf := d.hear(asked, ask, func(a wire.Answer) {
		if q := by[a.Addr]; q != nil && d.judge(q, a) != "" {
			still[a.Addr] = true
		}
	})
	if ctx.Err() != nil {
		return false
	}
	for addr, q := range by {
		// Where nobody could be asked, nothing was learned.
		l, ok := d.fit.find(q.places[0].link)
		if !still[addr] && ok && !deaf[l.Index] && l.Up && l.Carrier {
			d.acquit(addr, "no stranger answers for an address any more")
			fit = true
			continue
		}
		d.mu.Lock()
		if s := d.fit.strangers[addr]; s != nil {
			s.due = time.Now().Add(doubtEvery)
		}
		d.mu.Unlock()
	}
	return fit
}

// acquit drops the verdict on an address.
func (d *Driver) acquit(addr netip.Addr, why string) {
	d.mu.Lock()
	s := d.fit.strangers[addr]
	delete(d.fit.strangers, addr)
	d.mu.Unlock()
	if s != nil {
		d.cfg.Log.Info().Str("system", string(s.key.System)).Str("item", string(s.key.Item)).
			Str("address", addr.String()).Str("mac", s.mac.String()).Msg(why)
	}
}
