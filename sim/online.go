package sim

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// onlineFaults are what people do to the members, and what happens to those that
// read from others.
func onlineFaults() []fault {
	return []fault{
		{14, (*Adversary).addMember},
		{10, (*Adversary).removeMember},
		{5, (*Adversary).removeLeader},
		{5, (*Adversary).removeDead},
		{3, (*Adversary).takeBack},
		{5, (*Adversary).replaceMember},
		{8, (*Adversary).changeRole},
		{10, (*Adversary).staleVoter},
		{6, (*Adversary).breakStream},
		{5, (*Adversary).killSource},
		{4, (*Adversary).leaveRemoving},
		{8, (*Adversary).rotate},
	}
}

// fewest is how few voters are left at least.
const fewest = 3

// servers are the servers of the newest configuration, by name, for which ok holds.
func (a *Adversary) servers(ok func(fsm.MemberID, fsm.Server) bool) []fsm.MemberID {
	var out []fsm.MemberID
	all := a.w.checker.newest().Spec().Servers
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if ok(name, all[name]) {
			out = append(out, name)
		}
	}
	return out
}

// one draws a name.
func (a *Adversary) one(from []fsm.MemberID) (fsm.MemberID, bool) {
	if len(from) == 0 {
		return "", false
	}
	return from[a.w.rng.IntN(len(from))], true
}

// respec proposes another Spec of the servers, as one of several people would.
func (a *Adversary) respec(change func(fsm.Spec) fsm.Spec) {
	old := a.w.checker.newest().Spec()
	if old.Version != 0 {
		a.w.Propose(fsm.SetSpec{Was: old.Version, Spec: change(*old)})
	}
}

// addMember adds somebody who is none: an agent or a voter by its name, seldom the
// other way round.
func (a *Adversary) addMember() {
	now := a.w.checker.newest().Spec().Servers
	var absent []fsm.MemberID
	for _, name := range a.w.names {
		if _, in := now[name]; !in {
			absent = append(absent, name)
		}
	}
	if name, ok := a.one(absent); ok {
		a.add(name)
	}
}

func (a *Adversary) add(name fsm.MemberID) {
	w, s := a.w, a.w.seat(name)
	role := fsm.RoleVoter
	switch {
	case (name[0] == 'a') != w.chance(0.1):
		role = fsm.RoleAgent
	case w.chance(0.1):
		role = fsm.RoleArbiter
	}
	// Who was a member before comes with an empty data directory, or with what it had.
	if s.disk.role != 0 && w.running(name) == nil && w.chance(0.5) {
		w.Wipe(name)
	}
	if w.running(name) == nil {
		s.disk.keys = w.given()
	}
	w.Count.add(Adds)
	w.tracef("%s is to be added as %s", name, role)
	s.joins = true
	a.respec(func(spec fsm.Spec) fsm.Spec { return spec.WithServer(w.server(name, role)) })
}

// server is a new one that serves everything.
func (w *World) server(name fsm.MemberID, role fsm.Role) fsm.Server {
	s := fsm.Server{Name: name, Addr: serverAddr(slices.Index(w.names, name)), Role: role}
	if role != fsm.RoleArbiter {
		s.Systems = slices.Sorted(maps.Keys(w.checker.newest().Spec().Systems))
	}
	return s
}

// removeMember marks a server as to be taken out, if enough voters stay.
func (a *Adversary) removeMember() {
	all := a.servers(func(_ fsm.MemberID, s fsm.Server) bool { return !s.Removing })
	if name, ok := a.one(all); ok {
		a.mark(name)
	}
}

func (a *Adversary) mark(name fsm.MemberID) {
	spec := a.w.checker.newest().Spec()
	server, in := spec.Servers[name]
	if !in || server.Removing || server.Votes() && len(spec.Staying()) <= fewest {
		return
	}
	a.w.Count.add(Marks)
	a.w.tracef("%s is to be taken out", name)
	a.respec(func(spec fsm.Spec) fsm.Spec { return spec.WithRemoving(name, true) })
}

// spare adds a voter when there are too few for one to go.
func (a *Adversary) spare() {
	if len(a.w.checker.newest().Spec().Staying()) <= fewest {
		a.addMember()
	}
}

func (a *Adversary) removeLeader() {
	if l := a.w.log.leader; l != nil {
		a.spare()
		a.later(2*a.ttlNow(), func() { a.mark(l.Name) })
	}
}

// removeDead kills somebody and has it taken out; at times nobody starts it again.
func (a *Adversary) removeDead() {
	name := a.name()
	p := a.w.running(name)
	if p == nil || a.w.checker.newest().Spec().Servers[name].Removing {
		return
	}
	p.Kill()
	a.w.Count.add(DeadRemoved)
	a.later(ttlsOfDown*a.ttlNow(), func() { a.mark(name) })
	if a.w.chance(0.7) {
		a.later(8*a.ttlNow(), func() { a.w.Launch(name) })
	}
}

// ttlsOfDown is about how many lease times it takes to call a member down.
const ttlsOfDown = 2

// takeBack lets somebody stay after all.
func (a *Adversary) takeBack() {
	all := a.servers(func(_ fsm.MemberID, s fsm.Server) bool { return s.Removing })
	if name, ok := a.one(all); ok {
		a.w.Count.add(MarksBack)
		a.respec(func(spec fsm.Spec) fsm.Spec { return spec.WithRemoving(name, false) })
	}
}

