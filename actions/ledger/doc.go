// Package ledger is the list, in a directory that is gone with the boot, of what
// this machine may hold for one node: written before anything is done for an
// item, read by whoever outlives the daemon, the next daemon last.
//
// List is the file and what it says; EndRuns ends the hooks that an entry names.
// DESIGN.md beside this file says what is decided here, and why.
package ledger

import (
	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
)

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
	ID    uint64 `json:"id"` // unique in the list, never used again
	Phase Phase  `json:"phase"`
	Run   string `json:"run,omitempty"` // of the effect in flight: FLIP_RUN of its processes
	// Job has the newest token that its hooks were given, and of the rest what
	// letting go of it, or holding it on, takes.
	Job fsm.Job `json:"job"`
}

// Mirror is told of each change of the list right after it is written and before
// it counts, in the same order, under the list's lock: it may not call the List.
//
// An error of Put says that somebody who may act on the list was not told: it
// keeps an acquire from being begun. Where there is nobody to tell there is no
// error; whoever comes next gets the whole list by Attach.
type Mirror interface {
	Put(e Entry) error
	Drop(id uint64) error
}

// Identity says whose list a file is. A list of another boot or member is none; one
// of another data directory counts: what runs and is held on this machine does not
// go with the disk that was wiped.
type Identity struct {
	Boot     string       `json:"boot"`
	Member   fsm.MemberID `json:"member"`
	Instance string       `json:"instance"`
}

var _ actions.Ledger = (*List)(nil)

// Inherit sorts what a former process has left: the runs of its effects in
// flight, to be ended first of all (EndRuns), what counts as held from the start
// (Executor.Adopt), and what is to be let go of before anything else is done for
// the slot (Executor.Sweep).
func Inherit(left []Entry) (runs []string, held, gone []fsm.Job) {
	for i := range left {
		e := &left[i]
		if e.Run != "" {
			runs = append(runs, e.Run)
		}
		if e.Phase == Up && !e.Job.AtMostOne {
			held = append(held, e.Job)
		} else {
			gone = append(gone, e.Job)
		}
	}
	return runs, held, gone
}
