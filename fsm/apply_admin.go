package fsm

import "slices"

// cleanup forgets failures, so that placement takes these members into account
// again, and ends what keeps items from being moved.
func (c *change) cleanup(cmd Cleanup) Result {
	if cmd.System == "" && cmd.Item != "" {
		return refused("an item needs its system")
	}
	var found []MemberID
	var keys []Key
	for id, f := range c.next.Failures() {
		if (cmd.System == "" || f.System == cmd.System) && (cmd.Item == "" || f.Item == cmd.Item) {
			found, keys = append(found, id), append(keys, f.Key)
		}
	}
	c.when = cmd.At
	for i, id := range found {
		c.failures.Delete(memberKey(id, keys[i]))
		c.note(JournalEntry{Kind: KindCleaned, Member: id, Key: keys[i]})
	}
	c.unbrake(cmd.System, cmd.Item)
	return done
}

// maintain begins or ends the maintenance of a system, or of all.
func (c *change) maintain(cmd Maintain) Result {
	if _, known := c.next.spec.Systems[cmd.System]; !known && cmd.System != "" && cmd.On {
		return refused("there is no system %s", cmd.System)
	}
	at, on := slices.BinarySearch(c.next.maintained, cmd.System)
	if on == cmd.On {
		return done
	}
	c.when = cmd.At
	list := slices.Clone(c.next.maintained)
	word := "on"
	if cmd.On {
		list = slices.Insert(list, at, cmd.System)
	} else {
		list, word = slices.Delete(list, at, at+1), "off"
	}
	if len(list) == 0 {
		list = nil
	}
	c.next.maintained = list
	c.noteMaintained(cmd.System, word)
	return done
}

// unmaintain ends the maintenance of systems that the Spec no longer has.
func (c *change) unmaintain() {
	var left []SystemID
	for _, id := range c.next.maintained {
		if _, in := c.next.spec.Systems[id]; in || id == "" {
			left = append(left, id)
			continue
		}
		c.noteMaintained(id, "off: removed from the configuration")
	}
	c.next.maintained = left
}

func (c *change) noteMaintained(id SystemID, reason string) {
	c.note(JournalEntry{Kind: KindMaintained, Key: Key{System: id}, Reason: reason})
}
