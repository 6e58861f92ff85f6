package raftnode

import "github.com/flip-ha/flip/fsm"

// nextKey goes on with a rotation of the cluster's key as soon as everybody it waits for
// has done what the present phase asks: only then may any of them go by the next one.
// There is nothing else to decide and nothing to remember: a new leader goes on where
// the old one was.
func nextKey(l Look) (fsm.KeyGo, bool) {
	k := l.State.Keys()
	if k.Phase == fsm.KeySettled || len(l.State.KeyAwaited()) > 0 {
		return fsm.KeyGo{}, false
	}
	return fsm.KeyGo{Round: k.Round, Phase: k.Phase, At: l.Unix}, true
}
