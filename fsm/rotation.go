package fsm

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// KeyPhase is how far the rotation of the cluster's key has come. Each phase but the
// last is over when every server of the Spec has acknowledged it.
type KeyPhase uint8

// The phases. A key never stops being accepted before nobody sends by it.
const (
	KeySettled KeyPhase = iota // no rotation is under way
	KeyBoth                    // the old and the new one are accepted, the old one is sent by
	KeyNew                     // both are accepted, the new one is sent by
	KeyOnly                    // the new one alone counts
)

// String is the phase in words.
func (p KeyPhase) String() string {
	words := [...]string{"settled", "both keys are accepted, the old one is sent by", "both keys are accepted, the new one is sent by", "the new key alone counts"}
	if int(p) < len(words) {
		return words[p]
	}
	return fmt.Sprintf("phase %d", uint8(p))
}

// Keys is what the cluster has agreed about its key: never the key itself.
type Keys struct {
	Round Index // of the entry that began the newest rotation; 0: there was none
	Phase KeyPhase
	At    int64 // when the phase began, Unix milliseconds by the proposer's clock
	// Old and New are the marks of the two keys (secure.Keys.Mark).
	Old, New string
	// Sealed is the new key, sealed under the old one; Back the old one, sealed under
	// the new: for who is given the new one by hand meanwhile. Gone with KeyOnly.
	Sealed, Back []byte     `codec:",omitempty"`
	Acked        []MemberID `codec:",omitempty"` // the phase, sorted
	LeftOut      []MemberID `codec:",omitempty"` // who is not waited for, sorted
}

// Keys is the state of the cluster's key; nobody may change what it refers to.
func (s *State) Keys() Keys {
	if s.keys == nil {
		return Keys{}
	}
	return *s.keys
}

// Rotating reports whether a rotation is under way that another one must not
// overtake.
func (k Keys) Rotating() bool { return k.Phase == KeyBoth || k.Phase == KeyNew }

// Has reports whether a member has acknowledged the phase.
func (k Keys) Has(m MemberID) bool {
	_, has := slices.BinarySearch(k.Acked, m)
	return has
}

// For is the part of it that is a member's business: who else has acknowledged is
// not.
func (k Keys) For(m MemberID) Keys {
	acked := k.Has(m)
	k.Acked, k.LeftOut = nil, nil
	if acked {
		k.Acked = []MemberID{m}
	}
	return k
}

// Same reports whether two are at the same point, whoever has acknowledged it.
func (k Keys) Same(o Keys) bool { return k.Round == o.Round && k.Phase == o.Phase }

// Before reports whether this is an earlier point of the log's than another.
func (k Keys) Before(o Keys) bool {
	switch {
	case k.Round != o.Round:
		return k.Round < o.Round
	case k.Phase == KeySettled || o.Phase == KeySettled: // the last of a round
		return k.Phase != o.Phase && o.Phase == KeySettled
	default:
		return k.Phase < o.Phase
	}
}

// KeyAwaited are the servers that the present phase waits for, by name.
func (s *State) KeyAwaited() []MemberID {
	k := s.Keys()
	if k.Phase == KeySettled {
		return nil
	}
	var out []MemberID
	for _, id := range slices.Sorted(maps.Keys(s.spec.Servers)) {
		if _, left := slices.BinarySearch(k.LeftOut, id); !left && !k.Has(id) {
			out = append(out, id)
		}
	}
	return out
}

// Rotate begins a rotation of the cluster's key, with the new one in it only as the
// old one seals it. Was is the round it was made after.
type Rotate struct {
	Was          Index
	Old, New     string
	Sealed, Back []byte
	LeftOut      []MemberID `codec:",omitempty"`
	At           int64
}

// KeyAck says that a member has done what a phase asks of it.
type KeyAck struct {
	Member MemberID
	Round  Index
	Phase  KeyPhase
}

