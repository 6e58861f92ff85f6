package guard

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/fsm"
)

// DeathWait is how long the daemon's end is waited for after SIGKILL: what is in
// the kernel then, and will not return from it, does no harm that another pass
// would not make good.
const DeathWait = 100 * time.Millisecond

// goodbyeFor is how long a goodbye is repeated that nobody has to wait for: by then
// the others have found the silence.
const goodbyeFor = time.Minute

// leastHeartbeat keeps what is repeated each interval from becoming a flood.
const leastHeartbeat = 5 * time.Millisecond

// lookEvery bounds how long a new daemon waits for the port of heartbeats.
const lookEvery = 100 * time.Millisecond

// Never is a time that does not come.
const Never = time.Duration(1<<63 - 1)

// CoreConfig is what a Core needs to know; zero figures mean the defaults.
type CoreConfig struct {
	Heartbeat  time.Duration // between two heartbeats of the daemon
	Grace      time.Duration // from TERM to KILL; actions.DefaultGrace
	DeathWait  time.Duration
	RetryFirst time.Duration // after the first failure; it doubles
	RetryMax   time.Duration
}

// Core decides for the guard: whether the daemon is to be ended, and in which
// order what it held is let go of. It does no I/O and knows no clock: all times
// are CLOCK_BOOTTIME, as arguments. The caller hands on what it hears, calls Step
// after each such call and when the time has come that Step named, carries out
// the acts in their order, and says by Done how each ended. Nothing in it is
// safe for concurrent use.
//
// All that the daemon has written to the pipe is to be handed on before Died,
// PipeClosed and Step: what it has told counts as told.
type Core struct {
	cfg   CoreConfig
	items map[uint64]*item // what may be up of at-most-one items

	epoch    fsm.Epoch
	ends     time.Duration // of the newest lease of epoch
	released bool          // all that could be let go of after that lease
	until    time.Duration // 0: the daemon has not said that it is releasing
	left     bool

	hungUp bool // the pipe has ended
	closed bool // the life line has ended: nothing that inherited it is between fork and exec
	gone   bool // the daemon is dead, with all its threads
	stuck  bool // no thread of it returns to user space

	why    string // it acts; "": it watches
	began  time.Duration
	waited bool // for the dead, for as long as is reasonable
	kill   task
	shut   task
	bye    farewell
	lock   lock
	over   bool
}

// NewCore makes a Core that watches.
func NewCore(cfg CoreConfig) *Core {
	cfg.Heartbeat = max(cfg.Heartbeat, leastHeartbeat)
	cfg.Grace = cmp.Or(cfg.Grace, actions.DefaultGrace)
	cfg.DeathWait = cmp.Or(cfg.DeathWait, DeathWait)
	cfg.RetryFirst = cmp.Or(cfg.RetryFirst, actions.DefaultRetryFirst)
	cfg.RetryMax = cmp.Or(cfg.RetryMax, actions.DefaultRetryMax)
	return &Core{cfg: cfg, items: map[uint64]*item{}}
}

// Put takes in an entry of the list, new or changed.
func (c *Core) Put(e ledger.Entry) {
	if !e.Job.AtMostOne {
		delete(c.items, e.ID)
		return
	}
	it := c.items[e.ID]
	if it == nil {
		it = &item{}
		c.items[e.ID] = it
	}
	it.entry = e
	it.put()
}

// Drop takes an entry off the list: it is not up.
func (c *Core) Drop(id uint64) { delete(c.items, id) }

// SetHeartbeat follows a change of the interval.
func (c *Core) SetHeartbeat(d time.Duration) {
	c.cfg.Heartbeat = max(d, leastHeartbeat)
}

// Lease tells of the newest epoch and when its lease ends; 0: it has none yet, so
// that the last of the epoch before still counts. What the daemon has said of a
// lease is void once there is one that ends later. An older epoch is ignored.
func (c *Core) Lease(epoch fsm.Epoch, ends time.Duration) {
	newer := epoch > c.epoch
	if epoch < c.epoch {
		return
	}
	c.epoch = epoch
	if ends == 0 {
		return
	}
	if newer || ends > c.ends {
		c.released, c.until = false, 0
	}
	c.ends = ends
}

