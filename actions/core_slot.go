package actions

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// truth is what is known of a slot on this machine. It belongs to the machine,
// not to a token: there is one item, up or not.
type truth uint8

const (
	unknown truth = iota // this process did nothing yet; a former one may have left it up
	down                 // nothing this process did last is up: `down` succeeded and nothing was started since
	held                 // `alive` succeeded and nothing was done since
	spoiled              // something was started and has not ended well: it must go down
)

// slot is what is wanted of one key, what is true of it, and what is being done.
type slot struct {
	key   fsm.Key
	want  *fsm.Job   // nil: the slice does not want it here
	owe   []fsm.Owed // entries of this machine that the log still shows
	clean *fsm.Job   // to be released once
	dirty bool       // clean is of an at-most-one item, and has failed
	left  []fsm.Job  // what a former process left, one for each way
	state truth
	// former is the state before the effect in flight.
	former truth
	job    fsm.Job     // as it was last acquired or released: a release uses the same hooks
	why    string      // it was last let go of, or is to be
	unfit  string      // why it cannot be held on this machine, as last asked; "": it can
	absent bool        // unfit is CoreConfig.Absent's word: no failure
	won    []fsm.Claim // bets on time that are over; their Key is not set
	ways   []way       // by which something was done here, or known to be undone
	// gone: entries of this process's own time up to this token are let go of,
	// whatever their way.
	gone fsm.Token

	found     bool      // it is held since a former process left it so: nothing was done or decided yet
	outside   bool      // its last release failed with ErrOutsideGate
	awaited   fsm.Token // under which it was found to wait for others alone
	running   *Effect
	counted   bool      // running counts in the limit
	begun     fsm.Epoch // the slice's when running began, or when it was last held on
	cancelled bool      // running is an acquire that nobody wants any more
	place     place
	next      verdict // what place waits for

	fails, downFails     int // in a row
	acquireAt, releaseAt time.Duration
	tried                fsm.Token // the token that fails belong to
	shown                fsm.Token // the token under which the log showed it failed
	err                  string    // of the last effect that failed
	since                time.Duration
	let                  fsm.Token // of the last release; used without RuleLogShown only
}

// place is where a slot waits for its next effect.
type place uint8

const (
	nowhere place = iota
	queueRelease
	queueAcquire
	freeRelease // these count in no limit
	freeAcquire
	queueCount
)

// renewed takes note of a new slice: another token is another decision, so what
// failed under the last one is tried afresh.
func (s *slot) renewed() {
	slices.SortFunc(s.owe, func(a, b fsm.Owed) int { return cmp.Compare(a.Token, b.Token) })
	if s.fails > 0 && (s.want == nil || s.want.Keep || s.want.Token != s.tried) {
		s.fails, s.acquireAt = 0, 0
	}
	s.forgiven()
	if s.want != nil {
		s.won = slices.DeleteFunc(s.won, func(won fsm.Claim) bool {
			return !slices.ContainsFunc(s.want.Blocked, func(b fsm.Blocker) bool { return claimOf(&b) == won })
		})
	}
}

// forgiven tries again at once what the log has ceased to call failed under the
// same token: an operator has seen to it.
func (s *slot) forgiven() {
	switch {
	case s.want == nil || s.want.Keep:
		s.shown = 0
	case s.want.Failed:
		s.shown = s.want.Token
	case s.shown != 0 && s.shown == s.want.Token:
		s.shown, s.fails, s.acquireAt, s.releaseAt = 0, 0, 0, 0
	}
}

func claimOf(b *fsm.Blocker) fsm.Claim {
	return fsm.Claim{Member: b.Member, Epoch: b.Epoch, Token: b.Token}
}

// adopt goes on holding under a newer decision, without a hook call: older
// entries of this machine have become this one.
func (s *slot) adopt(epoch fsm.Epoch) {
	s.job, s.begun, s.found = *s.want, epoch, false
	s.counts(&s.job)
}

// before is the largest token older than t; replicated items have none.
func before(t fsm.Token) fsm.Token { return t - min(t, 1) }

// sameDefinition says whether two jobs make the same thing true by the same
// means: what was acquired by one may be held, and released, as the other. The
// lifetime of an address, and whether it is behind the gate, depend on its
// guarantee: the driver must have changed both before the log is told of the new
// token, since others then bet on it.
func sameDefinition(a, b fsm.Job) bool {
	return a.Action == b.Action && a.Alive == b.Alive && a.Down == b.Down &&
		bytes.Equal(a.Config, b.Config) && slices.Equal(a.Addrs, b.Addrs) &&
		a.Gated == b.Gated && link(&a) == link(&b) &&
		(a.Action != fsm.ActionIP || a.AtMostOne == b.AtMostOne)
}

// link is the interface that a job's addresses are plumbed on; "": found by the
// driver.
func link(j *fsm.Job) string {
	if j.Interface == "" && j.IP != nil {
		return j.IP.Interface
	}
	return j.Interface
}

// sameSettings says whether what is held is watched and announced alike.
func sameSettings(a, b *fsm.IP) bool {
	return a == b || a != nil && b != nil && a.NoProbe == b.NoProbe &&
		slices.Equal(a.Track, b.Track) && slices.Equal(a.Notify, b.Notify)
}
