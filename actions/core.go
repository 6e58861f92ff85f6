package actions

import (
	"math"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// Never is the wake time that Step answers with when it waits for nothing but
// its inputs.
const Never = time.Duration(math.MaxInt64)

// The figures a CoreConfig left at zero stands for.
const (
	// DefaultParallel is enough to hide hooks that wait for a network, and few
	// enough that a change of the configuration does not start a thousand processes
	// at once.
	DefaultParallel = 32
	// DefaultAttempts of `alive` are made before the failure is reported.
	DefaultAttempts = 3
	// DefaultRetryFirst is the pause after the first failure; it doubles.
	DefaultRetryFirst = time.Second
	// DefaultRetryMax is the longest pause, and the one after the report.
	DefaultRetryMax = 30 * time.Second
)

// Kind says what an Effect does.
type Kind uint8

// The kinds; the zero value is invalid.
const (
	Acquire Kind = iota + 1
	Release
)

// String is the word used in logs.
func (k Kind) String() string {
	switch k {
	case Acquire:
		return "acquire"
	case Release:
		return "release"
	default:
		return "unknown"
	}
}

// Effect is one thing to be done to the machine now. Its Job.Reason says why.
type Effect struct {
	ID   uint64 // unique in one Core
	Kind Kind
	Job  fsm.Job
}

// CoreConfig is what a Core needs to know; zero figures mean the defaults.
type CoreConfig struct {
	Self        fsm.MemberID
	Machine     string // this machine; entries of others are ignored. "": not compared
	MaxParallel int    // effects at one time; releases do not count acquires
	Attempts    int    // of `alive` before the failure is reported
	RetryFirst  time.Duration
	RetryMax    time.Duration
	// Unfit says why an item cannot be held on this machine now, "" if it can. It
	// is asked for each slot that is wanted, whenever all is decided anew, and must
	// answer at once; nil: never.
	Unfit func(*fsm.Job) string
	// Absent says why what would hold an item is not there, or has let go of it unasked;
	// "" if it is there. It is asked like Unfit, and obeyed like it also under
	// maintenance, but it is no failure and not reported as one: who is not there says
	// so by other ways. nil: never.
	Absent func(*fsm.Job) string
	// Note is told of decisions that start no effect, for the log; may be nil.
	Note func(k fsm.Key, t fsm.Token, text string)
	// Without leaves rules out; tests only.
	Without Rule
}

// Core decides what is to be done to the machine so that it holds what the
// slice says, and knows what is really true. It is level-triggered: it keeps no
// list of changes, only what is wanted and what is. It is not safe for
// concurrent use, starts nothing itself and reads no clock.
//
// What may never happen: two effects of one slot at a time; an acquire of an
// at-most-one item without a running lease, or while anybody else may hold it;
// a release reported for what may still be up.
type Core struct {
	cfg     CoreConfig
	without Rule // as cfg says
	slots   map[fsm.Key]*slot
	order   []*slot // by key

	at     fsm.Index // of the newest slice
	epoch  fsm.Epoch // of the newest slice; 0: none yet
	first  fsm.Epoch // the first epoch of this process that a slice named
	lease  bool      // as the last Step was told
	leased bool      // a lease has run in this process
	mode   mode

	now     time.Duration // of the last Step
	all     bool          // the inputs changed: every slot is to be decided anew
	ended   []*slot       // their effects have ended since the last Step
	adopted []fsm.Job     // held on under a newer decision since the last Step
	awaited []fsm.Job     // found to wait for others alone since the last Step
	failed  []fsm.Job     // what the log remembers as failed here
	blamed  map[fsm.Key]bool
	mended  []fsm.Key
	bets    map[bet]time.Duration // since when

	lastID   uint64
	running  int // effects in flight that count in the limit
	releases int // of running
	queues   [queueCount][]*slot
	waiting  map[*slot]time.Duration // a retry or the end of a bet, and when
}

// mode says what is wanted of the slice at all.
type mode uint8

const (
	serving  mode = iota
	stopMost      // at-most-one items are let go of, nothing is started
	stopAll       // so is everything else, but for what is under maintenance
)

// NewCore makes a Core that knows nothing yet of its machine.
func NewCore(cfg CoreConfig) *Core {
	if cfg.MaxParallel <= 0 {
		cfg.MaxParallel = DefaultParallel
	}
	if cfg.Attempts <= 0 {
		cfg.Attempts = DefaultAttempts
	}
	if cfg.RetryFirst <= 0 {
		cfg.RetryFirst = DefaultRetryFirst
	}
	if cfg.RetryMax <= 0 {
		cfg.RetryMax = max(cfg.RetryFirst, DefaultRetryMax)
	}
	if cfg.Note == nil {
		cfg.Note = func(fsm.Key, fsm.Token, string) {}
	}
	return &Core{
		cfg: cfg, slots: map[fsm.Key]*slot{}, waiting: map[*slot]time.Duration{}, blamed: map[fsm.Key]bool{},
		without: cfg.Without, //nolint:forbidigo // here tests leave them out
	}
}

// Set takes the whole desired slice, which the caller may not change any more. The newest wins: one that was read at an
// earlier index than the last, or for an earlier epoch, is ignored, since what
// it wants may have been given away since (LEASES.md, L3). It says which.
func (c *Core) Set(sl fsm.Slice) bool {
	if sl.At < c.at || sl.At == c.at && sl.Epoch < c.epoch {
		return false
	}
	c.at, c.epoch, c.all, c.failed = sl.At, sl.Epoch, true, sl.Failed
	if c.first == 0 {
		c.first = sl.Epoch
	}
	for _, s := range c.order {
		s.want, s.owe = nil, nil
	}
	for i := range sl.Want {
		c.slot(sl.Want[i].Key).want = &sl.Want[i]
	}
	for _, o := range sl.Owe {
		if c.cfg.Machine != "" && o.Host.Machine != c.cfg.Machine && !c.without.has(RuleOwnMachine) {
			continue
		}
		s := c.slot(o.Job.Key)
		s.owe = append(s.owe, o)
	}
	for _, s := range c.slots {
		s.renewed()
	}
	c.sort()
	return true
}

// Clean asks for one release of each of these, before anything is acquired in
// its slot, unless it is wanted by then. An at-least-one item waits until the
// slice has been read at the process's own epoch: until then it may be wanted.
func (c *Core) Clean(jobs []fsm.Job) {
	for i := range jobs {
		s := c.slot(jobs[i].Key)
		if (s.state == unknown || s.state == down) && !s.cleared(&jobs[i]) && !s.leftBy(&jobs[i]) {
			s.clean, s.dirty = &jobs[i], false
		}
	}
	c.all = true
	c.sort()
}

// Recheck decides everything anew in the next Step: what is unfit may have
// changed.
func (c *Core) Recheck() { c.all = true }

// Retry has what could not be let go of tried again at once: what kept it may be gone.
func (c *Core) Retry(keys []fsm.Key) {
	for _, k := range keys {
		if s := c.slots[k]; s != nil {
			s.releaseAt, c.all = 0, true
		}
	}
}

// Stop ends all wanting, for good: at-most-one items are let go of, with all
// set also the others, and nothing is acquired any more. A `down` that failed is
// tried again at once: who stops does not wait for a back-off to end.
func (c *Core) Stop(all bool) {
	m := stopMost
	if all {
		m = stopAll
	}
	if m <= c.mode {
		return
	}
	c.mode, c.all = m, true
	for _, s := range c.order {
		s.releaseAt, s.downFails = 0, min(s.downFails, 1)
	}
}

// Step decides. The caller starts every effect of start and ends every one of
// cancel, each of which must come back through Done; it calls again when a Set,
// a Done or the lease changed anything, and at next at the latest. The lease
// must be that of the slice's epoch: false once another epoch has begun. Nothing
// is decided outside Step: what stands between two Steps was decided under a
// lease that may be over.
func (c *Core) Step(now time.Duration, lease bool) (start, cancel []Effect, next time.Duration) {
	c.now, c.adopted, c.awaited = now, nil, nil
	if lease != c.lease {
		c.lease, c.all = lease, true
		c.leased = c.leased || lease
	}
	if c.all {
		c.all = false
		c.placeBets(now)
		c.lookMended()
		cancel = c.placeAll(now)
	} else {
		c.placeDue(now)
	}
	// Releases start before acquires.
	start = c.startAcquires(c.startReleases(nil))
	next = Never
	for _, at := range c.waiting {
		next = min(next, at)
	}
	return start, cancel, next
}

// Adopted are the jobs that the last Step held on under a newer decision for
// which no effect is needed: another token, another epoch (and so another
// lease), or other settings of how addresses are announced and watched.
func (c *Core) Adopted() []fsm.Job { return c.adopted }

// Awaited are the jobs of which the last Step found, for the first time under
// their token, that they wait for nothing but others to let go.
func (c *Core) Awaited() []fsm.Job { return c.awaited }

// slot finds or makes the record of a key; the caller sorts afterwards.
func (c *Core) slot(k fsm.Key) *slot {
	s := c.slots[k]
	if s == nil {
		s = &slot{key: k}
		c.slots[k] = s
		c.order = append(c.order, s)
	}
	return s
}

// sort drops the slots nothing is known or wanted of and orders the others.
// One that is known to be down stays: that knowledge saves a `down` later.
func (c *Core) sort() {
	c.order = slices.DeleteFunc(c.order, func(s *slot) bool {
		idle := s.want == nil && s.owe == nil && s.clean == nil && s.left == nil && s.state == unknown && s.running == nil
		if idle {
			delete(c.slots, s.key)
			delete(c.waiting, s)
		}
		return idle
	})
	slices.SortFunc(c.order, func(a, b *slot) int { return a.key.Compare(b.key) })
}
