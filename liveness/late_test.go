package liveness

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/fsm"
)

// starve has nodes stand still again and again, each for itself, until the end.
func (w *world) starve(t *rapid.T, until time.Duration, stalls, runs [2]time.Duration, names ...fsm.MemberID) {
	span := func(of [2]time.Duration, what string) time.Duration {
		return time.Duration(rapid.Int64Range(int64(of[0]), int64(of[1])).Draw(t, what))
	}
	for _, name := range names {
		n := w.nodes[name]
		for at := w.now + span(runs, "runs"); at < until; {
			stall := span(stalls, "stall")
			w.at(at, func() { n.frozen = w.now + stall })
			at += stall + span(runs, "runs")
		}
	}
}

// On a busy machine the voters are late all the time, and must find a dead member
// all the same. Two CPU hogs beside each daemon: 75 ms now and then (ACTIONS.md 5);
// with `fast` 13 to 40 ms, which end leases of 50 ms too: votes come in between.
func TestStarvedVotersVote(t *testing.T) {
	for name, test := range map[string]struct {
		ttl, beat    time.Duration
		stalls, runs [2]time.Duration
		most         time.Duration
	}{
		"lan": {
			300 * time.Millisecond, 50 * time.Millisecond,
			[2]time.Duration{5 * time.Millisecond, 75 * time.Millisecond},
			[2]time.Duration{10 * time.Millisecond, 100 * time.Millisecond},
			480 * time.Millisecond, // slack, a beat, and two stalls
		},
		"fast": {
			50 * time.Millisecond, 10 * time.Millisecond,
			[2]time.Duration{13 * time.Millisecond, 40 * time.Millisecond},
			[2]time.Duration{100 * time.Millisecond, 500 * time.Millisecond},
			500 * time.Millisecond,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var worst time.Duration
			rapid.Check(t, func(t *rapid.T) {
				took := starvedFailover(t, test.ttl, test.beat, test.stalls, test.runs)
				if took > test.most {
					t.Fatalf("found after %v", took)
				}
				worst = max(worst, took)
			})
			t.Logf("found after %v at worst", worst)
		})
	}
}

// starvedFailover is how long it takes three starved voters to call a fourth one
// down that was killed.
func starvedFailover(t *rapid.T, ttl, beat time.Duration, stalls, runs [2]time.Duration) time.Duration {
	w := newWorld()
	w.silent = true
	names := []fsm.MemberID{"n1", "n2", "n3", "n4"}
	for _, name := range names {
		w.node(name)
	}
	w.setSpec(words{names: names, pairs: map[string]string{"ttl": ttl.String(), "beat": beat.String()}})
	w.voters(names)
	w.leader = "n1"
	for _, name := range names {
		w.start(w.nodes[name], 0)
	}
	w.spread()
	w.run(time.Second)
	w.starve(t, w.now+5*time.Second, stalls, runs, "n1", "n2", "n3")
	w.run(w.now + time.Second)
	epoch := w.nodes["n4"].p.Epoch()
	w.kill(w.nodes["n4"])
	killed := w.now
	for w.now < killed+3*time.Second {
		w.run(w.now + time.Millisecond)
		if w.counted[called{"n4", epoch}] {
			break
		}
	}
	for c := range w.counted {
		if c.member != "n4" && ttl > 100*time.Millisecond {
			t.Fatalf("%s was called down, and was there all the time", c.member)
		}
	}
	return w.now - killed
}

// What a process that stood still does when it goes on, in this order: its lease
// has ended, if it was too long; its own heartbeat is due; what it had been sent
// counts as heard; and it votes for nobody before slack is over.
func TestFrozenAndThawed(t *testing.T) {
	for stood, want := range map[time.Duration]struct{ leased, late bool }{
		100 * time.Millisecond: {true, false},
		149 * time.Millisecond: {true, false},
		240 * time.Millisecond: {true, true},
		400 * time.Millisecond: {false, true},
	} {
		w := newWorld()
		for _, line := range []string{"cluster n1,n2,n3", "start n1,n2,n3", "run 100ms", "lead n1", "run 900ms"} {
			command(t, w, line)
		}
		n := w.nodes["n2"]
		_, wake := n.p.Tick(n.local(w.now))
		back := wake + stood
		_, leased := n.p.Lease(back)
		if leased != want.leased {
			t.Errorf("%v: leased %v", stood, leased)
		}
		if late := n.p.voter.runsFrom == back; late != want.late {
			t.Errorf("%v: late %v", stood, late)
		}
		// The grant counts from the member's sending: an old heartbeat grants
		// nothing, and is heard.
		hb := Heartbeat{Epoch: w.nodes["n3"].p.Epoch(), Sent: 1}
		n.p.Receive(back, From{Member: "n3", Instance: "i-n3"}, hb)
		if heard := n.p.voter.peers["n3"].heard; heard != back {
			t.Errorf("%v: heard at %v, not at %v", stood, heard, back)
		}
		poll := Poll{By: "n1/i-n1", ByEpoch: w.nodes["n1"].p.Epoch(), Of: "n3", Epoch: w.nodes["n3"].p.Epoch(), At: 1}
		n.p.Receive(back, From{Member: "n1", Instance: "i-n1"}, Heartbeat{Epoch: poll.ByEpoch, Sent: 2, Polls: []Poll{poll}})
		if held := n.p.voter.held[question{"n1", "n3"}]; held == nil {
			t.Errorf("%v: the poll is not held", stood)
		}
		if at, ok := n.p.voter.mayVoteAt(back, &heldPoll{poll: poll}, &n.p.member.lease); want.late && ok && at < back+fsm.Slack(300*time.Millisecond) {
			t.Errorf("%v: votes at %v", stood, at-back)
		}
	}
}
