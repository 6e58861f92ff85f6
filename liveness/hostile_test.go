package liveness

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/fsm"
)

// TestHostileMessages feeds a healthy cluster messages with numbers of every
// size from a sender that has the key: nothing panics, nothing overflows into a
// lease or a Down, and the wake-up stays ahead of now.
func TestHostileMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		w.silent = true
		for _, line := range []string{"cluster n1,n2,n3", "start n1,n2,n3", "run 100ms", "lead n1", "run 500ms", "isolate n3"} {
			quiet(w, line)
		}
		n := w.nodes["n3"]
		for range rapid.IntRange(1, 30).Draw(t, "messages") {
			name := rapid.SampledFrom([]fsm.MemberID{"n1", "n2", "n9"}).Draw(t, "from")
			from := From{Member: name, Instance: "i-" + string(name)}
			now := n.local(w.now)
			for _, o := range n.p.Receive(now, from, drawMessage(t, n)) {
				if b, ok := o.Msg.(Ballot); ok {
					t.Fatalf("it voted: %+v", b)
				}
			}
			if _, wake := n.p.Tick(now); wake <= now {
				t.Fatalf("wakes at %d, now is %d", wake, now)
			}
			if len(n.p.Downs(now)) > 0 || n.p.Superseded() {
				t.Fatal("a message alone has made a Down or superseded it")
			}
		}
		w.run(w.now + 301*time.Millisecond)
		if left, ok := n.p.Lease(n.local(w.now)); ok {
			t.Fatalf("nobody true has answered, and the lease lasts %s more", left)
		}
	})
}

func quiet(w *world, line string) {
	fields := strings.Fields(line)
	commands[fields[0]](w, parse(nil, fields[1:]))
}

func drawMessage(t *rapid.T, n *node) Message {
	span := rapid.SampledFrom([]time.Duration{
		0, 1, -1, time.Second, math.MaxInt64, math.MinInt64, math.MaxInt64 - 1, n.p.now, n.p.now - time.Millisecond,
	})
	index := rapid.SampledFrom([]fsm.Index{0, 1, 2, 7, math.MaxUint64})
	epoch := rapid.SampledFrom([]fsm.Epoch{0, 1, 3, 4, 5, 6, math.MaxUint64})
	member := rapid.SampledFrom([]fsm.MemberID{"", "n1", "n2", "n3", "n9"})
	voter := rapid.SampledFrom([]fsm.VoterID{"", "n1/i-n1", "n2/i-n2", "n3/i-n3", "n9/i-n9", "/"})
	poll := Poll{
		By: voter.Draw(t, "by"), ByEpoch: epoch.Draw(t, "byEpoch"), Of: member.Draw(t, "of"),
		Epoch: epoch.Draw(t, "epoch"), At: span.Draw(t, "at"),
	}
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		return Heartbeat{
			Epoch: epoch.Draw(t, "e"), Sent: span.Draw(t, "sent"), Voters: index.Draw(t, "list"),
			Applied: index.Draw(t, "applied"), Polls: []Poll{poll},
		}
	case 1:
		ttl := rapid.SampledFrom([]time.Duration{0, -1, math.MaxInt64, math.MinInt64, MaxTTL + 1})
		sent := rapid.SampledFrom(append([]time.Duration{0, -1, math.MaxInt64}, n.p.member.lease.sent.at...))
		return Ack{
			Epoch: n.p.Epoch(), Sent: sent.Draw(t, "sent"), TTL: ttl.Draw(t, "ttl"),
			Voters:  fsm.Voters{Index: index.Draw(t, "list"), IDs: []fsm.VoterID{voter.Draw(t, "id")}},
			Applied: index.Draw(t, "applied"),
		}
	case 2:
		return Ballot{Poll: poll, Voter: voter.Draw(t, "voter"), Voters: index.Draw(t, "list"), Silent: span.Draw(t, "silent")}
	case 3:
		return Goodbye{Goodbye: fsm.Goodbye{Member: member.Draw(t, "m"), Process: fsm.Nonce{1}, Epoch: epoch.Draw(t, "e")}}
	default:
		return GoodbyeAck{Process: fsm.Nonce{1}, Kept: -1}
	}
}
