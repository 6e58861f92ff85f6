package fsm

import (
	"slices"
)

func (o *oracle) report(r Report) bool {
	m, ok := o.members[r.Member]
	if !ok || r.Epoch == 0 || r.Epoch > m.Epoch {
		return false
	}
	newest := r.Epoch == m.Epoch
	for _, c := range r.Acquired {
		s, ok := o.slots[c.Key]
		if ok && newest && s.owner == r.Member && s.token == c.Token && (!s.atMostOne || (m.Up && m.Settled)) {
			s.acquired = r.Epoch
			delete(o.failures, failureKey(r.Member, c.Key))
		}
	}
	for _, c := range slices.Concat(r.Released, r.Swept) {
		o.drop(func(k Key, e Entry) bool {
			exact := k == c.Key && c.Member == r.Member && e.Member == c.Member && e.Epoch == c.Epoch && e.Token == c.Token
			if newest {
				return exact && m.Settled && e.Host.Machine == m.Host.Machine
			}
			return exact && e.Epoch == r.Epoch
		})
	}
	for _, k := range r.Mended {
		if newest {
			delete(o.failures, failureKey(r.Member, k))
		}
	}
	for _, seen := range r.Seen {
		s, ok := o.slots[seen.Key]
		sys, _, _ := o.find(seen.Key)
		if ok && newest && m.Up && s.owner != "" && s.owner != r.Member && s.token == seen.Token && sys.Action == ActionIP {
			s.seen, s.seenBy = &seen, r.Member
		}
	}
	for _, f := range r.Failed {
		s, ok := o.slots[f.Key]
		if !ok || !newest || !o.hasSlot(f.Key) {
			continue
		}
		named := s.owner == r.Member && s.token == f.Token
		for _, e := range s.entries {
			named = named || (e.Member == r.Member && e.Token == f.Token)
		}
		if named && o.failures[failureKey(r.Member, f.Key)] != f {
			o.failures[failureKey(r.Member, f.Key)] = f
			o.failsAgain(s, f, r.Member)
		}
	}
	o.claim(r)
	return true
}
