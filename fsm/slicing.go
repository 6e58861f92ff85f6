package fsm

import "slices"

// Slice is all that a member's process should hold and let go of. e is the
// epoch that the process knows to be its own, 0 for none yet; machine is where
// it runs; at is the index at which the State was read.
//
// At-most-one items may be held only by a process whose epoch is the member's
// newest, up and settled: to any other they are named as Barred, since a former
// process may have left them up here. At-least-one items are wanted of the owner
// whatever its state: what is held stays. Neither is wanted of a process on another
// machine than the member's: that one is superseded, or has yet to register. A
// process that is unsettled owes nothing yet: it may report nothing released.
func (s *State) Slice(m MemberID, e Epoch, machine string, at Index) Slice {
	out := Slice{At: at, Epoch: e}
	me, ok := s.Member(m)
	if !ok {
		return out
	}
	p := slicer{
		state: s, member: m, epoch: e, machine: machine,
		here:   me.Host.Machine == machine,
		holds:  e != 0 && e == me.Epoch && me.Up && me.Settled,
		behind: e == 0 || me.Epoch < e,
		mute:   e == me.Epoch && !me.Settled,
	}
	count := p.replicas() // a list of some hundred thousand jobs need not grow
	if p.here {
		count += s.Owned(m)
	}
	if count > 0 {
		out.Want = make([]Job, 0, count)
	}
	for slot := range s.concerning(m) {
		p.add(slot, &out)
	}
	p.replicated(&out)
	p.failed(me, &out)
	return out
}

// slicer is one call of Slice. It keeps the place in the Spec: slots come in
// the order of a system's items, so that nothing has to be searched for.
type slicer struct {
	state   *State
	member  MemberID
	epoch   Epoch
	machine string
	here    bool // the log's newest instance of the member is on this machine
	holds   bool // at-most-one items may be held
	behind  bool // the State may be older than the process's own epoch
	mute    bool // unsettled

	system     SystemID
	sys        System
	maintained bool
	items      []Item
	own        Key // the last slot that the member owns
}

func (p *slicer) add(slot *Slot, out *Slice) {
	if p.owns(slot) {
		p.own = slot.Key
		job := p.job(slot)
		if slot.AtMostOne {
			job.Barred, job.Blocked = !p.holds, p.blocked(slot)
		}
		job.Reported = p.epoch != 0 && slot.Acquired == p.epoch
		if p.state.failures.Len() > 0 {
			f, ok := p.state.FailureOf(p.member, slot.Key)
			job.Failed = ok && f.Token == slot.Token
		}
		out.Want = append(out.Want, job)
	}
	if len(slot.Outstanding) == 0 {
		return
	}
	if keep := p.keep(slot); keep != nil {
		job := p.owed(slot, *keep).Job
		job.Keep = true
		out.Want = append(out.Want, job)
		return
	}
	for _, e := range slot.Outstanding {
		if p.mine(e) && !p.mute && (e.AtMostOne || !p.behind) {
			out.Owe = append(out.Owe, p.owed(slot, e))
		}
	}
}

// mine reports whether an entry is of this member on this machine.
func (p *slicer) mine(e Entry) bool {
	return e.Member == p.member && (e.Host.Machine == p.machine || !p.state.keeps(RuleOwnMachine))
}

func (p *slicer) owns(slot *Slot) bool { return slot.Owner == p.member && p.here }

// blocked is whom an at-most-one item waits for.
func (p *slicer) blocked(slot *Slot) []Blocker {
	var out []Blocker
	for _, e := range slot.Outstanding {
		if !e.Void && !p.mine(e) {
			p.enter(slot)
			out = append(out, Blocker{Entry: e, After: p.state.bet(&p.sys, slot, &e)})
		}
	}
	return out
}

// keep is the newest entry under which the member keeps an at-least-one item
// until its new owner has acquired it; nil if it need not. Of two ranks of an item a
// machine holds one: a member that is given a lower one lets go of the higher at once,
// and one that is given a higher one keeps the lower for as long as it must.
func (p *slicer) keep(slot *Slot) *Entry {
	if slot.AtMostOne || slot.Owner == "" || p.owns(slot) || slot.Acquired != 0 || !p.state.keeps(RuleReleaseLast) {
		return nil
	}
	if p.own.System == slot.System && p.own.Item == slot.Item { // slots come by rank
		return nil
	}
	var newest *Entry
	for i, e := range slot.Outstanding {
		if p.mine(e) && !e.AtMostOne && (newest == nil || e.Token >= newest.Token) {
			newest = &slot.Outstanding[i]
		}
	}
	return newest
}

// enter moves on to a slot's system, of which it may be the first.
func (p *slicer) enter(slot *Slot) {
	if p.sys.Name == "" || p.system != slot.System {
		p.system, p.sys = slot.System, p.state.spec.Systems[slot.System]
		p.items, p.maintained = p.sys.Items, p.state.Maintained(slot.System)
	}
}

