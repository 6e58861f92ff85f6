package fsm

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// oracle is the State once more, as dumb as can be: plain maps, everything
// looked for by going through all of it, nothing shared, rules written down as
// LEASES.md says them.
type oracle struct {
	at       Index
	cluster  string
	spec     Spec
	maxTTL   time.Duration
	voters   Index
	voterIDs []VoterID
	members  map[MemberID]Member
	slots    map[Key]*oracleSlot
	failures map[string]Failure // by member and key

	maintained map[SystemID]bool
	key        oracleKey
	now        int64 // of the command
	brakes     map[SystemID]Brake
}

type oracleSlot struct {
	home, owner, previous MemberID
	token                 Token
	gated, atMostOne      bool
	acquired              Epoch
	entries               []oracleEntry
	seen                  *Sighting // of the present token
	seenBy                MemberID
	cause                 Cause
	moved                 []int64
	braked                bool
}

type oracleEntry struct {
	Entry
	recipe string // what `down` takes
	stop   time.Duration
}

func newOracle() *oracle {
	return &oracle{members: map[MemberID]Member{}, slots: map[Key]*oracleSlot{}, failures: map[string]Failure{}, maintained: map[SystemID]bool{}, brakes: map[SystemID]Brake{}}
}

// apply returns whether the command is applied and how many moves it drops.
func (o *oracle) apply(at Index, cmd Command) (bool, int) {
	o.at, o.now = at, timeOf(cmd)
	applied, dropped := o.one(cmd)
	o.purge()
	o.purgeKey()
	for _, s := range o.slots {
		if s.seen != nil && s.seen.Token != s.token {
			s.seen, s.seenBy = nil, ""
		}
	}
	return applied, dropped
}

func (o *oracle) one(cmd Command) (bool, int) {
	switch c := cmd.(type) {
	case Register:
		return o.register(c), 0
	case Settle:
		return o.atNewest(c.Member, c.Epoch, func(m *Member) { m.Settled = true }), 0
	case Leave:
		return o.atNewest(c.Member, c.Epoch, func(m *Member) { m.Leaving = true }), 0
	case Assign:
		return true, o.moves(c.Moves)
	case Down:
		return o.down(c)
	case Goodbye:
		m, ok := o.members[c.Member]
		if !ok || (m.Process == c.Process && !m.Settled) {
			return false, 0
		}
		o.goodbye(c)
		return true, 0
	case Fence:
		return o.fence(c), 0
	case Force:
		return o.force(c), 0
	case Report:
		return o.report(c), 0
	case SetSpec:
		return o.setSpec(c), 0
	case RemoveMember:
		return o.remove(c.Member), 0
	case Cleanup:
		return o.cleanup(c), 0
	case Maintain:
		return o.maintain(c), 0
	default:
		return o.ofKeys(cmd), 0
	}
}

func (o *oracle) atNewest(id MemberID, e Epoch, edit func(*Member)) bool {
	m, ok := o.members[id]
	if !ok || m.Epoch != e || !m.Up {
		return false
	}
	edit(&m)
	o.members[id] = m
	return true
}

func (o *oracle) find(k Key) (System, Item, bool) {
	sys := o.spec.Systems[k.System]
	for _, it := range sys.Items {
		if it.ID == k.Item {
			return sys, it, true
		}
	}
	return sys, Item{}, false
}

func (o *oracle) hasSlot(k Key) bool {
	sys, _, ok := o.find(k)
	return ok && k.Rank >= 0 && k.Rank < max(sys.Replicas, 1) && (sys.Split == Shard || sys.Split == ChooseOne)
}

func oracleRecipe(s System) string {
	return fmt.Sprint(s.Action, s.Down, string(s.Config), s.StopTimeout)
}

// holds makes the owner outstanding with what it holds now, unless it has let
// go: by its gate, by a goodbye, or because it was switched off.
func (o *oracle) holds(k Key, s *oracleSlot, m Member) {
	gone := m.Fenced || (s.gated && !m.Up) || (m.Goodbye && s.atMostOne && !slices.Contains(m.Kept, k))
	if s.owner == "" || gone || s.token == Token(o.at) {
		return
	}
	sys, item, _ := o.find(k)
	o.add(k, s, s.owner, m, s.token, item.Addrs, sys, s.gated, s.atMostOne)
}

func (o *oracle) add(_ Key, s *oracleSlot, id MemberID, m Member, t Token, addrs []string, sys System, gated, atMostOne bool) {
	s.entries = append(s.entries, oracleEntry{
		Entry:  Entry{Member: id, Epoch: m.Epoch, Token: t, Host: m.Host, Addrs: addrs, Gated: gated, AtMostOne: atMostOne},
		recipe: oracleRecipe(sys), stop: sys.StopTimeout,
	})
}

// renew gives the owner a new token.
func (o *oracle) renew(k Key, s *oracleSlot, former Member) {
	if s.token == Token(o.at) {
		return
	}
	o.holds(k, s, former)
	s.token, s.acquired, s.previous, s.cause = Token(o.at), 0, s.owner, CauseNone
}

func (o *oracle) gatedFor(k Key, m Member) bool {
	sys := o.spec.Systems[k.System]
	return sys.Action != 0 && oracleGates(sys) && m.Gate
}

