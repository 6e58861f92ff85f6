package client

import (
	"cmp"
	"slices"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// ItemKind is what an ItemEvent tells a program.
type ItemKind string

// The kinds.
const (
	// Acquire: take the item, then Ack. Nobody else has it by now, if its system is
	// at-most-one.
	Acquire ItemKind = api.ProgramAcquire
	// Release: let go of the item, then Ack: from then on another may have it.
	Release ItemKind = api.ProgramRelease
	// Renew: the item is held on, under a newer token. Nothing is to be done, but to use
	// the token from now on.
	Renew ItemKind = api.ProgramToken
)

// CauseLease is the Cause of a release that the client itself tells of: nothing was
// heard from the daemon for as long as that may be.
const CauseLease = "lease"

// ItemEvent is one thing that a program is to do.
type ItemEvent struct {
	Kind ItemKind
	Item fsm.ItemID
	Rank int // 0 is the primary
	// From is who had it, or lets go of it; To who takes it. "": nobody, or not known.
	From, To fsm.MemberID
	// Token grows with each assignment: a store that refuses a smaller one than it has
	// seen is safe from whoever had the item before.
	Token fsm.Token
	// Stays: of a release: this member is to have the item under another rank next.
	Stays  bool
	Cause  string // one word: see fsm.Cause, and CauseLease
	Reason string // the same for people

	id uint64
}

// slotKey names an item and its rank in one system.
type slotKey struct {
	item fsm.ItemID
	rank int
}

// owned is what a program has of one item.
type owned struct {
	token     fsm.Token
	atMostOne bool
	given     uint64 // the daemon's number of the acquire
	taken     bool   // the program has acknowledged it
	shown     bool   // the program was told of it
	acquire   ItemEvent
	releasing uint64 // the id of the release that the program is told of; 0: none
	told      uint64 // the daemon's number of a release
	then      *api.ProgramEvent
}

// account is what a program has and is to do. It does no I/O and knows no clock.
type account struct {
	items map[slotKey]*owned
	read  uint64      // the daemon's last event
	out   []ItemEvent // to be told, in this order
	acks  []uint64    // to be sent
	gone  []api.ProgramItem
	id    uint64
	until time.Duration // of the lease
	// waiting are items that may be taken once the lease runs; lapsed: it was seen to
	// have ended.
	waiting []slotKey
	lapsed  bool
}

func newAccount() *account { return &account{items: map[slotKey]*owned{}} }

// hear takes in an event of the daemon's.
func (a *account) hear(e *api.ProgramEvent, now time.Duration) {
	if e.Seq <= a.read { // told already
		return
	}
	a.read = e.Seq
	k := slotKey{e.Item, e.Rank}
	it := a.items[k]
	switch ItemKind(e.Kind) {
	case Acquire:
		a.take(k, it, e, now)
	case Release:
		a.drop(k, it, e)
	case Renew:
		a.acks = append(a.acks, e.Seq)
		if it != nil {
			a.renew(it, e)
		}
	}
}

func (a *account) take(k slotKey, it *owned, e *api.ProgramEvent, now time.Duration) {
	switch {
	case it == nil:
		it = &owned{token: e.Token, atMostOne: e.AtMostOne, given: e.Seq, acquire: event(e)}
		a.items[k] = it
		a.show(k, it, now)
	case it.releasing != 0:
		next := *e
		it.then = &next
	default: // it has it
		it.given = e.Seq
		if it.taken {
			a.acks = append(a.acks, e.Seq)
		}
		a.renew(it, e)
	}
}

// show tells the program of an item that it may take.
func (a *account) show(k slotKey, it *owned, now time.Duration) {
	if it.atMostOne && now >= a.until {
		a.waiting = append(a.waiting, k)
		return
	}
	it.shown = true
	a.tell(&it.acquire)
}

func (a *account) tell(e *ItemEvent) {
	a.id++
	e.id = a.id
	a.out = append(a.out, *e)
}

func (a *account) renew(it *owned, e *api.ProgramEvent) {
	it.atMostOne, a.lapsed = e.AtMostOne, false
	if e.Token <= it.token {
		return
	}
	it.token, it.acquire.Token = e.Token, e.Token
	if i := a.waits(it.acquire.id); i >= 0 {
		a.out[i].Token = e.Token
	} else if it.shown && it.releasing == 0 {
		next := event(e)
		next.Kind = Renew
		a.tell(&next)
	}
}

// waits is where an event waits to be told; -1: nowhere.
func (a *account) waits(id uint64) int {
	return slices.IndexFunc(a.out, func(e ItemEvent) bool { return e.id == id })
}

// drop has the program let go of an item. One that it was not told of it never had.
func (a *account) drop(k slotKey, it *owned, e *api.ProgramEvent) {
	if it == nil || a.unseen(it) {
		delete(a.items, k)
		a.acks = append(a.acks, e.Seq)
		return
	}
	it.told, it.then = e.Seq, nil
	if it.releasing == 0 {
		next := event(e)
		a.leave(it, &next)
	}
}

// leave tells the program to let go; a newer token need not be told any more.
func (a *account) leave(it *owned, e *ItemEvent) {
	a.out = slices.DeleteFunc(a.out, func(o ItemEvent) bool {
		return o.Kind == Renew && o.Item == e.Item && o.Rank == e.Rank
	})
	e.Token = it.token
	a.tell(e)
	it.releasing = e.id
}

// unseen takes back an acquire that the program has not been told of.
func (a *account) unseen(it *owned) bool {
	if !it.shown {
		return true
	}
	i := a.waits(it.acquire.id)
	if i < 0 {
		return false
	}
	a.out = slices.Delete(a.out, i, i+1)
	it.shown = false
	a.waiting = append(a.waiting, slotKey{it.acquire.Item, it.acquire.Rank})
	return true
}

// done takes in that the program has done what an event says.
func (a *account) done(e *ItemEvent, now time.Duration) {
	k := slotKey{e.Item, e.Rank}
	it := a.items[k]
	switch {
	case it == nil:
	case e.Kind == Acquire && e.id == it.acquire.id && !it.taken:
		it.taken = true
		if it.releasing == 0 {
			a.acks = append(a.acks, it.given)
		}
	case e.Kind == Release && e.id == it.releasing:
		delete(a.items, k)
		if it.told != 0 {
			a.acks = append(a.acks, it.told)
		} else {
			a.gone = append(a.gone, api.ProgramItem{Item: k.item, Rank: k.rank, Token: it.token, Seq: it.given})
		}
		if it.then != nil {
			a.take(k, nil, it.then, now)
		}
	}
}

// lease takes in for how long at-most-one items may be held on.
func (a *account) lease(until, now time.Duration) {
	a.until = until
	a.tick(now)
}

// tick looks whether the lease has ended, or what waited for it may be taken.
func (a *account) tick(now time.Duration) {
	if now >= a.until {
		if a.lapsed {
			return
		}
		a.lapsed = true
		a.lapse(func(it *owned) bool { return it.atMostOne }, CauseLease, "nothing was heard from the daemon for as long as that may be")
		return
	}
	a.lapsed = false
	waiting := a.waiting
	a.waiting = nil
	for _, k := range waiting {
		if it := a.items[k]; it != nil && !it.shown {
			a.show(k, it, now)
		}
	}
}

// lapse has the program let go of items unasked.
func (a *account) lapse(which func(*owned) bool, cause, reason string) {
	for _, k := range a.sorted() {
		it := a.items[k]
		if !which(it) || it.releasing != 0 || a.unseen(it) {
			continue
		}
		a.leave(it, &ItemEvent{Kind: Release, Item: k.item, Rank: k.rank, From: it.acquire.To, Cause: cause, Reason: reason})
	}
}

// pop is the next event to tell; what waits may have become untrue by now.
func (a *account) pop(now time.Duration) (ItemEvent, bool) {
	a.tick(now)
	if len(a.out) == 0 {
		return ItemEvent{}, false
	}
	e := a.out[0]
	if a.out = a.out[1:]; len(a.out) == 0 {
		a.out = nil
	}
	return e, true
}

// present is what a daemon is told of that may not know of this claim.
func (a *account) present() []api.ProgramItem {
	var out []api.ProgramItem
	for _, k := range a.sorted() {
		it := a.items[k]
		out = append(out, api.ProgramItem{Item: k.item, Rank: k.rank, Token: it.token, Seq: it.given, Taken: it.taken, Told: it.told})
	}
	return out
}

func (a *account) sorted() []slotKey {
	keys := make([]slotKey, 0, len(a.items))
	for k := range a.items {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y slotKey) int {
		return cmp.Or(cmp.Compare(x.item, y.item), cmp.Compare(x.rank, y.rank))
	})
	return keys
}

func event(e *api.ProgramEvent) ItemEvent {
	return ItemEvent{
		Kind: ItemKind(e.Kind), Item: e.Item, Rank: e.Rank, From: e.From, To: e.To, Token: e.Token,
		Stays: e.Stays, Cause: e.Cause, Reason: e.Reason,
	}
}

// forget leaves out what a daemon would be told that does not know of the claim.
func (a *account) forget() {
	a.acks, a.gone = nil, nil
	for k, it := range a.items {
		if !it.shown {
			delete(a.items, k)
		}
	}
}
