package sim

import (
	"errors"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// ErrNotLeader answers a proposal whose proposer does not lead; the command may
// commit all the same, later.
var ErrNotLeader = errors.New("propose: not the leader")

// How the log behaves where a script says nothing else.
const (
	logCheck        = 10 * time.Millisecond  // how often leadership is looked at
	electionTimeout = 60 * time.Millisecond  // silence after which a leader is given up
	electionSpread  = 120 * time.Millisecond // how much longer an election may take
)

// entry is one committed (or appended) log entry: a command, a voter list, or
// neither: the entry a new leader begins with.
type entry struct {
	cmd    []byte
	voters []fsm.VoterID
	state  *fsm.State // takes the place of everything; see Restore
}

// proposal is an entry of the leader's log that is not committed.
type proposal struct {
	entry
	ready time.Duration // when enough disks have it
	done  func(fsm.Result, error)
}

// replicatedLog models Raft from outside: at most one leader can commit, what
// is committed stays, what a deposed leader appended may still commit or
// vanish, and each process learns of commits with a lag of its own. A deposed
// leader believes in itself for a while.
type replicatedLog struct {
	w       *World
	entries []entry // committed; the first has index 1
	pending []*proposal
	learns  map[fsm.VoterID]bool // no voter yet, or any more, and receives the log
	cut     map[fsm.MemberID]bool
	// Lag and Delay of scripts; zero: drawn.
	lag          map[fsm.MemberID]time.Duration
	delay        time.Duration
	stalledUntil time.Duration
	held         bool // no elections by themselves: the script decides
	leader       *Process
	term         int
	electing     bool
	quietSince   time.Duration // since when the leader has had no quorum; 0: has one
}

func (l *replicatedLog) init(w *World) {
	l.w = w
	l.learns = map[fsm.VoterID]bool{}
	l.cut, l.lag = map[fsm.MemberID]bool{}, map[fsm.MemberID]time.Duration{}
	var ids []fsm.VoterID
	for _, m := range w.cfg.Voters {
		id := fsm.NewVoterID(m, instanceName(m, 1))
		ids = append(ids, id)
	}
	slices.Sort(ids)
	l.entries = []entry{
		{voters: ids},
		{cmd: fsm.Encode(fsm.SetSpec{Cluster: "sim", Spec: w.cfg.Spec})},
	}
	var tick func()
	tick = func() {
		l.check()
		w.After(logCheck, tick)
	}
	w.After(logCheck, tick)
}

// last is the index of the newest committed entry.
func (l *replicatedLog) last() fsm.Index { return fsm.Index(len(l.entries)) }

// config is the newest voter list, committed or not: what Raft counts with.
func (l *replicatedLog) config() (ids []fsm.VoterID, committed bool) {
	for i := len(l.pending) - 1; i >= 0; i-- {
		if l.pending[i].voters != nil {
			return l.pending[i].voters, false
		}
	}
	for i := len(l.entries) - 1; i >= 0; i-- {
		if l.entries[i].voters != nil {
			return l.entries[i].voters, true
		}
	}
	return nil, true
}

// up says whether a process takes part in the log right now.
func (l *replicatedLog) up(p *Process) bool {
	return p != nil && !p.dead && !p.Frozen() && !l.cut[p.Name] && l.takes(p) && !l.w.lockedOut(p)
}

// takes says whether a process is part of the log's configuration at all.
func (l *replicatedLog) takes(p *Process) bool {
	ids, _ := l.config()
	return l.learns[p.ID()] || slices.Contains(ids, p.ID())
}

// quorum says whether enough voters take part for something to commit.
func (l *replicatedLog) quorum() bool {
	ids, _ := l.config()
	n := 0
	for _, id := range ids {
		if l.up(l.w.byID(id)) {
			n++
		}
	}
	return n > len(ids)/2
}

// append puts an entry into the leader's log.
func (l *replicatedLog) append(e entry, done func(fsm.Result, error)) {
	w := l.w
	d := l.delay
	if d == 0 {
		d = w.between(300*time.Microsecond, 3*time.Millisecond)
	}
	ready := w.now + d
	if n := len(l.pending); n > 0 {
		ready = max(ready, l.pending[n-1].ready)
	}
	l.pending = append(l.pending, &proposal{entry: e, ready: ready, done: done})
	w.At(ready, l.advance)
}

// advance commits what may commit now.
func (l *replicatedLog) advance() {
	w := l.w
	for len(l.pending) > 0 && l.up(l.leader) && l.pending[0].ready <= w.now && w.now >= l.stalledUntil && l.quorum() {
		next := l.pending[0]
		l.pending = l.pending[1:]
		l.entries = append(l.entries, next.entry)
		if next.voters != nil {
			w.Count.add(VoterChanges)
			w.tracef("log: %d committed: voters %v", l.last(), next.voters)
		}
		if next.done != nil {
			l.leader.waiting[l.last()] = next.done
		}
		for _, p := range w.procs {
			l.feed(p)
		}
	}
}

// feed has a process learn, after its lag, of all that is committed by now.
func (l *replicatedLog) feed(p *Process) {
	if p.dead || !l.takes(p) || l.cut[p.Name] || l.leader == nil || l.w.lockedOut(p) {
		return
	}
	w, to := l.w, l.last()
	lag, fixed := l.lag[p.Name]
	switch {
	case p == l.leader:
		lag = 0
	case !fixed && w.chance(0.02):
		lag = w.between(0, 60*time.Millisecond)
	case !fixed:
		lag = w.between(300*time.Microsecond, 4*time.Millisecond)
	}
	w.After(lag, func() {
		if !l.cut[p.Name] || p == l.leader {
			p.do(func() { p.catchUp(to) })
		}
	})
}

// check deposes a leader that cannot lead, elects one, and tells everybody.
func (l *replicatedLog) check() {
	w := l.w
	if l.leader != nil {
		switch {
		case l.leader.dead:
			l.depose()
		case !l.up(l.leader) || !l.quorum():
			if l.quietSince == 0 {
				l.quietSince = w.now
			} else if w.now-l.quietSince > electionTimeout {
				l.depose()
			}
		default:
			l.quietSince = 0
		}
	}
	if l.leader == nil && !l.electing && !l.held && l.quorum() {
		l.electing = true
		w.After(electionTimeout+w.between(0, electionSpread), func() {
			l.electing = false
			l.elect(nil)
		})
	}
	l.advance()
	for _, p := range w.procs {
		if !p.dead && !p.Frozen() {
			l.introduce(p)
		}
	}
}

// introduce tells a process who leads, and catches it up.
func (l *replicatedLog) introduce(p *Process) {
	var id fsm.VoterID
	if l.leader != nil && !l.cut[p.Name] && l.takes(p) {
		id = l.leader.ID()
	}
	if p == l.leader && !p.leading {
		id = "" // until its Barrier
	}
	deposed := p.leading && p != l.leader // and does not know it yet
	if p.leader != id && !deposed && p.stream == nil {
		p.do(func() { p.lead(p.leading, id) })
	}
	if id != "" && p.raft != nil && p.raft.at < l.last() {
		l.feed(p)
	}
}

// elect makes a process the leader, nil: any that can be.
func (l *replicatedLog) elect(p *Process) {
	w := l.w
	if l.leader != nil {
		if p == nil || p == l.leader {
			return
		}
		l.depose()
	}
	if !l.quorum() {
		return
	}
	if p == nil {
		ids, _ := l.config()
		var can []*Process
		for _, id := range ids {
			if c := w.byID(id); l.up(c) {
				can = append(can, c)
			}
		}
		p = can[w.rng.IntN(len(can))]
	}
	l.leader, l.quietSince = p, 0
	l.term++
	term := l.term
	w.Count.add(Elections)
	w.tracef("log: %s leads in term %d", p.ID(), term)
	l.append(entry{}, func(_ fsm.Result, err error) {
		if err == nil && l.leader == p && l.term == term {
			p.lead(true, p.ID())
		}
	})
}

// depose takes the leadership away. Part of what was appended survives in the
// logs of a majority and commits under the next leader, the rest is gone.
func (l *replicatedLog) depose() {
	w, old := l.w, l.leader
	l.leader, l.quietSince = nil, 0
	keep := w.rng.IntN(len(l.pending) + 1)
	w.tracef("log: %s no longer leads; %d of %d uncommitted entries survive", old.ID(), keep, len(l.pending))
	var lost []func(fsm.Result, error)
	for i, p := range l.pending {
		if p.done != nil {
			lost = append(lost, p.done)
			p.done = nil
		}
		if p.cmd != nil && i < keep {
			w.Count.add(LateCommits)
		} else if p.cmd != nil {
			w.Count.add(LostCommits)
		}
	}
	l.pending = l.pending[:keep]
	for at := fsm.Index(1); at <= l.last(); at++ {
		if done := old.waiting[at]; done != nil {
			lost = append(lost, done)
			delete(old.waiting, at)
		}
	}
	// It learns of it later: a deposed leader believes in itself for up to its
	// lease, a frozen one for a moment after it wakes.
	w.After(w.between(0, electionTimeout), func() {
		old.do(func() {
			if l.leader != old {
				old.lead(false, "")
			}
			for _, done := range lost {
				done(fsm.Result{}, ErrNotLeader)
			}
		})
	})
}

// CutLog cuts a member from the log, or heals that.
func (w *World) CutLog(m fsm.MemberID, cut bool) {
	if cut && !w.log.cut[m] {
		w.Count.add(LogCuts)
	}
	w.log.cut[m] = cut
}

// Lag fixes how long after a commit a member learns of it; negative: drawn.
func (w *World) Lag(m fsm.MemberID, d time.Duration) {
	if d < 0 {
		delete(w.log.lag, m)
	} else {
		w.log.lag[m] = d
	}
}

// Stall keeps everything from committing for a time, as a hung disk does.
func (w *World) Stall(d time.Duration) {
	w.Count.add(Stalls)
	w.log.stalledUntil = w.now + d
	w.tracef("log: stalls for %v", d)
	w.After(d, w.log.advance)
}

// Elect makes a process the leader.
func (w *World) Elect(p *Process) { w.log.elect(p) }

// Leader is the process that can commit; nil: none.
func (w *World) Leader() *Process { return w.log.leader }

// Commit puts a command into the log at once, whoever leads: what a verb without
// a program yet would do, or what a dead leader left behind.
func (w *World) Commit(c fsm.Command) fsm.Index {
	l := &w.log
	l.entries = append(l.entries, entry{cmd: fsm.Encode(c)})
	for _, p := range w.procs {
		l.feed(p)
	}
	return l.last()
}

// Restore brings back the Spec of an earlier state, as flip does; with the rule
// left out, everything of it but the members.
func (w *World) Restore(old *fsm.State) {
	if !w.cfg.Rules.OwnersRestored {
		w.Commit(fsm.SetSpec{Was: w.checker.newest().Spec().Version, Spec: *old.Spec()})
		return
	}
	l := &w.log
	l.entries = append(l.entries, entry{state: old})
	for _, p := range w.procs {
		l.feed(p)
	}
}
