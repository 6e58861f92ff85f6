package guard

import (
	"errors"

	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/fsm"
)

// Kind says what an Act does.
type Kind uint8

// The acts, begun in the order in which Step gives them. Shut, EndRuns and Down
// may take their time, side by side with all others, which are done at once.
const (
	Kill    Kind = iota + 1 // SIGKILL to the daemon, by its pidfd
	Shut                    // the gate, with the fuses that may be lit
	Remove                  // the addresses of all Entries
	EndRuns                 // end what the effects in flight of Entries have started
	Down                    // run `down` of the one of Entries
	Goodbye                 // say that all but Kept is released
	Unlock                  // give up the data directory's lock: a new daemon may start
	Look                    // take that lock and give it up again: ErrTaken if a new daemon has it
	Lock                    // take it again, for what must not run beside a new daemon; ErrTaken
	Exit                    // nothing is left to do
)

// String names the act, for logs and traces.
func (k Kind) String() string {
	names := [...]string{"", "kill", "shut", "remove", "end-runs", "down", "goodbye", "unlock", "look", "lock", "exit"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Act is one thing to be done now. Each ends in one or more calls of Core.Done,
// with the Entries that share an outcome; but Goodbye and Exit, whose Done
// changes nothing.
type Act struct {
	Kind    Kind
	Entries []ledger.Entry
	Kept    []fsm.Key // of Goodbye: the at-most-one items that are not released yet
}

// ErrTaken says that another process has the data directory's lock, or that there
// is no directory any more: nobody needs this guard.
var ErrTaken = errors.New("the data directory belongs to another process")