func (o *oracle) register(r Register) bool {
	old, known := o.members[r.Member]
	_, listed := o.spec.Servers[r.Member]
	if o.cluster == "" || (!known && !listed) || r.Replaces != old.Epoch || old.Nonce == r.Nonce || old.Epoch == Epoch(o.at) {
		return false
	}
	same := !known || r.Host == old.Host
	m := Member{
		Epoch: Epoch(o.at), Nonce: r.Nonce, Process: r.Process, Host: r.Host, Up: true, Gate: r.Gate, FirstTTL: o.maxTTL,
		Settled: same && (!known || old.Settled), Leaving: old.Leaving && r.Process == old.Process,
	}
	o.members[r.Member] = m
	if known && old.Host.Instance != r.Host.Instance {
		delete(o.key.acked, r.Member)
	}
	if r.Process != old.Process {
		o.forget(r.Member)
	}
	for k, s := range o.slots {
		if s.owner != r.Member {
			continue
		}
		gated := o.gatedFor(k, m)
		if (!same && !s.gated) || gated != s.gated {
			o.renew(k, s, old)
			s.gated = gated
		}
	}
	return true
}

func (o *oracle) forget(id MemberID) {
	for k := range o.failures {
		if strings.HasPrefix(k, string(id)+" ") {
			delete(o.failures, k)
		}
	}
}

func (o *oracle) moves(moves []Move) (dropped int) {
	for _, m := range moves {
		if !o.move(m) {
			dropped++
		}
	}
	return dropped
}

func (o *oracle) move(m Move) bool {
	sys := o.spec.Systems[m.System]
	s, ok := o.slots[m.Key]
	if !ok {
		s = &oracleSlot{atMostOne: sys.Guarantee == AtMostOne}
	}
	if s.token != m.Was || (!o.hasSlot(m.Key) && (m.To != "" || m.Home != "")) {
		return false
	}
	to, registered := o.members[m.To]
	if m.To != s.owner && m.To != "" && (!registered || o.hasOtherRank(m.To, m.Key)) || o.stopped(m.System) || s.braked {
		return false
	}
	if !ok && m.To == "" && m.Home == "" {
		return true // nothing to nobody
	}
	o.slots[m.Key] = s
	if m.Home != "" {
		s.home = m.Home
	}
	if m.To == s.owner {
		return true
	}
	o.holds(m.Key, s, o.members[s.owner])
	s.remember(m.Cause, o.now)
	if s.owner != "" {
		s.previous = s.owner
	}
	s.owner, s.token, s.acquired, s.gated, s.cause = m.To, Token(o.at), 0, false, m.Cause
	if m.To != "" {
		s.atMostOne, s.gated = sys.Guarantee == AtMostOne, o.gatedFor(m.Key, to)
	}
	return true
}

// drop removes the entries that match.
func (o *oracle) drop(match func(Key, Entry) bool) (n int) {
	for k, s := range o.slots {
		var left []oracleEntry
		for _, e := range s.entries {
			if !match(k, e.Entry) {
				left = append(left, e)
			}
		}
		n += len(s.entries) - len(left)
		s.entries = left
	}
	return n
}

func (o *oracle) down(d Down) (bool, int) {
	m, ok := o.members[d.Member]
	if !ok || m.Epoch != d.Epoch || !m.Up {
		return false, 0
	}
	if g := d.Goodbye; g == nil {
		if d.Voters != o.voters {
			return false, 0
		}
	} else if g.Member != d.Member || g.Process != m.Process || !m.Settled {
		return false, 0
	}
	if d.Goodbye != nil {
		o.goodbye(*d.Goodbye)
	} else {
		o.lose(d.Member)
	}
	dropped := o.moves(d.Moves)
	m = o.members[d.Member]
	m.Up = false
	o.members[d.Member] = m
	o.drop(func(_ Key, e Entry) bool { return e.Member == d.Member && e.Gated })
	if d.Goodbye != nil {
		o.goodbye(*d.Goodbye)
	}
	return true, dropped
}

func (o *oracle) goodbye(g Goodbye) {
	m := o.members[g.Member]
	last := g.Epoch
	if g.Process == m.Process {
		last = m.Epoch
		var kept []Key
		for _, k := range g.Kept {
			if !slices.Contains(kept, k) && (!m.Goodbye || slices.Contains(m.Kept, k)) {
				kept = append(kept, k)
			}
		}
		m.Goodbye, m.Kept = true, kept
		o.members[g.Member] = m
	} else if last >= m.Epoch {
		last = m.Epoch - 1
	}
	o.drop(func(k Key, e Entry) bool {
		return e.Member == g.Member && e.AtMostOne && e.Host.Machine == g.Host.Machine && e.Epoch <= last && !slices.Contains(g.Kept, k)
	})
}

func (o *oracle) fence(f Fence) bool {
	m, ok := o.members[f.Member]
	newest := f.UpTo == m.Epoch && f.Host.Machine == m.Host.Machine
	if !ok || f.UpTo > m.Epoch || (newest && m.Up) {
		return false
	}
	o.drop(func(_ Key, e Entry) bool {
		return e.Member == f.Member && e.Host.Machine == f.Host.Machine && e.Epoch <= f.UpTo
	})
	if newest {
		m.Fenced = true
		o.members[f.Member] = m
	}
	return true
}

func (o *oracle) force(f Force) (any bool) {
	for _, c := range f.Claims {
		if s, ok := o.slots[c.Key]; ok {
			for i, e := range s.entries {
				if e.Member == c.Member && e.Epoch == c.Epoch && e.Token == c.Token {
					s.entries[i].Void, any = true, true
				}
			}
		}
	}
	return any
}

func failureKey(m MemberID, k Key) string { return fmt.Sprintf("%s %+v", m, k) }

func (o *oracle) remove(id MemberID) bool {
	if _, ok := o.members[id]; !ok {
		return false
	}
	if o.has(id) {
		return false
	}
	o.drop(func(_ Key, e Entry) bool { return e.Member == id })
	delete(o.members, id)
	delete(o.key.acked, id)
	o.forget(id)
	return true
}
