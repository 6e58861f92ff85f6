package sim

import (
	"time"

	"github.com/flip-ha/flip/fsm"
)

// stop is a process that was told to end in order (DESIGN.md 8): announce it,
// wait until everything has moved, let go of the rest, say goodbye, hand the
// leadership over, exit.
type stop struct {
	begun     bool
	releasing bool
	said      bool
	silent    bool          // superseded by another machine, or taken out: says no goodbye
	until     time.Duration // end of the present phase
	next      time.Duration // when to announce again
	after     func()
}

// stopTimeout is the largest stop_timeout of the systems simulated.
const stopTimeout = 500 * time.Millisecond

// Stop ends a process in order and calls after (nil: nothing) once it is gone.
func (p *Process) Stop(after func()) {
	p.do(func() {
		if p.stop.begun {
			return
		}
		p.w.tracef("%s is told to stop", p.ID())
		p.stop = stop{begun: true, until: p.machine.Now() + stopTimeout, after: after}
	})
}

func (s *stop) step(p *Process, now time.Duration) time.Duration {
	if !s.releasing {
		if now < s.until && !s.handedOver(p) {
			if now >= s.next && p.live.Epoch() != 0 {
				s.next = now + p.beat()
				p.submit(fsm.Leave{Member: p.Name, Epoch: p.live.Epoch(), At: p.w.now.Milliseconds()})
			}
			return earlier(s.until, s.next)
		}
		s.releasing, s.until = true, now+stopTimeout
		p.exec.releaseAll()
		p.exec.step(now, false)
	}
	kept, known := p.exec.kept()
	if len(kept) > 0 && now < s.until {
		return s.until
	}
	if s.silent {
		if p.exec.busy() && now < s.until {
			return s.until
		}
		return s.exit(p, now)
	}
	if known && (!s.said || len(kept) == 0) {
		if !s.said {
			s.until = now + stopTimeout // the goodbye's own bound
		}
		s.said = true
		if !p.w.cfg.Rules.GoodbyeOpen { // a goodbye takes the lease back: not while the gate is open
			p.keeper.closed = true
			p.machine.shut()
		}
		p.live.Goodbye(now, kept)
	}
	if s.said && !p.live.GoodbyeDone() && now < s.until {
		if p.leading && p.w.log.leader == p { // its own goodbye is another's to commit
			p.w.log.depose()
		}
		return earlier(s.until, now+5*time.Millisecond)
	}
	return s.exit(p, now)
}

// exit ends the process once its hooks have ended. What it could not let go of it
// leaves to its guard.
func (s *stop) exit(p *Process, now time.Duration) time.Duration {
	if !p.exec.endAll() {
		return now + time.Millisecond
	}
	p.dismiss()
	if s.silent {
		p.end("exits without a goodbye")
		return 0
	}
	if p.w.log.leader == p {
		p.w.log.depose()
	}
	p.end("exits")
	if s.after != nil {
		s.after()
	}
	return 0
}

// handedOver says whether nothing is left to wait for: everything has another
// owner, that has acquired it.
func (s *stop) handedOver(p *Process) bool {
	m, ok := p.state.Member(p.Name)
	if !ok || !m.Leaving || m.Epoch != p.live.Epoch() {
		return false
	}
	for slot := range p.state.Slots() {
		if slot.Owner == p.Name {
			return false
		}
		for _, e := range slot.Outstanding {
			if e.Member == p.Name && (slot.Acquired == 0 || slot.AtMostOne) {
				return false
			}
		}
	}
	return true
}
