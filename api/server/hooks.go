package server

import (
	"fmt"
	"strings"

	"github.com/flip-ha/flip/fsm"
)

// outstandingHook explains an entry of a hook: nothing but the machine it ran on
// knows what became of its effect.
func outstandingHook(s *fsm.State, slot fsm.Slot, e fsm.Entry) (why, do string) {
	who := string(e.Member)
	now, known := s.Member(e.Member)
	sameMachine := known && now.Host.Machine == e.Host.Machine
	switch failure := failedUnder(s, slot, e); {
	case known && now.Up && sameMachine && failure != "":
		return fmt.Sprintf("%s runs and has not let go of it: it failed there: %s", who, failure),
			"mend the hook: its `down` is tried again by itself; the log of flip on " + who + " has more"
	case known && now.Up && sameMachine:
		return who + " runs and is letting go of it",
			"if it stays: `down` fails there; look at the log of flip on " + who
	case sameMachine && slotFence(s, slot) != "":
		return fmt.Sprintf("%s (epoch %d) is down and may still hold it, until its fence (%s) has switched it off", who, e.Epoch, slotFence(s, slot)),
			"wait while the fence is tried; if it fails, start flip on " + who + " again"
	case sameMachine:
		return fmt.Sprintf("%s (epoch %d) is down and may still hold it: nothing but %s itself knows that its hook's effect is gone", who, e.Epoch, who),
			"start flip on " + who + " again: it runs `down` and reports, then the item moves"
	case strings.HasPrefix(e.Host.Machine, fsm.BootMachine):
		return fmt.Sprintf("%s (epoch %d) ran on a machine that flip cannot recognise after its reboot: its hook's effect may still be there", who, e.Epoch),
			"set `machine` in the file of each node, so that a machine is known again after a reboot"
	default:
		return fmt.Sprintf("the former machine of %s (%s, epoch %d) may still hold it", who, e.Host.Machine, e.Epoch),
			"start flip on that machine again under the name " + who + ": it runs `down` and reports"
	}
}

func slotFence(s *fsm.State, slot fsm.Slot) string { return s.Spec().Systems[slot.System].Fence }

// failedUnder is what the log remembers as failed under an entry's own token.
func failedUnder(s *fsm.State, slot fsm.Slot, e fsm.Entry) string {
	if f, failed := s.FailureOf(e.Member, slot.Key); failed && f.Token == e.Token {
		return f.Err
	}
	return ""
}
