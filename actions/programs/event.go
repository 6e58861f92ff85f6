package programs

import "github.com/flip-ha/flip/fsm"

// Kind is what an Event tells a program.
type Kind uint8

// The kinds; the zero value is invalid.
const (
	Session Kind = iota + 1 // the claim stands
	Acquire                 // take it
	Release                 // let go of it
	Token                   // it counts under a newer token
	Beat                    // nothing: the stream lives
)

// Event is what a program is told.
type Event struct {
	Kind     Kind
	Seq      uint64 // of Acquire, Release and Token: larger than the last
	Key      fsm.Key
	From, To fsm.MemberID
	Token    fsm.Token
	// AtMostOne: it may not be held on without a lease.
	AtMostOne bool
	Stays     bool // of Release: this member is to have the item under another rank
	Cause     fsm.Cause
	Reason    string
}

// event is an Event of one slot, until it is acknowledged.
type event struct {
	Event
	slot *slot
}

func (d *Driver) acquireEvent(job *fsm.Job, s *slot) *event {
	e := &event{slot: s, Event: Event{Kind: Acquire, Key: job.Key, From: job.Previous, To: d.cfg.Self, Token: job.Token, AtMostOne: job.AtMostOne, Reason: job.Reason}}
	if now, ok := d.agreed(job.Key); ok && now.Owner == d.cfg.Self {
		e.Cause = now.Cause
	}
	return e
}

func (d *Driver) tokenEvent(job *fsm.Job, s *slot) *event {
	return &event{slot: s, Event: Event{Kind: Token, Key: job.Key, From: job.Previous, To: d.cfg.Self, Token: job.Token, AtMostOne: job.AtMostOne, Reason: job.Reason}}
}

// releaseEvent says where the item goes, as far as that is agreed, else why it cannot
// stay.
func (d *Driver) releaseEvent(job *fsm.Job, s *slot) *event {
	e := &event{slot: s, Event: Event{Kind: Release, Key: job.Key, From: d.cfg.Self, Token: s.token, Reason: job.Reason}}
	now, ok := d.agreed(job.Key)
	if ok && now.Owner != d.cfg.Self {
		e.To, e.Cause, e.Reason = now.Owner, now.Cause, now.Reason
	}
	for rank := range maxRanks {
		k := job.Key
		if k.Rank = rank; rank == job.Rank {
			continue
		}
		other, known := d.agreed(k)
		if !known {
			break
		}
		e.Stays = e.Stays || other.Owner == d.cfg.Self
	}
	return e
}

// maxRanks bounds the search for other ranks of an item.
const maxRanks = 64

func (d *Driver) agreed(k fsm.Key) (fsm.Slot, bool) {
	if d.cfg.Slot == nil {
		return fsm.Slot{}, false
	}
	return d.cfg.Slot(k)
}
