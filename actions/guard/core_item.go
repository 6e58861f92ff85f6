package guard

import (
	"time"

	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/fsm"
)

// state is how far an item's release is.
type state uint8

const (
	todo   state = iota // nothing has been tried, or all must be done again
	ready               // its runs have been seen to, its `down` is next
	busy                // something is being done for it
	done                // the last attempt went well …
	failed              // … or did not
)

// item is one entry of the list.
type item struct {
	entry  ledger.Entry
	state  state
	again  bool // while busy: once more, with what the daemon has said meanwhile
	dirty  bool // of this attempt: the daemon's hook may still run
	final  bool // of this attempt: it began when nothing of the daemon's could come after it
	tried  bool // an attempt has ended, well or not …
	proven bool // … and one that was final
	out    bool // released; it stays so
	next   time.Duration
	wait   time.Duration
}

func (it *item) plumbed() bool { return it.entry.Job.Action == fsm.ActionIP }

// loose: something of the daemon's may come up after the item was let go of, as
// long as the daemon has not ended for sure.
func (it *item) loose() bool { return it.plumbed() || it.entry.Run != "" }

// put: the daemon has begun something for the item.
func (it *item) put() {
	it.out, it.tried, it.proven = false, false, false
	it.renew()
}

// settle: the daemon has ended for sure.
func (it *item) settle() {
	if it.loose() && !it.final {
		it.renew()
	}
}

func (it *item) renew() {
	it.wait, it.next = 0, 0
	if it.state == busy {
		it.again = true
		return
	}
	it.state = todo
}

// due: something is to be begun for the item.
func (it *item) due(now time.Duration) bool {
	return it.state == todo || it.state == ready || it.state == failed && now >= it.next
}

// begin starts an attempt, or goes on with one.
func (it *item) begin(sure bool) {
	if it.state != ready {
		it.final, it.dirty = sure, false
	}
	it.state = busy
}

// ended takes in how an attempt ended.
func (it *item) ended(now time.Duration, cfg *CoreConfig, err error) {
	if it.state != busy {
		return
	}
	if it.again {
		it.state, it.again = todo, false
		return
	}
	it.tried = true
	it.proven = it.proven || it.final || !it.loose()
	if err != nil || it.dirty {
		it.wait = min(max(2*it.wait, cfg.RetryFirst), cfg.RetryMax)
		it.state, it.next = failed, now+it.wait
		return
	}
	it.state, it.wait = done, 0
	// What the kernel holds back is released although it may be plumbed once more.
	it.out = it.out || it.final || !it.loose() || it.entry.Job.Gated
}

// task is an act that is repeated until it succeeds.
type task struct {
	busy, done, tried bool
	next, wait        time.Duration
}

func (t *task) due(now time.Duration) bool { return !t.busy && !t.done && now >= t.next }

func (t *task) ended(now time.Duration, cfg *CoreConfig, err error) {
	t.busy, t.tried, t.done = false, true, err == nil
	t.wait = min(max(2*t.wait, cfg.Heartbeat), cfg.RetryMax)
	t.next = now + t.wait
}

// farewell is the goodbye, repeated until acknowledged and again as it shrinks.
type farewell struct {
	said, acked bool
	kept        []fsm.Key
	next        time.Duration
}

// lock is the guard's part in the data directory's lock.
type lock struct {
	open   bool // given up: a new daemon may have it
	asking bool
	taken  bool // a new daemon has it
	next   time.Duration
}
