package sim

import (
	"fmt"
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
)

// watch counts what one process does, from outside.
type watch struct {
	leased   bool
	began    fsm.Epoch // newest epoch that had a lease
	promised map[fsm.MemberID]promise
	asked    bool // a message with polls is being received
	nonce    fsm.Nonce
}

type promise struct {
	epoch fsm.Epoch
	until time.Duration
}

func (h *watch) sent(p *Process, o liveness.Out) {
	c := &p.w.Count
	switch msg := o.Msg.(type) {
	case liveness.Heartbeat:
		c.addN(Polls, len(msg.Polls))
	case liveness.Ack:
		c.add(Acks)
	case liveness.Ballot:
		c.add(Ballots)
		if !h.asked {
			c.add(HeldPolls)
		}
		if h.promised == nil {
			h.promised = map[fsm.MemberID]promise{}
		}
		h.promised[msg.Poll.Of] = promise{msg.Poll.Epoch, p.machine.Now() + fsm.Slack(p.state.MaxTTL())}
		if p.w.cfg.Trace {
			p.w.tracef("%s votes %s (epoch %d) down, asked by %s", p.ID(), msg.Poll.Of, msg.Poll.Epoch, msg.Poll.By)
		}
	case liveness.Goodbye:
		c.add(Goodbyes)
	}
}

// received looks at what a message led to; called before the answers are sent.
func (h *watch) received(p *Process, from liveness.From, msg liveness.Message, outs []liveness.Out) {
	hb, ok := msg.(liveness.Heartbeat)
	h.asked = ok && len(hb.Polls) > 0
	if !ok {
		return
	}
	for _, o := range outs {
		if _, acked := o.Msg.(liveness.Ack); acked {
			return
		}
	}
	p.w.Count.add(Refusals)
	if pr := h.promised[from.Member]; hb.Epoch != 0 && hb.Epoch <= pr.epoch && p.machine.Now() < pr.until {
		if m, known := p.state.Member(from.Member); known && m.Epoch == hb.Epoch && m.Up {
			p.w.Count.add(Promises)
		}
	}
}

func (h *watch) lease(p *Process, ok bool) {
	h.asked = false
	if ok == h.leased {
		return
	}
	h.leased = ok
	if ok {
		h.began = p.live.Epoch()
	} else {
		p.w.Count.add(Lapses)
		// Who was taken out has none any more.
		if m, in := p.w.checker.newest().Member(p.Name); in && m.Epoch == h.began && p.w.cfg.Steady && !p.stop.begun {
			p.w.checker.fail(Lapsed, "%s, epoch %d", p.ID(), h.began)
		}
	}
	if p.w.cfg.Trace {
		p.w.tracef("%s: lease of epoch %d %s", p.ID(), p.live.Epoch(), map[bool]string{true: "begins", false: "ends"}[ok])
	}
}

func (h *watch) registers(p *Process, r fsm.Register) {
	if r.Nonce == h.nonce {
		return
	}
	h.nonce = r.Nonce
	if own := p.live.Epoch(); own != 0 && r.Replaces == own && own != h.began {
		p.w.Count.add(Overdue)
	}
}

// watchApplied counts and checks an entry that a process has just applied; the
// first one to apply it counts.
func (w *World) watchApplied(p *Process, before *fsm.State, e entry, res fsm.Result) {
	at := p.raft.at
	first := fsm.Index(len(w.checker.states)) < at || w.checker.states[at-1] == nil
	w.checker.applied(p, at, p.raft.state, res)
	if !first || e.cmd == nil {
		return
	}
	c, err := fsm.Decode(e.cmd)
	if err != nil {
		return
	}
	b, ok := c.(fsm.Batch)
	if !ok {
		w.watchCommand(at, before, c, res)
		w.watchBrakes(before, p.raft.state)
		return
	}
	for i, raw := range b.Commands {
		if c, err := fsm.Decode(raw); err == nil && i < len(res.Each) {
			w.watchCommand(at, before, c, res.Each[i])
		}
	}
	w.watchBrakes(before, p.raft.state)
}

func (w *World) watchCommand(at fsm.Index, before *fsm.State, c fsm.Command, res fsm.Result) {
	n := &w.Count
	if w.cfg.Trace && c.Type() != fsm.TypeProbe {
		w.tracef("log: %d %s%s", at, describe(c), outcome(res))
	}
	n.addN(MovesDropped, len(res.Dropped))
	switch c := c.(type) {
	case fsm.Register:
		if res.Applied {
			n.add(Registrations)
		} else {
			n.add(RegistrationsRefused)
		}
	case fsm.Settle:
		n.add(Settles)
	case fsm.Down:
		w.watchDown(before, c, res)
	case fsm.Assign:
		n.addN(Moves, len(c.Moves)-len(res.Dropped))
		w.watchMoves(before, c.Moves, res, c.At)
	case fsm.Cleanup:
		n.add(Cleanups)
	case fsm.Report:
		n.addN(ReportsAcquired, len(c.Acquired))
		n.addN(ReportsReleased, len(c.Released))
		n.addN(ReportsSwept, len(c.Swept))
		n.addN(ReportsFailed, len(c.Failed))
		n.addN(ReportsMended, len(c.Mended))
		for _, f := range c.Failed {
			if f.Err == noCarrier {
				n.add(ReportsUnfit)
			}
		}
	case fsm.SetSpec, fsm.RemoveMember, fsm.Rotate, fsm.KeyAck, fsm.KeyGo:
		if res.Applied {
			w.watchMembers(c)
		}
	case fsm.Leave:
		n.add(Leaves)
	case fsm.Force:
		n.add(Forces)
		if res.Applied {
			w.checker.forcing(before, c)
		}
	}
}