// replaceMember adds one and takes another one out, at about the same time.
func (a *Adversary) replaceMember() {
	a.addMember()
	a.later(2*a.ttlNow(), a.removeMember)
}

// changeRole makes a voter an agent, or an agent a voter.
func (a *Adversary) changeRole() {
	spec := a.w.checker.newest().Spec()
	all := a.servers(func(_ fsm.MemberID, s fsm.Server) bool {
		return !s.Removing && (s.Role == fsm.RoleAgent || s.Role == fsm.RoleVoter && len(spec.Staying()) > fewest)
	})
	if l := a.w.log.leader; l != nil && slices.Contains(all, l.Name) && a.w.chance(0.3) {
		all = []fsm.MemberID{l.Name}
	}
	name, ok := a.one(all)
	if !ok {
		return
	}
	a.turn(name)
	if a.w.chance(0.3) { // and back
		a.later(2*a.ttlNow(), func() { a.turn(name) })
	}
}

func (a *Adversary) turn(name fsm.MemberID) {
	a.respec(func(spec fsm.Spec) fsm.Spec {
		role := fsm.RoleVoter
		switch s, in := spec.Servers[name]; {
		case !in || s.Removing || s.Role != fsm.RoleAgent && len(spec.Staying()) <= fewest:
			return spec
		case s.Role != fsm.RoleAgent:
			role = fsm.RoleAgent
		}
		a.w.Count.add(RolesChanged)
		a.w.tracef("%s is to be %s", name, role)
		return spec.WithRole(name, role)
	})
}

// reader draws an agent that is served.
func (a *Adversary) reader() *Process {
	var all []*Process
	for _, p := range a.w.procs {
		if p.stream != nil && p.stream.line != nil {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[a.w.rng.IntN(len(all))]
}

// staleVoter has the voter that serves an agent read nothing more for a while.
func (a *Adversary) staleVoter() {
	p := a.reader()
	if p == nil {
		return
	}
	m := p.stream.line.voter.Name
	a.w.Count.add(StaleVoters)
	a.w.tracef("%s, which serves %s, is stale", m, p.ID())
	if a.w.chance(0.5) {
		a.w.CutLog(m, true)
		a.later(6*a.ttlNow(), func() { a.w.CutLog(m, false) })
		return
	}
	a.w.Lag(m, a.w.between(a.ttlNow(), 5*a.ttlNow()))
	a.later(6*a.ttlNow(), func() { a.w.Lag(m, -1) })
}

// breakStream cuts the way from a voter to the agent it serves, but not datagrams.
func (a *Adversary) breakStream() {
	p := a.reader()
	if p == nil {
		return
	}
	a.w.Count.add(StreamsBroken)
	l := a.w.Link(p.stream.line.voter.Name, p.Name)
	l.CutTCP = true
	a.later(4*a.ttlNow(), func() { l.CutTCP = false })
}

func (a *Adversary) killSource() {
	if p := a.reader(); p != nil {
		v := p.stream.line.voter
		v.Kill()
		a.later(3*a.ttlNow(), func() { a.w.Launch(v.Name) })
	}
}

// leaveRemoving stops somebody in order who is to be taken out.
func (a *Adversary) leaveRemoving() {
	all := a.servers(func(_ fsm.MemberID, s fsm.Server) bool { return s.Removing })
	if name, ok := a.one(all); ok {
		if p := a.w.running(name); p != nil {
			p.Stop(func() { a.later(3*a.ttlNow(), func() { a.w.Launch(name) }) })
		}
	}
}

// joined starts those who waited for the configuration to name them.
func (w *World) joined(spec *fsm.Spec) {
	for _, name := range w.names {
		if s := w.seat(name); s.joins {
			if _, in := spec.Servers[name]; in {
				s.joins = false
				w.Count.add(Joins)
				w.After(w.between(0, spec.Timing.Lease), func() { w.Launch(name) })
			}
		}
	}
}

// misplaced says in words whose place is not what the configuration wants.
func (w *World) misplaced(s *fsm.State) []string {
	if !w.comesAndGoes() {
		return nil
	}
	var wrong []string
	if k := s.Keys(); k.Phase != fsm.KeySettled {
		wrong = append(wrong, fmt.Sprintf("the key: %s, waits for %v", k.Phase, s.KeyAwaited()))
	}
	for name, server := range s.Spec().Servers {
		p := w.running(name)
		switch {
		case server.Removing:
			wrong = append(wrong, fmt.Sprintf("%s is still there: %v", name, s.Waits(name)))
		case p == nil:
			wrong = append(wrong, string(name)+" does not run")
		case !p.Lease():
			wrong = append(wrong, string(name)+" has no lease")
		case server.Votes() && !s.Voters().Has(p.ID()):
			wrong = append(wrong, string(name)+" has no vote")
		case !server.Votes() && (p.raft != nil || s.HasVote(name)):
			wrong = append(wrong, string(name)+" is not an agent yet")
		case server.Votes() != (p.stream == nil):
			wrong = append(wrong, string(name)+" reads from the wrong place")
		}
	}
	for _, id := range s.Voters().IDs {
		if !s.Spec().Servers[id.Member()].Votes() {
			wrong = append(wrong, string(id)+" still has a vote")
		}
	}
	return wrong
}
