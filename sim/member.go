package sim

import (
	"bytes"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// member is what a daemon sends to the leader for itself: registrations,
// settlements and reports, each repeated until the log shows it.
type member struct {
	nextRegister, nextSettle, nextReport time.Duration
	lastReport                           []byte
}

// step sends what is due; the answer is when something may be due again.
func (m *member) step(p *Process, now time.Duration) time.Duration {
	beat := max(p.beat(), 5*time.Millisecond)
	var next time.Duration
	if p.leader == "" {
		return 0 // woken when one is known
	}
	if r, ok := p.live.Register(now); ok {
		if now >= m.nextRegister {
			m.nextRegister = now + beat
			p.watch.registers(p, r)
			p.submit(r)
		}
		next = earlier(next, m.nextRegister)
	}
	if s, ok := p.live.Settled(now); ok {
		if now >= m.nextSettle {
			m.nextSettle = now + beat
			p.submit(s)
		}
		next = earlier(next, m.nextSettle)
	}
	return earlier(next, m.report(p, now, beat))
}

// report sends a report that is news at once, and again each interval.
func (m *member) report(p *Process, now, beat time.Duration) time.Duration {
	if !p.exec.reportable && now < m.nextReport {
		return 0
	}
	p.exec.reportable = false
	r := p.core.Report()
	if p.live.Epoch() == 0 || len(r.Acquired)+len(r.Released)+len(r.Swept)+len(r.Failed)+len(r.Mended) == 0 {
		m.lastReport = nil
		return 0
	}
	enc := fsm.Encode(r)
	if now >= m.nextReport || !bytes.Equal(enc, m.lastReport) {
		m.lastReport, m.nextReport = enc, now+beat
		p.w.checker.reported(p, r)
		p.submit(r)
	}
	return m.nextReport
}

// submit sends a command to the leader this process knows; nobody waits.
func (p *Process) submit(c fsm.Command) {
	to := p.w.byID(p.leader)
	if to == nil || p.w.Intercept != nil && p.w.Intercept(p, c) {
		return
	}
	cmd := fsm.Encode(c)
	p.w.net.request(p, to, func() { to.accept(cmd) }, nil)
}

// accept is a leader taking a member's command: several that are there at the
// same time become one entry.
func (p *Process) accept(cmd []byte) {
	if p.reign == nil {
		return
	}
	p.reign.batch = append(p.reign.batch, cmd)
}

// propose appends a command to this process's log, if it leads.
func (p *Process) propose(cmd []byte, done func(fsm.Result, error)) {
	if p.w.log.leader != p {
		// It only believes that it leads: what it appends is overwritten.
		p.w.Count.add(LostCommits)
		p.w.After(electionTimeout, func() {
			p.do(func() {
				if done != nil {
					done(fsm.Result{}, ErrNotLeader)
				}
			})
		})
		return
	}
	p.w.log.append(entry{cmd: cmd}, done)
}

// beat is the heartbeat interval by this process's log.
func (p *Process) beat() time.Duration {
	if b := p.state.Spec().Timing.Heartbeat; b > 0 {
		return b
	}
	return p.w.cfg.Spec.Timing.Heartbeat
}
