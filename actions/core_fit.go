package actions

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// look asks whether what is wanted of a slot can be held on this machine at all.
// The answer stands until everything is decided anew, so that decisions, reports
// and status agree.
func (c *Core) look(s *slot) {
	was := s.unfit
	s.unfit, s.absent = "", false
	if s.want == nil {
		return
	}
	if c.cfg.Absent != nil {
		if s.unfit = c.cfg.Absent(s.want); s.unfit != "" {
			s.absent = true
			return
		}
	}
	if s.unfit = c.unfit(s.want); s.want.Maintained && s.coming() {
		s.unfit = "" // what is up stays as it is
	}
	if s.unfit != "" {
		if !s.want.Keep && !s.want.Maintained {
			c.blamed[s.key] = true
		}
		if s.unfit != was {
			c.cfg.Note(s.key, s.want.Token, "cannot be held here: "+s.unfit)
		}
		return
	}
	if was != "" {
		if !s.want.Maintained {
			s.fails, s.acquireAt = 0, 0 // something has changed: it is tried at once
		}
		c.cfg.Note(s.key, s.want.Token, "can be held here again")
	}
}

// coming says whether the item is up, or on its way.
func (s *slot) coming() bool {
	return s.state == held || s.running != nil && s.running.Kind == Acquire && !s.cancelled
}

func (c *Core) unfit(j *fsm.Job) string {
	if c.cfg.Unfit == nil {
		return ""
	}
	return c.cfg.Unfit(j)
}

// lookMended finds what the log remembers as failed here because this process
// called it unfit, and is fit again.
func (c *Core) lookMended() {
	c.mended = c.mended[:0]
	for i := range c.failed {
		if j := &c.failed[i]; c.blamed[j.Key] && c.unfit(j) == "" {
			c.mended = append(c.mended, j.Key)
		}
	}
}

// bet names an epoch that is called down and may have left something up for a
// time that the kernel bounds (LEASES.md, L9: bets on time).
type bet struct {
	member fsm.MemberID
	epoch  fsm.Epoch
}

// placeBets notes when this process first read of each bet: it runs from the first
// Step after that, never from earlier. What nobody waits for any more is
// forgotten: should it come back, it is counted from then.
func (c *Core) placeBets(now time.Duration) {
	shown := map[bet]time.Duration{}
	for _, s := range c.order {
		if s.want == nil {
			continue
		}
		for i := range s.want.Blocked {
			b := &s.want.Blocked[i]
			if b.After <= 0 {
				continue
			}
			k := bet{b.Member, b.Epoch}
			since, ok := c.bets[k]
			if !ok {
				since = now
			}
			shown[k] = since
		}
	}
	c.bets = shown
}

// blocks says whether a slot still waits for an entry, and until when at most;
// Never: without end. A bet that was won once stays won, also if its time is
// lengthened later: the address has gone.
func (c *Core) blocks(s *slot, b *fsm.Blocker) (until time.Duration, ok bool) {
	won := claimOf(b)
	if slices.Contains(s.won, won) {
		return 0, false
	}
	since, placed := c.bets[bet{b.Member, b.Epoch}]
	if b.After <= 0 || !placed {
		return Never, true
	}
	if until = since + b.After; until > c.now {
		return until, true
	}
	s.won = append(s.won, won)
	return 0, false
}

// blocked says whom a slot waits for, and when that ends without a word from
// them; "" if for nobody.
func (c *Core) blocked(s *slot) (why string, until time.Duration) {
	var asked, bets []string
	for i := range s.want.Blocked {
		b := &s.want.Blocked[i]
		switch end, ok := c.blocks(s, b); {
		case !ok:
		case end == Never:
			asked = append(asked, string(b.Member))
		default:
			bets = append(bets, string(b.Member))
			until = max(until, end)
		}
	}
	var words []string
	if len(asked) > 0 {
		words = append(words, "waits until released by "+list(asked))
	}
	if len(bets) > 0 {
		words = append(words, fmt.Sprintf("waits for %s, at most %.1f s", list(bets), math.Ceil((until-c.now).Seconds()*10)/10))
	}
	if len(asked) > 0 {
		until = Never
	}
	return strings.Join(words, "; "), until
}

func list(names []string) string {
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}
