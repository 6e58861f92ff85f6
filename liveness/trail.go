package liveness

import (
	"time"

	"github.com/flip-ha/flip/fsm"
)

// trail notices that this process's log stands still while the voters' goes on
// (L3): what they acknowledged as applied and this process has not read yet.
type trail struct{ unread []mark }

// mark is an index and when it was first acknowledged.
type mark struct {
	index fsm.Index
	at    time.Duration
}

// maxMarks bounds the memory; when it is full, newer indexes wait their turn:
// the oldest ones decide.
const maxMarks = 64

// acked notes that a voter has applied index.
func (t *trail) acked(now time.Duration, index, read fsm.Index) {
	if index <= read || len(t.unread) >= maxMarks {
		return
	}
	if n := len(t.unread); n > 0 && t.unread[n-1].index >= index {
		return
	}
	t.unread = append(t.unread, mark{index, now})
}

// read forgets what has been read.
func (t *trail) read(index fsm.Index) {
	n := 0
	for n < len(t.unread) && t.unread[n].index <= index {
		n++
	}
	t.unread = append(t.unread[:0], t.unread[n:]...)
}

// since is when the oldest unread index was acknowledged; false: nothing is.
func (t *trail) since() (time.Duration, bool) {
	if len(t.unread) == 0 {
		return 0, false
	}
	return t.unread[0].at, true
}
