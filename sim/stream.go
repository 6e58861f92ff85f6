package sim

import (
	"hash/fnv"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// stream is what an agent reads instead of a log: its Part of what one voter has
// read, from another as soon as that one is silent, behind, or without a leader: an
// agent that has no lease hears from nobody that it is behind.
type stream struct {
	p     *Process
	line  *line
	heard time.Duration // the agent's clock: when the voter was asked, or heard last
	led   time.Duration // when it knew a leader last, or was asked
	next  time.Duration // when to ask the next one
	tries int
}

// line is one connection: what the voter sends comes whole and in order, or late, or
// the line breaks.
type line struct {
	agent, voter *Process
	open, over   bool
	state        *fsm.State // as sent last
	at           fsm.Index  // up to which a Part has told
	leader       fsm.VoterID
	said         time.Duration // the voter's clock
	queue        []frame       // on the way
}

// frame is what a voter sends: a Part, or that there is nothing up to an index.
type frame struct {
	arrives time.Duration // true time
	at      fsm.Index
	leader  fsm.VoterID
	part    *fsm.Part
	refused bool // the voter has read less than it was asked for
}

// resend is how long what is lost on the way takes to be sent again.
const resend = 10 * time.Millisecond

func newStream(p *Process) *stream {
	h := fnv.New32a()
	h.Write([]byte(p.Name))
	return &stream{p: p, tries: int(h.Sum32() % 1024)}
}

// end closes a stream for good.
func (s *stream) end() {
	if s.line != nil {
		s.line.over = true
		s.line = nil
	}
}

// step asks a voter when it has none, and gives one up that is silent or behind; the
// answer is when to look again.
func (s *stream) step(now time.Duration) time.Duration {
	p := s.p
	silence := p.ttl() / 2
	if l := s.line; l != nil {
		switch {
		case now-s.heard > silence:
			p.w.Count.add(StreamsSilent)
			s.changeOver(now, "is silent")
		case l.open && p.live.Behind(now):
			p.w.Count.add(StreamsBehind)
			s.changeOver(now, "is behind")
		case l.open && p.leader == "" && now-s.led > 2*silence:
			p.w.Count.add(StreamsLeaderless)
			s.changeOver(now, "knows no leader")
		default:
			return s.heard + silence + 1
		}
	}
	if now < s.next {
		return s.next
	}
	s.ask(now)
	return now + silence + 1
}

func (s *stream) changeOver(now time.Duration, why string) {
	if s.p.w.cfg.Trace {
		s.p.w.tracef("%s: %s %s", s.p.ID(), s.line.voter.ID(), why)
	}
	if s.line.open {
		s.p.w.Count.add(ChangeOvers)
	}
	s.end()
	s.tries++
	s.next = now
}

// ask asks the next voter for what it has read, no older than what was read before.
func (s *stream) ask(now time.Duration) {
	p, w := s.p, s.p.w
	all := p.voters()
	if len(all) == 0 {
		s.next = now + resend
		return
	}
	to := w.running(all[s.tries%len(all)])
	s.heard, s.led = now, now
	l := &line{agent: p, voter: to}
	if to == nil || to.stream != nil || to.raft == nil || !p.reaches(to) {
		s.tries++
		s.next = now + w.between(time.Millisecond, resend)
		return
	}
	s.line = l
	have := p.at
	if w.cfg.Rules.ViewsForward {
		have = 0
	}
	w.After(w.delay(p.Name, to.Name), func() { to.do(func() { l.answer(have, now, true) }) })
}

// answer is the voter's: what it has read, all of it; or it waits a moment to read on.
func (l *line) answer(have fsm.Index, now time.Duration, wait bool) {
	v := l.voter
	switch {
	case l.over || l.agent.dead:
	case v.raft == nil || v.stream != nil || v.state.Spec().Version == 0 || v.at < have && !wait:
		v.w.Count.add(StreamsRefused)
		l.send(frame{refused: true})
	case v.at < have:
		v.w.After(v.ttl()/4, func() { v.do(func() { l.answer(have, now, false) }) })
	default:
		l.open = true
		v.lines = append(v.lines, l)
		part := v.state.Part(l.agent.Name, v.at)
		l.note(&part)
	}
}

// note sends what is new, and remembers what was sent.
func (l *line) note(part *fsm.Part) {
	v := l.voter
	l.state, l.leader, l.said = v.state, v.leader, v.machine.Now()
	if part != nil {
		l.at = v.at
	}
	l.send(frame{at: v.at, leader: v.leader, part: part})
}

// serve sends every agent what has become of its Part.
func (p *Process) serve() {
	if len(p.lines) == 0 {
		return
	}
	p.lines = slices.DeleteFunc(p.lines, func(l *line) bool { return l.over || l.agent.dead })
	for _, l := range p.lines {
		part, changed := p.state.PartSince(l.agent.Name, p.at, l.state, l.at)
		switch {
		case changed && p.w.chance(0.02): // its queue was full
			p.w.Count.add(PartsAnew)
			part = p.state.Part(l.agent.Name, p.at)
			fallthrough
		case changed:
			p.w.Count.add(Parts)
			l.note(&part)
		case l.leader != p.leader:
			l.note(nil)
		default:
			l.state = p.state
		}
	}
}

// signs are the signs of life to agents for which there was nothing; the answer is
// when the next one is due.
func (p *Process) signs(now time.Duration) (next time.Duration) {
	for _, l := range p.lines {
		if l.over {
			continue
		}
		due := l.said + p.ttl()*7/24
		if now >= due {
			l.note(nil)
			due = now + p.ttl()*7/24
		}
		next = earlier(next, due)
	}
	return next
}

// send puts a frame on its way.
func (l *line) send(f frame) {
	w := l.voter.w
	f.arrives = w.now + w.delay(l.voter.Name, l.agent.Name)
	if n := len(l.queue); n > 0 {
		f.arrives = max(f.arrives, l.queue[n-1].arrives)
	}
	l.queue = append(l.queue, f)
	w.At(f.arrives, l.flow)
}

// flow hands over what has arrived; over a cut link it is sent again later.
func (l *line) flow() {
	w := l.voter.w
	if l.over || len(l.queue) == 0 || l.queue[0].arrives > w.now {
		return
	}
	if w.Link(l.voter.Name, l.agent.Name).CutTCP {
		w.After(resend, l.flow)
		return
	}
	f := l.queue[0]
	l.queue = l.queue[1:]
	l.agent.do(func() { l.agent.take(l, f) })
	l.flow()
}

// take is the agent's: it never goes back.
func (p *Process) take(l *line, f frame) {
	s, now := p.stream, p.machine.Now()
	if l.over || s == nil || s.line != l {
		return
	}
	s.heard = now
	if f.refused {
		s.changeOver(now, "has read less")
		return
	}
	if f.part != nil {
		next, err := p.state.WithPart(*f.part)
		if err != nil {
			p.w.checker.fail(BadState, "%s takes a part of index %d: %v", p.ID(), f.at, err)
			return
		}
		p.state = next.Without(p.w.cfg.Rules.FSM)
		p.w.checker.took(p, f.at)
	}
	p.at, p.leading, p.leader = f.at, false, f.leader
	if f.leader != "" {
		s.led = now
	}
	p.read()
	if p.raft != nil && !p.state.Spec().Servers[p.Name].Votes() {
		p.demoted(now)
	}
}

// hangUp breaks the lines of a voter that has ended, or is none any more, and the
// stream of an agent.
func (p *Process) hangUp() {
	for _, l := range p.lines {
		a := l.agent
		if w := p.w; !l.over && !w.Link(p.Name, a.Name).CutTCP {
			w.After(w.delay(p.Name, a.Name), func() {
				a.do(func() {
					if s := a.stream; s != nil && s.line == l {
						s.changeOver(a.machine.Now(), "has hung up")
					}
				})
			})
		}
	}
	p.lines = nil
	if p.dead && p.stream != nil {
		p.stream.end()
	}
}

// voters are those whom an agent may read from, by name.
func (p *Process) voters() []fsm.MemberID {
	spec := p.state.Spec()
	if spec.Version == 0 {
		spec = &p.seed
	}
	var all []fsm.MemberID
	for name, s := range spec.Servers {
		if s.Votes() && name != p.Name {
			all = append(all, name)
		}
	}
	for _, id := range p.state.Voters().IDs {
		if id.Member() != p.Name {
			all = append(all, id.Member())
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// delay is how long a request takes on its way.
func (w *World) delay(from, to fsm.MemberID) time.Duration {
	l := w.Link(from, to)
	d := w.between(l.Min, l.Max)
	if w.chance(l.Loss) { // sent again
		d += w.between(20*time.Millisecond, 200*time.Millisecond)
	}
	return d
}
