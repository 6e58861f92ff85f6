package liveness

import (
	"time"

	"github.com/flip-ha/flip/fsm"
)

// registration is one attempt to begin an epoch (L6). It is sent, and sent
// again, unchanged: nonce and first sending time belong together, since the
// first lease is counted from the latter (L2).
type registration struct {
	nonce    fsm.Nonce // zero: there is none
	replaces fsm.Epoch
	gate     bool
	first    time.Duration // when it was first sent
	epoch    fsm.Epoch     // once the log shows it
}

// pending reports whether the registration is on its way.
func (r *registration) pending() bool { return r.nonce != (fsm.Nonce{}) && r.epoch == 0 }

// backoff is the wait after registrations that were committed in vain.
type backoff struct {
	vain  int
	until time.Duration
}

// failed notes an epoch in which no lease began.
func (b *backoff) failed(now time.Duration) {
	b.until = now + backoffAfter(b.vain)
	b.vain++
}

// backoffAfter is the wait after the n-th registration in vain, from 0:
// 1, 2, 4 … 30 s.
func backoffAfter(n int) time.Duration {
	wait := backoffFirst
	for ; n > 0 && wait < backoffMost; n-- {
		wait *= 2
	}
	return min(wait, backoffMost)
}
