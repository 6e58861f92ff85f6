package fsm

// report takes in what is true on a member (L9).
//
// A release is final, so a report counts however late it comes, also from an
// epoch that is down or no longer the newest. What it may name depends on whose
// word it is:
//   - the newest epoch speaks for its machine: it swept it, so it may name the
//     machine's entries of every epoch. Not while it is unsettled: then a former
//     instance under the same name may still be alive.
//   - an older epoch speaks for itself alone: an entry of exactly that epoch can
//     only be its own process's. The log does not keep on which machine each
//     older epoch ran, so it cannot tell more.
func (c *change) report(r Report) Result {
	m, known := c.member(r.Member)
	switch {
	case !known:
		return refused("the member has never registered")
	case r.Epoch == 0 || r.Epoch > m.Epoch:
		return refused("the member has no epoch %d", r.Epoch)
	}
	c.when = r.At
	for _, claim := range r.Acquired {
		c.acquired(m, r, claim)
	}
	for _, claim := range r.Released {
		c.released(m, r, claim, "released")
	}
	for _, claim := range r.Swept {
		c.released(m, r, claim, "swept")
	}
	for _, k := range r.Mended { // before what failed: the worse of the two stands
		c.mended(m, r, k)
	}
	for _, f := range r.Failed {
		c.failed(m, r, f)
	}
	for _, s := range r.Seen {
		c.seen(m, r, s)
	}
	c.programs(m, r)
	return done
}

func (c *change) acquired(m Member, r Report, claim Claim) {
	slot, ok := c.slot(claim.Key)
	switch {
	case !ok || slot.Owner != r.Member || r.Epoch != m.Epoch:
		return
	case slot.Token != claim.Token && c.next.keeps(RuleAcquiredToken):
		return
	case slot.AtMostOne && (!m.Up || !m.Settled):
		return
	}
	c.failures.Delete(memberKey(r.Member, claim.Key))
	if slot.Acquired == r.Epoch {
		return
	}
	n := *slot
	n.Acquired = r.Epoch
	c.put(&n)
	c.note(JournalEntry{Kind: KindAcquired, Member: r.Member, Key: claim.Key, To: r.Member})
}

func (c *change) released(m Member, r Report, claim Claim, how string) {
	slot, ok := c.slot(claim.Key)
	if !ok || claim.Member != r.Member {
		return
	}
	left := make([]Entry, 0, len(slot.Outstanding))
	for _, e := range slot.Outstanding {
		if !c.releases(m, r, claim, e) {
			left = append(left, e)
		}
	}
	if len(left) == len(slot.Outstanding) {
		return
	}
	n := *slot
	n.Outstanding = left
	c.put(&n)
	c.note(JournalEntry{Kind: KindReleased, Member: r.Member, Key: claim.Key, From: r.Member, Reason: how})
}

func (c *change) releases(m Member, r Report, claim Claim, e Entry) bool {
	if !c.next.keeps(RuleReportToken) {
		claim.Token = e.Token
	}
	switch {
	case !claim.matches(e):
		return false
	case r.Epoch == m.Epoch:
		return m.Settled && (e.Host.Machine == m.Host.Machine || !c.next.keeps(RuleOwnMachine))
	default:
		return e.Epoch == r.Epoch
	}
}

// failed remembers a hook that failed under the member's present process, for a
// token that the member has or still owes. It removes nothing.
func (c *change) failed(m Member, r Report, f Failure) {
	slot, ok := c.slot(f.Key)
	if !ok || r.Epoch != m.Epoch {
		return
	}
	if _, in := c.next.spec.slotted(f.Key); !in {
		return
	}
	named := slot.Owner == r.Member && slot.Token == f.Token
	for _, e := range slot.Outstanding {
		named = named || (e.Member == r.Member && e.Token == f.Token)
	}
	key := memberKey(r.Member, f.Key)
	if have, _ := c.failures.Get(key); !named || have == f {
		return
	}
	c.failures.Insert(key, f)
	c.note(JournalEntry{Kind: KindFailed, Member: r.Member, Key: f.Key, Reason: f.Err})
	c.failsAgain(slot, f, r.Member)
}

// mended forgets a failure of the member's present process. A later one under
// any token is remembered anew.
func (c *change) mended(m Member, r Report, k Key) {
	if r.Epoch != m.Epoch {
		return
	}
	if _, had := c.failures.Delete(memberKey(r.Member, k)); had {
		c.note(JournalEntry{Kind: KindMended, Member: r.Member, Key: k})
	}
}

// seen keeps what another member than the owner saw of an item's addresses on
// the wire. Only what a member that runs saw under the owner's present token
// says anything.
func (c *change) seen(m Member, r Report, s Sighting) {
	slot, ok := c.slot(s.Key)
	switch {
	case !ok || r.Epoch != m.Epoch || !m.Up:
		return
	case slot.Owner == "" || slot.Owner == r.Member || slot.Token != s.Token:
		return
	case c.next.spec.Systems[s.System].Action != ActionIP:
		return
	}
	now := Seen{By: r.Member, Token: s.Token, OK: s.OK, Answer: s.Answer}
	if now.OK {
		now.Answer = ""
	}
	was := slot.Seen
	if was != nil && *was == now {
		return
	}
	n := *slot
	n.Seen = &now
	c.put(&n)
	if was == nil || was.OK != now.OK || was.Answer != now.Answer { // not for each witness of the same
		c.note(JournalEntry{Kind: KindSeen, Member: r.Member, Key: s.Key, To: slot.Owner, Reason: now.words()})
	}
}

func (s Seen) words() string {
	switch {
	case s.OK:
		return "its owner answers on the wire"
	case s.Answer == "":
		return "nobody answers on the wire"
	default:
		return s.Answer
	}
}
