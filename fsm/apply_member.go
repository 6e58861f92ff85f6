package fsm

// register begins an epoch (L0, L6).
func (c *change) register(r Register) Result {
	old, known := c.member(r.Member)
	if why := c.refusesRegistration(r, old, known); why != "" {
		return refused("%s", why)
	}
	c.when = r.At
	other := known && r.Host != old.Host && c.next.keeps(RuleUnsettled)
	n := Member{
		Epoch: Epoch(c.at), Nonce: r.Nonce, Process: r.Process, Host: r.Host, Up: true, Gate: r.Gate,
		// Unsettled lasts until Settle: a second registration of the same process
		// does not shorten the wait for the former instance.
		Settled:  !known || (old.Settled && !other) || !c.next.keeps(RuleUnsettled),
		FirstTTL: c.next.maxTTL,
		// A process that stops does not change its mind with its epoch.
		Leaving: known && old.Leaving && r.Process == old.Process,
	}
	c.setMember(r.Member, n)
	if known && r.Host.Instance != old.Host.Instance {
		c.forgetAck(r.Member)
	}
	if !known {
		c.rehomeFor(r.Member)
	}
	if known && r.Process != old.Process {
		c.failures.DeletePrefix(appendPart(nil, string(r.Member)))
	}
	reason := ""
	if other {
		reason = "registered again " + otherThan(r.Host, old.Host)
	}
	c.note(JournalEntry{Kind: KindRegistered, Member: r.Member, Reason: reason})
	if other || (known && r.Gate != old.Gate) {
		c.renewOwned(r.Member, old, n, other, reason)
	}
	return Result{Applied: true, Epoch: n.Epoch}
}

func (c *change) refusesRegistration(r Register, old Member, known bool) string {
	_, listed := c.next.spec.Servers[r.Member]
	switch {
	case r.Member == "" || r.Nonce == (Nonce{}) || r.Process == (Nonce{}) || r.Host.Machine == "":
		return "a registration needs a member, a nonce, a process and a machine"
	case c.next.spec.Version == 0:
		return "the cluster is not founded yet"
	case !known && !listed:
		return "not a member of this cluster: the configuration does not name it"
	case known && r.Nonce == old.Nonce:
		return "this registration is committed already"
	case known && old.Epoch == Epoch(c.at):
		return "the member has registered under this index already"
	case r.Replaces != old.Epoch && c.next.keeps(RuleReplaces):
		return "another registration was faster: this one replaces an epoch that is not the newest"
	default:
		return ""
	}
}

func otherThan(now, was Host) string {
	switch {
	case now.Machine != was.Machine:
		return "from another machine"
	case now.Boot != was.Boot:
		return "after a reboot"
	default:
		return "with another data directory"
	}
}

// renewOwned gives new tokens to what a member owns and its former instance may
// still hold (L6), and to what its gate now guards differently (L9 "Kind").
func (c *change) renewOwned(id MemberID, old, now Member, other bool, reason string) {
	for _, slot := range c.ownedBy(id) {
		sys, _ := c.next.spec.slotted(slot.Key)
		gated := sys.gated(now.Gate)
		switch {
		case other && !slot.Gated:
			c.put(c.renew(slot, old, c.next.spec, slot.AtMostOne, gated, reason))
		case gated == slot.Gated:
		case c.next.keeps(RuleFreshToken):
			c.put(c.renew(slot, old, c.next.spec, slot.AtMostOne, gated, "the kernel gate of its owner changed"))
		default:
			n := *slot
			n.Gated = gated
			c.put(&n)
		}
	}
}

func (c *change) settle(s Settle) Result {
	m, why := c.newest(s.Member, s.Epoch)
	switch {
	case why != "":
		return refused("%s", why)
	case !m.Up:
		return refused("the epoch is down")
	case m.Settled:
		return done
	}
	m.Settled = true
	c.setMember(s.Member, m)
	c.note(JournalEntry{Kind: KindSettled, Member: s.Member})
	return done
}

func (c *change) leave(l Leave) Result {
	m, why := c.newest(l.Member, l.Epoch)
	switch {
	case why != "":
		return refused("%s", why)
	case !m.Up:
		return refused("the epoch is down")
	case m.Leaving:
		return done
	}
	c.when = l.At
	m.Leaving = true
	c.setMember(l.Member, m)
	c.note(JournalEntry{Kind: KindLeaving, Member: l.Member})
	return done
}

// newest is the member if the epoch is its newest, or why not.
func (c *change) newest(id MemberID, e Epoch) (Member, string) {
	m, ok := c.member(id)
	switch {
	case !ok:
		return m, "the member has never registered"
	case m.Epoch != e:
		return m, "the epoch is not the member's newest"
	default:
		return m, ""
	}
}

// removeMember forgets a member (L10).
func (c *change) removeMember(r RemoveMember) Result {
	if _, ok := c.member(r.Member); !ok {
		return refused("the member has never registered")
	}
	if why := c.holds(r.Member); why != "" {
		return refused("%s", why)
	}
	for _, slot := range c.ownedBy(r.Member) {
		n := *slot
		n.Owner, n.Token, n.Previous, n.Reason = "", Token(c.at), slot.Owner, "its owner was removed"
		n.Gated, n.Acquired, n.Cause, n.Braked = false, 0, CauseNone, false
		c.put(&n)
	}
	c.clear(r.Member, func(Key, Entry) bool { return true })
	c.failures.DeletePrefix(appendPart(nil, string(r.Member)))
	c.members.Delete([]byte(r.Member))
	c.forgetAck(r.Member)
	c.note(JournalEntry{Kind: KindRemoved, Member: r.Member})
	return done
}
