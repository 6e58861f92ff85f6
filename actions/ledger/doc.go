// Package ledger is the list, in a directory that is gone with the boot, of what
// this machine may hold for one node: written before anything is done for an
// item, read by whoever outlives the daemon, the next daemon last.
package ledger

import "github.com/flip-ha/flip/fsm"

// Phase says how far an item is.
type Phase string

// The phases. Only what is up may be taken over by another process as it is.
const (
	Starting Phase = "starting"
	Up       Phase = "up"
	Stopping Phase = "stopping"
)

// Entry is one item that may be up, by one way of bringing it down: a slot whose
// hooks or addresses have changed may have two.
type Entry struct {
	ID    uint64  `json:"id"` // unique in the list, never used again
	Phase Phase   `json:"phase"`
	Run   string  `json:"run,omitempty"` // of the effect in flight: FLIP_RUN of its processes
	Job   fsm.Job `json:"job"`           // with the newest token that its hooks were given
}

// Mirror is told of each change of the list right after it is written and before
// it counts, in the same order.
type Mirror interface {
	Put(Entry) error
	Drop(id uint64) error
}
