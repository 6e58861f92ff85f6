package main

import (
	"testing"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/guard"
	"github.com/flip-ha/flip/fsm"
)

// A bet on hooks is reckoned from what actions and the guard really take; fsm may
// not see them.
func TestBetsKnowWhatReleasesTake(t *testing.T) {
	if fsm.TermToKill != actions.DefaultGrace {
		t.Errorf("from TERM to KILL: bets count %v, hooks have %v", fsm.TermToKill, actions.DefaultGrace)
	}
	if fsm.WaitForDead != guard.DeathWait {
		t.Errorf("waiting for a killed daemon: bets count %v, the guard takes %v", fsm.WaitForDead, guard.DeathWait)
	}
}
