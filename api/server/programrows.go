package server

import (
	"fmt"
	"strings"

	"github.com/flip-ha/flip/fsm"
)

// unclaimed explains why the owner of a program's item has not taken it: nobody is
// there to; "": it is not that.
func unclaimed(s *fsm.State, slot fsm.Slot) (why, do string) {
	owner, _ := s.Member(slot.Owner)
	if s.Spec().Systems[slot.System].Action != fsm.ActionClient || owner.HasProgram(slot.System) {
		return "", ""
	}
	return fmt.Sprintf("no program on %s has claimed %s", slot.Owner, slot.System), fmt.Sprintf("start the program of %s on %s", slot.System, slot.Owner)
}

// failedThere explains a failure of what an item's owner does by itself.
func failedThere(s *fsm.State, slot fsm.Slot, failure string) (why, do string) {
	who := string(slot.Owner)
	if s.Spec().Systems[slot.System].Action == fsm.ActionClient {
		return "the program on " + who + " has not taken it, and is told again: " + failure, "look at the log of that program"
	}
	return "its hook failed on " + who + " and is tried again: " + failure, "look at the log of flip on " + who + ": mend the hook"
}

// outstandingProgram explains an entry of a program: it has the item until it says
// otherwise or has ended, and only flip on its machine hears of either.
func outstandingProgram(s *fsm.State, slot fsm.Slot, e fsm.Entry) (why, do string) {
	who := string(e.Member)
	now, known := s.Member(e.Member)
	there := known && now.Host.Machine == e.Host.Machine
	switch failure := failedUnder(s, slot, e); {
	case there && now.Up && failure != "":
		return fmt.Sprintf("the program on %s has not let go of it: %s", who, failure), "see what holds that program up, or end it: then it has nothing any more"
	case there && now.Up:
		return "the program on " + who + " is letting go of it", "if it stays: see what holds that program up, or end it: then it has nothing any more"
	case there:
		return fmt.Sprintf("%s (epoch %d) is down, and a program there may still have it", who, e.Epoch),
			"start flip on " + who + " again: the program goes on there and says what it has; if it has ended, so does flip"
	case strings.HasPrefix(e.Host.Machine, fsm.BootMachine):
		return fmt.Sprintf("%s (epoch %d) ran on a machine that flip cannot recognise after its reboot: a program may still run there", who, e.Epoch),
			"set `machine` in the file of each node, so that a machine is known again after a reboot"
	default:
		return fmt.Sprintf("a program on the former machine of %s (%s, epoch %d) may still have it", who, e.Host.Machine, e.Epoch),
			"start flip on that machine again under the name " + who
	}
}