// watchDown counts a Down by what it came of.
func (w *World) watchDown(before *fsm.State, c fsm.Down, res fsm.Result) {
	n := &w.Count
	switch {
	case !res.Applied:
		n.add(DownsRefused)
		return
	case c.Goodbye != nil:
		n.add(DownsByGoodbye)
		w.watchGoodbye(before.Spec().Servers[c.Member])
	default:
		n.add(DownsByVote)
	}
	n.add(Downs)
	n.addN(Moves, len(c.Moves)-len(res.Dropped))
	w.watchMoves(before, c.Moves, res, c.At)
}

// watchMembers counts what became of the members and of their key.
func (w *World) watchMembers(c fsm.Command) {
	switch c := c.(type) {
	case fsm.SetSpec:
		if w.comesAndGoes() {
			w.joined(&c.Spec)
		}
	case fsm.RemoveMember:
		w.Count.add(Removals)
	case fsm.Rotate:
		w.Count.add(Rotations)
	case fsm.KeyAck:
		w.Count.add(KeysAcked)
	case fsm.KeyGo:
		if c.Phase != fsm.KeySettled {
			w.Count.add(KeyPhases)
		}
		w.Count.addN(KeysWithout, len(c.LeftOut))
	}
}

// watchGoodbye counts a goodbye by whose it is.
func (w *World) watchGoodbye(s fsm.Server) {
	if s.Role == fsm.RoleAgent {
		w.Count.add(AgentGoodbyes)
	}
	if s.Removing {
		w.Count.add(LeaverGoodbyes)
	}
}

func outcome(res fsm.Result) string {
	switch {
	case !res.Applied:
		return " REFUSED: " + res.Why
	case len(res.Dropped) > 0:
		return fmt.Sprintf(" (%d moves dropped)", len(res.Dropped))
	default:
		return ""
	}
}

// describe is a command in few words.
func describe(c fsm.Command) string {
	switch c := c.(type) {
	case fsm.Register:
		return fmt.Sprintf("register %s on %s/%s replacing %d", c.Member, c.Host.Machine, c.Host.Instance, c.Replaces)
	case fsm.Settle:
		return fmt.Sprintf("settle %s epoch %d", c.Member, c.Epoch)
	case fsm.Down:
		return fmt.Sprintf("down %s epoch %d by %d votes%s,%s", c.Member, c.Epoch, len(c.Evidence),
			map[bool]string{true: " and a goodbye"}[c.Goodbye != nil], describeMoves(c.Moves))
	case fsm.Assign:
		return "assign" + describeMoves(c.Moves)
	case fsm.Report:
		s := fmt.Sprintf("report of %s epoch %d:", c.Member, c.Epoch)
		for _, part := range []struct {
			name   string
			claims []fsm.Claim
		}{{"acquired", c.Acquired}, {"released", c.Released}, {"swept", c.Swept}} {
			for _, cl := range part.claims {
				s += fmt.Sprintf(" %s %s/%s@%d", part.name, cl.System, cl.Item, cl.Token)
			}
		}
		for _, f := range c.Failed {
			s += fmt.Sprintf(" failed %s/%s@%d (%s)", f.System, f.Item, f.Token, f.Err)
		}
		for _, k := range c.Mended {
			s += fmt.Sprintf(" mended %s/%s", k.System, k.Item)
		}
		return s
	case fsm.Force:
		return fmt.Sprintf("force %v", c.Claims)
	case fsm.SetSpec:
		return fmt.Sprintf("spec, ttl %v, %d systems", c.Spec.Timing.Lease, len(c.Spec.Systems))
	default:
		return fmt.Sprintf("%T %+v", c, c)
	}
}

func describeMoves(moves []fsm.Move) string {
	s := ""
	for _, m := range moves {
		s += fmt.Sprintf(" %s@%d->%s", slotName(m.Key), m.Was, m.To)
	}
	return s
}

// watchLatest shows everybody a voter list that is not committed: only a process
// that leaves the rule out looks at it.
func (w *World) watchLatest(ids []fsm.VoterID) {
	at := w.log.last() + fsm.Index(len(w.log.pending))
	for _, p := range w.procs {
		if !p.Frozen() {
			p.live.Latest(p.machine.Now(), fsm.Voters{Index: at, IDs: ids})
		}
	}
}