func (p *slicer) job(slot *Slot) Job {
	p.enter(slot)
	for len(p.items) > 0 && p.items[0].ID < slot.Item {
		p.items = p.items[1:]
	}
	job := p.sys.job(slot)
	job.Maintained = p.maintained
	if len(p.items) > 0 && p.items[0].ID == slot.Item {
		job.Addrs, job.Interface = p.items[0].Addrs, p.items[0].Interface
	}
	return job
}

// owed is an entry with what letting go of it takes: the recipe of its time.
func (p *slicer) owed(slot *Slot, e Entry) Owed {
	p.enter(slot)
	job := p.sys.job(slot)
	job.Token, job.AtMostOne, job.Gated, job.Addrs = e.Token, e.AtMostOne, e.Gated, e.Addrs
	if r := e.Recipe; r != nil {
		job.Action, job.Alive, job.Down, job.Config, job.StopTimeout = r.Action, "", r.Down, r.Config, r.StopTimeout
		switch {
		case r.Action != ActionIP:
			job.IP = nil
		case job.IP == nil:
			job.IP = bareIP
		}
	}
	job.Bet = p.sys.hastens(job.AtMostOne, job.Action)
	return Owed{Entry: e, Job: job}
}

// replicas is how many replicated items the member holds.
func (p *slicer) replicas() int {
	n := 0
	for _, id := range p.state.spec.Servers[p.member].Systems {
		if sys := p.state.spec.Systems[id]; p.here && sys.Split == Replicate && p.state.spec.serves(p.member, id) {
			n += len(sys.Items)
		}
	}
	return n
}

// replicated adds what every server that lists a replicated system holds.
func (p *slicer) replicated(out *Slice) {
	if p.replicas() == 0 {
		return
	}
	for _, id := range p.state.spec.Servers[p.member].Systems {
		sys := p.state.spec.Systems[id]
		if sys.Split != Replicate {
			continue
		}
		for _, item := range sys.Items {
			job := sys.job(&Slot{Key: Key{System: id, Item: item.ID}, Reason: "replicated"})
			job.Maintained = p.state.Maintained(id)
			job.Addrs, job.Interface = item.Addrs, item.Interface
			out.Want = append(out.Want, job)
		}
	}
	slices.SortFunc(out.Want, func(a, b Job) int { return a.Compare(b.Key) })
}

// failed adds what the log remembers as failed, to the process whose word on it
// counts: that of the newest epoch.
func (p *slicer) failed(me Member, out *Slice) {
	if p.state.failures.Len() == 0 || p.epoch == 0 || p.epoch != me.Epoch || !p.here {
		return
	}
	p.state.failures.Root().WalkPrefix(appendPart(nil, string(p.member)), func(_ []byte, f Failure) bool {
		slot, known := p.state.Slot(f.Key)
		if !known || !slot.concerns(p.member) { // another's: only what the Spec says of it
			sys := p.state.spec.Systems[f.System]
			slot = Slot{Key: f.Key, AtMostOne: sys.Guarantee == AtMostOne}
		}
		job := p.state.Job(slot)
		job.Token, job.Failed = f.Token, true
		out.Failed = append(out.Failed, job)
		return false
	})
}

// Job is a slot with what the Spec says of how to make it true for its owner.
func (s *State) Job(slot Slot) Job {
	sys := s.spec.Systems[slot.System]
	job := sys.job(&slot)
	job.Maintained = s.Maintained(slot.System)
	if item, ok := sys.find(slot.Item); ok {
		job.Addrs, job.Interface = item.Addrs, item.Interface
	}
	return job
}

func (s *System) job(slot *Slot) Job {
	return Job{
		Key: slot.Key, Token: slot.Token, AtMostOne: slot.AtMostOne, Gated: slot.Gated,
		Action: s.Action, IP: s.IP, Alive: s.Alive, Down: s.Down, Config: s.Config,
		StartTimeout: s.StartTimeout, StopTimeout: s.StopTimeout, KillOnTimeout: s.KillOnTimeout,
		Previous: slot.Previous, Reason: slot.Reason, Cause: slot.Cause, Bet: s.hastens(slot.AtMostOne, s.Action),
	}
}

// Rest is every item that a member serves, does not own, and cleans up once
// when it starts: whatever a former life left behind. The jobs have no token.
func (s *State) Rest(m MemberID) []Job {
	var out []Job
	for _, id := range s.spec.Servers[m].Systems {
		sys := s.spec.Systems[id]
		if !sys.CleanOnStart || !sys.divided() {
			continue
		}
		for _, item := range sys.Items {
			k := Key{System: id, Item: item.ID}
			if _, owns := s.OwnsAny(m, id, item.ID); owns {
				continue
			}
			job := sys.job(&Slot{Key: k, AtMostOne: sys.Guarantee == AtMostOne, Reason: "not assigned here at start"})
			job.Addrs, job.Interface = item.Addrs, item.Interface
			out = append(out, job)
		}
	}
	return out
}