// KeyGo goes on with a rotation: without some members, and, if Phase says so, with the
// phase that follows it.
type KeyGo struct {
	Round   Index
	Phase   KeyPhase   // the one that is over; KeySettled: none is
	LeftOut []MemberID `codec:",omitempty"`
	At      int64
}

// Type implements Command.
func (Rotate) Type() byte { return TypeRotate }

// Type implements Command.
func (KeyAck) Type() byte { return TypeKeyAck }

// Type implements Command.
func (KeyGo) Type() byte { return TypeKeyGo }

// maxSealedKey bounds what one member may put into everybody's log.
const maxSealedKey = 8 << 10

// ofKey applies a command of a rotation.
func (c *change) ofKey(cmd Command) Result {
	switch cmd := cmd.(type) {
	case Rotate:
		return c.rotate(cmd)
	case KeyAck:
		return c.keyAck(cmd)
	case KeyGo:
		return c.keyGo(cmd)
	default:
		return refused("this is about no key")
	}
}

func (c *change) rotate(r Rotate) Result {
	k := c.next.Keys()
	switch {
	case c.next.spec.Version == 0:
		return refused("the cluster is not founded yet")
	case k.Rotating():
		return refused("a rotation of the key is under way since entry %d: %s", k.Round, k.Phase)
	case r.Was != k.Round:
		return refused("another rotation was faster: it began with entry %d", k.Round)
	case k.Round == c.at:
		return refused("a rotation began under this index already")
	case r.Old == "" || r.New == "" || len(r.Sealed) == 0 || len(r.Back) == 0:
		return refused("a rotation needs both keys' marks and each of them sealed under the other")
	case r.Old == r.New:
		return refused("the new key is the present one")
	case len(r.Sealed) > maxSealedKey || len(r.Back) > maxSealedKey:
		return refused("the key is too long: %d bytes, %d are too many", len(r.Sealed), maxSealedKey)
	}
	next := Keys{Round: c.at, Phase: KeyBoth, At: r.At, Old: r.Old, New: r.New, Sealed: r.Sealed, Back: r.Back}
	if why := c.leaveOut(&next, r.LeftOut); why != "" {
		return refused("%s", why)
	}
	c.when = r.At
	c.next.keys = &next
	c.noteKey("", fmt.Sprintf("key %s is to take the place of %s%s", r.New, r.Old, withoutWords(next.LeftOut)))
	return done
}

// leaveOut adds to those that are not waited for.
func (c *change) leaveOut(k *Keys, ids []MemberID) (why string) {
	for _, id := range ids {
		if _, listed := c.next.spec.Servers[id]; !listed {
			return fmt.Sprintf("%s is no member", id)
		}
	}
	all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(k.LeftOut, ids))))
	if len(ids) > 0 && len(all) == len(c.next.spec.Servers) {
		return "nobody would be left to have the new key"
	}
	k.LeftOut = all
	return ""
}

func withoutWords(ids []MemberID) string {
	if len(ids) == 0 {
		return ""
	}
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = string(id)
	}
	return ", without " + strings.Join(words, ", ")
}

func (c *change) keyAck(a KeyAck) Result {
	k := c.next.Keys()
	_, listed := c.next.spec.Servers[a.Member]
	switch {
	case !listed:
		return refused("%s is no member", a.Member)
	case a.Phase == KeySettled || a.Round != k.Round || a.Phase != k.Phase:
		return refused("that phase of the key's rotation is over, or has not begun")
	case k.Has(a.Member):
		return done
	}
	at, _ := slices.BinarySearch(k.Acked, a.Member)
	k.Acked = slices.Insert(slices.Clone(k.Acked), at, a.Member)
	c.next.keys = &k
	return done
}

