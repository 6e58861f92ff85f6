package server

import (
	"fmt"
	"slices"
	"strings"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// eventsBetween tells what lies between two States: the history that the journal
// keeps of it, oldest first, and then what changed without a line of history. Every
// row and member that changed is shown once, with the last that is told of it.
// false: it is more than most.
func eventsBetween(was *fsm.State, since fsm.Index, is *fsm.State, at fsm.Index, most int) ([]api.Event, bool) {
	d, ok := compare(was, is, most)
	if !ok {
		return nil, false
	}
	b := bulletin{delta: d, at: at}
	history := is.JournalSince(since)
	if len(history) == fsm.JournalSize {
		b.events = append(b.events, api.Event{Kind: fsm.KindMore, Words: "more has happened than history keeps: this is the end of it"})
	}
	for _, e := range history {
		b.events = append(b.events, b.told(e))
		b.atMS = max(b.atMS, e.At)
	}
	b.attach(history)
	for _, key := range b.sorted() {
		if _, left := b.rows[key]; left {
			b.events = append(b.events, b.untold(key))
		}
	}
	for _, id := range sortedKeys(b.members) {
		b.events = append(b.events, api.Event{
			Kind: memberKind(b.members[id]), AtMS: b.atMS, Member: id, MemberState: b.members[id],
			Words: string(id) + " is " + b.members[id],
		})
	}
	if d.voters {
		b.events = append(b.events, votersEvent(is))
	}
	for i := range b.events {
		b.events[i].Index = at
	}
	return b.events, len(b.events) <= most
}

// bulletin is the events between two States in the making. What has been told is
// taken out of its delta.
type bulletin struct {
	*delta
	at     fsm.Index
	atMS   int64
	events []api.Event
}

// told is a line of history as an event.
func (b *bulletin) told(e fsm.JournalEntry) api.Event {
	out := api.Event{
		AtMS: e.At, Kind: e.Kind, Member: e.Member,
		System: e.Key.System, Item: e.Key.Item, Rank: e.Key.Rank, From: e.From, To: e.To, Words: wordsOf(e),
	}
	if e.Index != b.at {
		out.Entry = e.Index
	}
	return out
}

// attach gives each row and member state that changed to the last event that tells
// of it.
func (b *bulletin) attach(history []fsm.JournalEntry) {
	first := len(b.events) - len(history)
	for i, e := range slices.Backward(history) {
		out := &b.events[first+i]
		if state, changed := b.members[e.Member]; changed && aboutMember(e.Kind) {
			out.MemberState = state
			delete(b.members, e.Member)
		}
		for _, key := range []api.RowKey{{Key: e.Key}, {Key: e.Key, Server: e.Member}} {
			if c, changed := b.rows[key]; changed && out.Slot == nil && c.is != nil {
				out.Slot = c.is
				if c.is.State == api.RowWaiting && c.is.Why != "" {
					out.Words += "; waits: " + c.is.Why
				}
				delete(b.rows, key)
			}
		}
	}
}

func aboutMember(kind string) bool {
	switch kind {
	case fsm.KindRegistered, fsm.KindSettled, fsm.KindLeaving, fsm.KindDown, fsm.KindGoodbye, fsm.KindFenced, fsm.KindRemoved:
		return true
	default:
		return false
	}
}

// untold is a row that changed with nothing told of it.
func (b *bulletin) untold(key api.RowKey) api.Event {
	c := b.rows[key]
	delete(b.rows, key)
	out := api.Event{AtMS: b.atMS, System: key.System, Item: key.Item, Rank: key.Rank, Slot: c.is}
	if c.is == nil {
		out.Kind, out.Slot, out.Words = api.KindGone, c.was, "no longer there: nobody may hold it any more"
		return out
	}
	out.Member, out.To = c.is.Owner, c.is.Owner
	out.Kind, out.Words = rowKind(c), rowWords(*c.is)
	if out.Kind == fsm.KindMoved && c.was != nil {
		out.From = c.was.Owner
	}
	return out
}

// rowKind says what of a row changed, the weightiest first.
func rowKind(c rowChange) string {
	var was api.Row
	if c.was != nil {
		was = *c.was
	}
	switch is := *c.is; {
	case was.Owner != is.Owner && is.State != api.RowReplicated:
		return fsm.KindMoved
	case was.Token != is.Token:
		return fsm.KindRenewed
	case was.State == is.State && len(is.Outstanding) < len(was.Outstanding):
		return fsm.KindReleased
	case was.State == is.State:
		return api.KindChanged
	case is.Held():
		return fsm.KindAcquired
	case is.State == api.RowStarting:
		return api.KindStarting
	case is.State == api.RowRemoved:
		return api.KindChanged
	default:
		return api.KindWaiting
	}
}

// rowWords is how a slot is.
func rowWords(r api.Row) string {
	switch {
	case r.Held():
		return string(r.Owner) + " holds it"
	case r.Owner == "" || r.Why == "":
		return r.Why
	case strings.HasPrefix(r.Why, string(r.Owner)+" "):
		return r.Why
	default:
		return fmt.Sprintf("it is %s's: %s", r.Owner, r.Why)
	}
}

func memberKind(state string) string {
	if state == api.MemberGone {
		return api.KindGone
	}
	return api.KindChanged
}

func votersEvent(s *fsm.State) api.Event {
	list := slices.Concat([]fsm.VoterID{}, s.Voters().IDs)
	names := make([]string, 0, len(list))
	for _, v := range list {
		names = append(names, string(v.Member()))
	}
	return api.Event{Kind: api.KindVoters, Voters: list, Words: fmt.Sprintf("%d voters: %s", len(list), strings.Join(names, ", "))}
}

// wordsOf puts a line of history into words.
func wordsOf(e fsm.JournalEntry) string {
	who := string(e.Member)
	switch e.Kind {
	case fsm.KindFounded, fsm.KindMore:
		return e.Reason
	case fsm.KindConfigured:
		return "the configuration changed: " + e.Reason
	case fsm.KindMoved:
		return movedWords(e)
	case fsm.KindRenewed:
		return who + " keeps it under a new token: " + e.Reason
	case fsm.KindAcquired:
		return who + " holds it"
	case fsm.KindReleased:
		if e.Reason == "swept" {
			return who + " has cleaned up what was left of it there"
		}
		return who + " has let go of it"
	case fsm.KindFailed:
		return "it failed on " + who + ": " + e.Reason
	case fsm.KindMended:
		return "what failed on " + who + " is mended"
	case fsm.KindSeen:
		return who + " asked on the wire: " + e.Reason
	case fsm.KindForced:
		return "made void for " + who + ": nobody waits for it any more"
	case fsm.KindCleaned:
		if who == "" { // a brake
			return e.Reason
		}
		return "that it failed on " + who + " is forgotten"
	case fsm.KindMaintained:
		return "maintenance of " + maintained(e.Key.System) + ": " + e.Reason
	case fsm.KindKey:
		return "rotation of the key: " + e.Reason
	case fsm.KindBraked:
		return "braked: " + e.Reason
	case fsm.KindProgram:
		return strings.TrimSpace("on " + who + ": " + e.Reason)
	default:
		return memberWords(e)
	}
}

func movedWords(e fsm.JournalEntry) string {
	how := ""
	switch {
	case e.To == "":
		how = "taken from " + string(e.From)
	case e.From == "":
		how = "given to " + string(e.To)
	default:
		how = fmt.Sprintf("%s -> %s", e.From, e.To)
	}
	if e.Reason != "" {
		how += ": " + e.Reason
	}
	return how
}

// memberWords is a line of history about a member.
func memberWords(e fsm.JournalEntry) string {
	who := string(e.Member)
	switch e.Kind {
	case fsm.KindRegistered:
		if e.Reason != "" {
			return who + " " + e.Reason
		}
		return who + " has started, or is back"
	case fsm.KindSettled:
		return "the lease of " + who + "'s predecessor has ended"
	case fsm.KindLeaving:
		return who + " is stopping: what it has goes elsewhere"
	case fsm.KindDown:
		return who + " is down: " + e.Reason + evidence(e.Evidence)
	case fsm.KindGoodbye:
		return who + " has stopped: " + e.Reason
	case fsm.KindFenced:
		return who + " was switched off: " + e.Reason
	case fsm.KindRemoved:
		return who + " was taken out of the cluster"
	default: // of a newer release
		return strings.TrimSpace(who + " " + e.Reason)
	}
}

func evidence(votes []fsm.Vote) string {
	said := make([]string, 0, len(votes))
	for _, v := range votes {
		said = append(said, fmt.Sprintf("%s for %d ms", v.Voter.Member(), v.Silent))
	}
	if len(said) == 0 {
		return ""
	}
	return " (to " + strings.Join(said, ", to ") + ")"
}
