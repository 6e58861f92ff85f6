package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/flip-ha/flip/api/metrics"
	"github.com/flip-ha/flip/fsm"
)

func TestStepsTimeWhatASliceAsks(t *testing.T) {
	var got []string
	s := newSteps(func(step metrics.Step, d time.Duration) { got = append(got, fmt.Sprint(step, " ", d)) })
	k := fsm.Key{System: "s", Item: "a"}
	start := time.Unix(100, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

	want := func(token fsm.Token, reported bool) fsm.Slice {
		return fsm.Slice{Want: []fsm.Job{{Key: k, Token: token, Reported: reported}}}
	}
	s.slice(want(5, true), at(0)) // held since before this process looked: nothing to time
	s.slice(want(6, false), at(10))
	s.slice(want(6, false), at(20))
	s.slice(want(6, true), at(25))
	s.slice(want(6, true), at(30))
	owe := fsm.Slice{Owe: []fsm.Owed{{Entry: fsm.Entry{Token: 6}, Job: fsm.Job{Key: k, Token: 6}}}}
	s.slice(owe, at(40))
	s.slice(owe, at(45))
	s.slice(fsm.Slice{}, at(47))
	s.slice(fsm.Slice{}, at(50))
	if want := []string{"acquire 15ms", "release 7ms"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestStepsTimeDowns(t *testing.T) {
	var got []time.Duration
	s := newSteps(func(_ metrics.Step, d time.Duration) { got = append(got, d) })
	l := newWireLog(t)
	s.downs(l.state, true, time.Now()) // what was before this process is not timed
	n1, _ := l.state.Member("n1")
	now := time.UnixMilli(1_000_000)
	l.apply(t, fsm.Down{
		Member: "n1", Epoch: n1.Epoch, Voters: l.state.Voters().Index, At: now.UnixMilli(),
		Evidence: []fsm.Vote{{Voter: "n2/i", Silent: 340}, {Voter: "n3/i", Silent: 331}},
	})
	s.downs(l.state, true, now.Add(2*time.Millisecond))
	s.downs(l.state, true, now.Add(time.Second))
	if len(got) != 1 || got[0] != 333*time.Millisecond {
		t.Errorf("got %v, want one of 333ms", got)
	}
}