func (c *change) keyGo(g KeyGo) Result {
	k := c.next.Keys()
	switch {
	case k.Phase == KeySettled:
		return refused("no rotation of the key is under way")
	case g.Round != k.Round || g.Phase != KeySettled && g.Phase != k.Phase:
		return refused("that phase of the key's rotation is over, or has not begun")
	case g.Phase == KeySettled && len(g.LeftOut) == 0:
		return refused("without whom?")
	}
	c.when = g.At
	had := len(k.LeftOut)
	if why := c.leaveOut(&k, g.LeftOut); why != "" {
		return refused("%s", why)
	}
	if len(k.LeftOut) != had {
		c.noteKey("", "it goes on"+withoutWords(k.LeftOut))
	}
	c.next.keys = &k
	if g.Phase == KeySettled {
		return done
	}
	if waits := c.next.KeyAwaited(); len(waits) > 0 {
		return refused("%s has not acknowledged that phase of the key's rotation", waits[0])
	}
	k.At, k.Acked = g.At, nil
	switch k.Phase {
	case KeyBoth:
		k.Phase = KeyNew
	case KeyNew:
		k.Phase, k.Sealed, k.Back = KeyOnly, nil, nil
	default:
		k.Phase, k.LeftOut = KeySettled, nil
	}
	c.noteKey("", k.words())
	return done
}

// words is what the journal says of a phase that begins.
func (k Keys) words() string {
	if k.Phase == KeySettled {
		return fmt.Sprintf("key %s has taken the place of %s everywhere", k.New, k.Old)
	}
	return k.Phase.String()
}

// forgetAck takes back what a member has acknowledged: it was removed, or has come back
// with another data directory, in which no key is kept.
func (c *change) forgetAck(id MemberID) {
	k := c.next.Keys()
	if at, has := slices.BinarySearch(k.Acked, id); has {
		k.Acked = slices.Delete(slices.Clone(k.Acked), at, at+1)
		c.next.keys = &k
	}
}

// forgetAcks takes back what no longer holds: of servers that are none any more.
func (c *change) forgetAcks(gone func(MemberID) bool) {
	k := c.next.Keys()
	if !slices.ContainsFunc(k.Acked, gone) && !slices.ContainsFunc(k.LeftOut, gone) {
		return
	}
	k.Acked = slices.DeleteFunc(slices.Clone(k.Acked), gone)
	k.LeftOut = slices.DeleteFunc(slices.Clone(k.LeftOut), gone)
	c.next.keys = &k
}

func (c *change) noteKey(m MemberID, words string) {
	c.note(JournalEntry{Kind: KindKey, Member: m, Reason: words})
}

// invalid is what is wrong with it, "" if nothing is.
func (k Keys) invalid(s *Spec) string {
	both := len(k.Sealed) > 0 && len(k.Back) > 0
	none := len(k.Sealed) == 0 && len(k.Back) == 0
	stranger := func(id MemberID) bool { _, listed := s.Servers[id]; return !listed }
	switch {
	case k.Phase > KeyOnly:
		return fmt.Sprintf("the key is in %s", k.Phase)
	case k.Round == 0 && (k.Phase != KeySettled || k.Old != "" || k.New != ""):
		return "a key is rotated without a beginning"
	case k.Round != 0 && (k.Old == k.New || k.Old == "" || k.New == ""):
		return fmt.Sprintf("key %q takes the place of %q", k.New, k.Old)
	case k.Rotating() && !both, !k.Rotating() && !none:
		return fmt.Sprintf("sealed keys of %d and %d bytes in phase %d", len(k.Sealed), len(k.Back), k.Phase)
	case k.Phase == KeySettled && len(k.Acked)+len(k.LeftOut) > 0:
		return "a key that is settled is waited for"
	}
	for _, list := range [][]MemberID{k.Acked, k.LeftOut} {
		if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
			return fmt.Sprintf("who has the key is not in order: %v", list)
		}
		if i := slices.IndexFunc(list, stranger); i >= 0 {
			return fmt.Sprintf("%s has the key and is no server", list[i])
		}
	}
	return ""
}
