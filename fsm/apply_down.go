package fsm

import (
	"fmt"
	"slices"
)

// down calls an epoch down (L5). Its moves come first, so that they add the
// entries of what the kernel does not take back; then the gated entries go.
func (c *change) down(d Down) Result {
	m, why := c.newest(d.Member, d.Epoch)
	switch {
	case why != "":
		return refused("%s", why)
	case !m.Up:
		return refused("the epoch is down already")
	case len(d.Moves) > MaxMoves:
		return refused("%d moves in one command, %d is the most", len(d.Moves), MaxMoves)
	case d.Goodbye == nil && d.Voters != c.next.voters.Index:
		return refused("the votes were counted over another list of voters")
	case d.Goodbye != nil:
		if why := c.refusesGoodbye(*d.Goodbye, d.Member); why != "" {
			return refused("%s", why)
		}
	}
	c.when = d.At
	reason := "silent"
	if d.Goodbye != nil {
		reason = "stopped in order"
	}
	c.note(JournalEntry{Kind: KindDown, Member: d.Member, Reason: reason, Evidence: d.Evidence})
	if d.Goodbye != nil {
		c.remember(*d.Goodbye)
	} else {
		c.lose(d.Member) // before its moves: they are dropped too
	}
	dropped := c.move(d.Moves)
	m, _ = c.member(d.Member)
	m.Up = false
	c.setMember(d.Member, m)
	c.clear(d.Member, func(_ Key, e Entry) bool {
		return e.Gated || !c.next.keeps(RuleDownSparesUngated)
	})
	if d.Goodbye != nil {
		c.clearGoodbye(*d.Goodbye)
	}
	return Result{Applied: true, Dropped: dropped}
}

// goodbye clears what a process that stopped in order has let go of (L8). It
// calls nothing down: that is Down's, with the goodbye as its cause.
func (c *change) goodbye(g Goodbye) Result {
	m, known := c.member(g.Member)
	switch {
	case !known:
		return refused("the member has never registered")
	case m.Process == g.Process && !m.Settled:
		return refused("the member is unsettled: what its former instance holds it cannot know")
	}
	c.remember(g)
	c.clearGoodbye(g)
	c.note(JournalEntry{Kind: KindGoodbye, Member: g.Member, Reason: fmt.Sprintf("%d items not yet released", len(g.Kept))})
	return done
}

// refusesGoodbye says why a goodbye is not the cause of a Down of the member's
// newest epoch.
func (c *change) refusesGoodbye(g Goodbye, id MemberID) string {
	m, _ := c.member(id)
	switch {
	case g.Member != id:
		return "the goodbye is another member's"
	case !c.next.keeps(RuleGoodbyeEpoch):
		return ""
	case m.Process != g.Process:
		return "the goodbye is of a process that another has replaced"
	case !m.Settled:
		return "the member is unsettled: what its former instance holds it cannot know"
	default:
		return ""
	}
}

// remember keeps with the member what its newest process let go of: a move that
// comes only later must not make it outstanding for it. Goodbyes may arrive out
// of order: what one of them named as released stays released.
func (c *change) remember(g Goodbye) {
	m, _ := c.member(g.Member)
	if m.Process != g.Process {
		return
	}
	kept := slices.Clone(g.Kept)
	slices.SortFunc(kept, Key.Compare)
	kept = slices.Compact(kept)
	if m.Goodbye {
		kept = slices.DeleteFunc(kept, func(k Key) bool {
			_, also := slices.BinarySearchFunc(m.Kept, k, Key.Compare)
			return !also
		})
	}
	if len(kept) == 0 {
		kept = nil
	}
	m.Goodbye, m.Kept = true, kept
	c.setMember(g.Member, m)
}

// clearGoodbye removes the at-most-one entries of that machine that the goodbye
// does not name, up to the last epoch given to its process.
func (c *change) clearGoodbye(g Goodbye) {
	m, _ := c.member(g.Member)
	upTo := m.Epoch
	if m.Process != g.Process {
		upTo = min(g.Epoch, m.Epoch-1) // the newest is another's
	}
	c.clear(g.Member, func(k Key, e Entry) bool {
		return e.AtMostOne && e.Host.Machine == g.Host.Machine && !slices.Contains(g.Kept, k) &&
			(e.Epoch <= upTo || !c.next.keeps(RuleGoodbyeEpoch))
	})
}

// fence clears everything of a machine that was switched off, up to an epoch (L9).
// What the machine does under a newer one it does after that. An epoch that is up
// is not switched off, or it will be called down soon.
func (c *change) fence(f Fence) Result {
	m, known := c.member(f.Member)
	switch {
	case !known:
		return refused("the member has never registered")
	case f.UpTo > m.Epoch:
		return refused("the member has no epoch %d", f.UpTo)
	case f.UpTo == m.Epoch && f.Host.Machine == m.Host.Machine && m.Up:
		return refused("the epoch is up: only one that was called down can be fenced")
	}
	count := c.clear(f.Member, func(_ Key, e Entry) bool {
		return e.Host.Machine == f.Host.Machine && e.Epoch <= f.UpTo
	})
	if m.Epoch == f.UpTo && m.Host.Machine == f.Host.Machine {
		m.Fenced = true
		c.setMember(f.Member, m)
	}
	c.note(JournalEntry{Kind: KindFenced, Member: f.Member, Reason: fmt.Sprintf("%d entries cleared", count)})
	return done
}

// force makes the entries named void.
func (c *change) force(f Force) Result {
	count := 0
	for _, claim := range f.Claims {
		slot, ok := c.slot(claim.Key)
		if !ok {
			continue
		}
		i := slices.IndexFunc(slot.Outstanding, claim.matches)
		if i < 0 {
			continue
		}
		count++
		n := *slot
		n.Outstanding = slices.Clone(slot.Outstanding)
		n.Outstanding[i].Void = true
		c.put(&n)
		c.note(JournalEntry{Kind: KindForced, Member: claim.Member, Key: claim.Key})
	}
	if count == 0 {
		return refused("none of the entries named is there: look again")
	}
	return done
}

// matches reports whether the claim names exactly this entry.
func (cl Claim) matches(e Entry) bool {
	return cl.Member == e.Member && cl.Epoch == e.Epoch && cl.Token == e.Token
}