// Released says that after the lease's end the daemon has let go of all that it could. What
// is listed still could not be brought down, which its end would not change.
func (c *Core) Released() { c.released = true }

// Releasing says that the daemon lets go by itself after the lease, until then at
// the latest.
func (c *Core) Releasing(until time.Duration) { c.until = until }

// Leave says that the daemon ends in order, and what it leaves it leaves on purpose.
func (c *Core) Leave() { c.left = true }

// HungUp says that the pipe has ended, be it that the daemon has closed it by hand:
// it is to be ended, and that proves nothing of what it has forked.
func (c *Core) HungUp(time.Duration) { c.hungUp = true }

// PipeClosed says that nobody has the daemon's life line any more, which it holds
// until its death and never closes: no child of it is between fork and exec.
func (c *Core) PipeClosed(time.Duration) {
	c.closed = true
	c.settle()
}

// Died says that the daemon is dead, and so are all of its threads.
func (c *Core) Died(time.Duration) {
	c.gone = true
	c.settle()
}

// Stuck says that no thread of the killed daemon returns to user space, though not all are
// dead.
func (c *Core) Stuck(time.Duration) { c.stuck = true }

// Acked says that a goodbye that named that many items is in the log.
func (c *Core) Acked(_ time.Duration, kept int) {
	if c.bye.said && kept == len(c.bye.kept) {
		c.bye.acked = true
	}
}

// Why is for what reason the guard acts; "": it only watches.
func (c *Core) Why() string { return c.why }

// Kept are the at-most-one items that are not known to be released.
func (c *Core) Kept() []fsm.Key {
	var kept []fsm.Key
	for _, it := range c.items {
		if !it.out {
			kept = append(kept, it.entry.Job.Key)
		}
	}
	slices.SortFunc(kept, fsm.Key.Compare)
	return slices.Compact(kept)
}

// Clean says that nothing at-most-one is left and only words are.
func (c *Core) Clean() bool { return c.why != "" && c.sure() && len(c.Kept()) == 0 }

// sure: nothing that the daemon has begun can have an effect any more.
func (c *Core) sure() bool { return c.gone && c.closed }

// settle has done once more what was done before that was so: an address that a
// thread was adding may have landed, a hook's child may have got its program.
func (c *Core) settle() {
	if !c.sure() || c.why == "" {
		return
	}
	for _, it := range c.items {
		it.settle()
	}
}

// alarm is why the guard is to act now, or until when it need not.
func (c *Core) alarm(now time.Duration) (why string, next time.Duration) {
	switch {
	case c.gone:
		return "the daemon is dead", 0
	case c.hungUp || c.closed:
		return "the daemon has closed its pipe", 0
	case c.ends == 0 || c.released || len(c.items) == 0:
		return "", Never
	}
	next = c.ends + fsm.GuardPatience(c.cfg.Heartbeat)
	why = "the daemon's lease has ended and it does not let go"
	if c.until > 0 {
		next = max(next, min(c.until, c.latest()))
		why = "the daemon has not let go in its time"
	}
	if now < next {
		return "", next
	}
	return why, 0
}

// latest is when a daemon that is letting go must be done.
func (c *Core) latest() time.Duration {
	var jobs []*fsm.Job
	for _, it := range c.items {
		jobs = append(jobs, &it.entry.Job)
	}
	return c.ends + fsm.GuardPatience(c.cfg.Heartbeat) + ReleaseTime(jobs, c.cfg.Grace)
}

// ReleaseTime is how long letting go of these at-most-one jobs may take, side by
// side, where a hook that has used up its time is killed after the grace. As long
// as others bet on the time that one of them takes, that one's counts, and not the
// longest: a bet reckons with no other system's.
func ReleaseTime(jobs []*fsm.Job, grace time.Duration) time.Duration {
	var longest, bet time.Duration
	bets := false
	for _, j := range jobs {
		longest = max(longest, j.StopTimeout)
		if j.Bet && (!bets || j.StopTimeout < bet) {
			bet, bets = j.StopTimeout, true
		}
	}
	if bets {
		longest = bet
	}
	return longest + grace
}

// sorted are the items in the order of the list.
func (c *Core) sorted() []*item {
	all := make([]*item, 0, len(c.items))
	for _, id := range slices.Sorted(maps.Keys(c.items)) {
		all = append(all, c.items[id])
	}
	return all
}
