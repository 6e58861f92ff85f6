package liveness

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/fsm"
)

// arrived is one answer as the oracle remembers it.
type arrived struct {
	ballot Ballot
	from   fsm.VoterID
	at     time.Duration
}

// oracleDown reports whether some poll ever sent had enough answers: looked at
// anew from all that arrived, at every moment.
func oracleDown(sent []Poll, got []arrived, now, ttl time.Duration, list fsm.Voters, need int) bool {
	for _, poll := range sent {
		voters := map[fsm.VoterID]time.Duration{}
		for _, a := range got {
			b := a.ballot
			if b.Poll == poll && b.Voters == list.Index && b.Voter == a.from && list.Has(a.from) &&
				a.from.Member() != poll.Of && a.at-poll.At <= ttl {
				voters[a.from] = b.TTL // the last word of each voter
			}
		}
		n := 0
		for _, promised := range voters {
			if now-poll.At <= promised {
				n++
			}
		}
		if n >= need && now-poll.At <= ttl {
			return true
		}
	}
	return false
}

// TestCounting compares the leader's counting with the oracle, answer by answer.
func TestCounting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		names := []fsm.MemberID{"n1", "n2", "n3", "n4", "n5"}[:rapid.SampledFrom([]int{2, 3, 4, 5}).Draw(t, "voters")]
		quorum := rapid.IntRange(0, len(names)-1).Draw(t, "quorum")
		w.silent = true
		w.setSpec(words{names: names, pairs: map[string]string{"quorum": string(rune('0' + quorum))}})
		w.voters(names)
		of := names[len(names)-1]
		w.commit(fsm.Register{Member: of, Nonce: fsm.Nonce{1}, Process: fsm.Nonce{2}, Host: fsm.Host{Machine: "m"}})

		cfg := Config{Self: "n1", Instance: w.node("n1").host.Instance}
		v := newView(&cfg)
		v.read(w.state(), w.index())
		v.adopt(0, w.state().Voters())
		v.lead(0, true, "")
		p := newPoller(&v)
		list := w.state().Voters()
		need := max(list.Majority(), min(quorum, len(list.IDs)-1))

		var sent []Poll
		var got []arrived
		now := time.Second
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			sent = append(sent, p.due(now, 9, func(fsm.MemberID) time.Duration { return 0 })...)
			now += time.Duration(rapid.SampledFrom([]int{0, 1, 20, 60, 200}).Draw(t, "pass")) * time.Millisecond
			a := arrived{at: now, ballot: drawBallot(t, w, sent, list)}
			a.from = a.ballot.Voter
			if rapid.IntRange(0, 9).Draw(t, "forged") == 0 {
				a.from = rapid.SampledFrom(list.IDs).Draw(t, "from")
			}
			got = append(got, a)
			p.count(now, a.from, a.ballot)
			_, down := p.downs[of]
			if want := oracleDown(sent, got, now, v.ttl(), list, need); down != want {
				t.Fatalf("down %t, want %t: %d needed; %+v", down, want, need, got)
			}
			if down {
				checkEvidence(t, p.downs[of], list, need)
				return
			}
		}
	})
}

// drawBallot is an answer to some poll, mostly a true one.
func drawBallot(t *rapid.T, w *world, sent []Poll, list fsm.Voters) Ballot {
	b := Ballot{
		Poll:   rapid.SampledFrom(sent[max(0, len(sent)-10):]).Draw(t, "poll"),
		Voter:  rapid.SampledFrom(list.IDs).Draw(t, "voter"),
		Voters: list.Index, TTL: rapid.SampledFrom([]time.Duration{defaultLease, 3 * defaultLease}).Draw(t, "promised"),
	}
	switch rapid.IntRange(0, 9).Draw(t, "twist") {
	case 0:
		b.Voters--
	case 1:
		b.Poll.At++
	case 2:
		b.Poll.Epoch++
	case 3:
		b.Voter = "n9/i-n9"
	case 4:
		b.Poll.ByEpoch++
	case 5:
		b.TTL = time.Duration(rapid.IntRange(0, 900).Draw(t, "ttl")) * time.Millisecond
	case 6:
		b.Poll.Of = w.names[0]
	}
	return b
}

func checkEvidence(t *rapid.T, d fsm.Down, list fsm.Voters, need int) {
	seen := map[fsm.VoterID]bool{}
	for _, v := range d.Evidence {
		if seen[v.Voter] || !list.Has(v.Voter) || v.Voter.Member() == d.Member {
			t.Fatalf("no evidence: %+v", d.Evidence)
		}
		seen[v.Voter] = true
	}
	if len(seen) < need || d.Voters != list.Index || len(d.Moves) != 0 || d.At != 0 {
		t.Fatalf("%d voters, %d needed: %+v", len(seen), need, d)
	}
}
