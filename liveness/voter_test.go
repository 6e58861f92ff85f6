package liveness

import (
	"slices"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// newTestVoter is n2 of three voters, with every condition to vote fulfilled but
// the silence of n3: the log is as old as the process, one hour.
func newTestVoter(t *testing.T) (*voter, *world, *lease) {
	t.Helper()
	w := newWorld()
	w.silent = true
	for _, line := range []string{"cluster n1,n2,n3,n4", "voters n1,n2,n3"} {
		quiet(w, line)
	}
	for i, name := range []fsm.MemberID{"n1", "n2", "n3"} {
		w.commit(fsm.Register{
			Member: name, Nonce: fsm.Nonce{byte(i + 1)}, Process: fsm.Nonce{byte(i + 1)}, Host: w.node(name).host,
		})
	}
	cfg := Config{Self: "n2", Instance: "i-n2", Process: fsm.Nonce{2}, Voter: true}
	view := newView(&cfg)
	v := newVoter(&view, 0)
	view.read(w.state(), w.index())
	view.adopt(0, w.state().Voters())
	v.relisted(0)
	v.read(0, fsm.New())
	own := &lease{epoch: 4, began: true}
	return &v, w, own
}

const hour = time.Hour

func (v *voter) epochOf(m fsm.MemberID) fsm.Epoch { return v.view.member(m).Epoch }

func pollOf(v *voter, of fsm.MemberID, at time.Duration) Poll {
	return Poll{By: "n1/i-n1", ByEpoch: 3, Of: of, Epoch: v.epochOf(of), At: at}
}

var fromN1 = From{Member: "n1", Instance: "i-n1"}

func TestVoterAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(v *voter, own *lease) // after the poll of n1 about n3 came, one hour after the start
		later  time.Duration
		want   int
	}{
		"nothing heard":                   {func(*voter, *lease) {}, 0, 1},
		"poll expired":                    {func(*voter, *lease) {}, 301 * time.Millisecond, 1}, // answered at once
		"member heard":                    {func(v *voter, _ *lease) { hear(v, "n3", v.epochOf("n3")) }, 0, 0},
		"member heard under an old one":   {func(v *voter, _ *lease) { hear(v, "n3", v.epochOf("n3")-1) }, 0, 0},
		"another member heard":            {func(v *voter, _ *lease) { hear(v, "n1", v.epochOf("n1")) }, 0, 1},
		"no lease of its own":             {func(_ *voter, own *lease) { own.over = true }, 0, 0},
		"a young lease of its own":        {func(_ *voter, own *lease) { own.since = hour - 329*time.Millisecond }, 0, 0},
		"a lease of its own for slack":    {func(_ *voter, own *lease) { own.since = hour - 330*time.Millisecond }, 0, 1},
		"just become a voter":             {func(v *voter, _ *lease) { v.listedFrom = hour - 329*time.Millisecond }, 0, 0},
		"no voter":                        {func(v *voter, _ *lease) { v.listed = false }, 0, 0},
		"own registration not read":       {func(v *voter, _ *lease) { v.registered = false }, 0, 0},
		"epoch just read":                 {func(v *voter, _ *lease) { v.peers["n3"].shownFrom = hour - 329*time.Millisecond }, 0, 0},
		"a long grant is out":             {func(v *voter, _ *lease) { grantLong(v, hour-time.Second) }, 0, 0},
		"a long grant is over":            {func(v *voter, _ *lease) { grantLong(v, hour-1100*time.Millisecond) }, 0, 1},
		"voters changed":                  {func(v *voter, _ *lease) { v.relisted(hour) }, 0, 0},
		"an older poll came afterwards":   {func(v *voter, _ *lease) { v.hold(hour, fromN1, pollOf(v, "n3", 9)) }, 0, 1},
		"a poll about itself":             {func(v *voter, _ *lease) { v.hold(hour, fromN1, pollOf(v, "n2", 10)) }, 0, 1},
		"a poll about another epoch":      {func(v *voter, _ *lease) { p := pollOf(v, "n1", 10); p.Epoch++; v.hold(hour, fromN1, p) }, 0, 1},
		"a poll in another one's name":    {func(v *voter, _ *lease) { p := pollOf(v, "n1", 10); p.By = "n3/i-n3"; v.hold(hour, fromN1, p) }, 0, 1},
		"a poll of a stranger":            {func(v *voter, _ *lease) { v.hold(hour, From{Member: "n9", Instance: "i"}, Poll{By: "n9/i", Of: "n3"}) }, 0, 1},
		"a second poller":                 {func(v *voter, _ *lease) { holdOther(v) }, 0, 2},
		"the poller's next process":       {func(v *voter, _ *lease) { p := pollOf(v, "n3", 1); p.ByEpoch = 9; v.hold(hour, fromN1, p) }, 0, 1},
		"may answer only after ttl":       {func(_ *voter, own *lease) { own.since = hour }, 330 * time.Millisecond, 0},
		"may answer within ttl":           {func(_ *voter, own *lease) { own.since = hour - 30*time.Millisecond }, 300 * time.Millisecond, 1},
		"the member's own log epoch went": {func(v *voter, _ *lease) { delete(v.peers, "n3") }, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			v, _, own := newTestVoter(t)
			v.hold(hour, fromN1, pollOf(v, "n3", 10))
			tt.change(v, own)
			var got []Ballot
			if tt.want == 1 && tt.later > 300*time.Millisecond {
				got = append(got, v.answers(hour, own)...)
			}
			got = append(got, v.answers(hour+tt.later, own)...)
			if len(got) != tt.want {
				t.Fatalf("%d answers, want %d: %+v", len(got), tt.want, got)
			}
			for _, b := range got {
				if b.Voter != "n2/i-n2" || b.Voters != v.list.Index || b.TTL != 300*time.Millisecond || b.Poll.Of != "n3" {
					t.Errorf("answered %+v", b)
				}
			}
			if again := v.answers(hour+tt.later, own); len(again) != 0 {
				t.Errorf("answered twice: %+v", again)
			}
		})
	}
}

// TestNewestPollIsHeld: a delayed poll never takes a newer one's place, nor one of
// the poller's former process its present one's.
func TestNewestPollIsHeld(t *testing.T) {
	v, _, own := newTestVoter(t)
	at := func(epoch fsm.Epoch, at time.Duration) Poll {
		p := pollOf(v, "n3", at)
		p.ByEpoch = epoch
		return p
	}
	for _, p := range []Poll{at(3, 10), at(3, 12), at(3, 11), at(5, 2), at(3, 20), at(5, 1)} {
		v.hold(hour, fromN1, p)
	}
	if got := v.answers(hour, own); len(got) != 1 || got[0].Poll != at(5, 2) {
		t.Errorf("answered %+v, want %+v", got, at(5, 2))
	}
}

func hear(v *voter, m fsm.MemberID, e fsm.Epoch) {
	v.heartbeat(hour, From{Member: m, Instance: "i-" + string(m)}, Heartbeat{Epoch: e, Sent: 1})
}

// grantLong is a grant of one second, given while ttl was that long.
func grantLong(v *voter, at time.Duration) {
	v.peers["n3"].heard = at
	v.peers["n3"].grant(at, time.Second)
}

func holdOther(v *voter) {
	v.hold(hour, From{Member: "n4", Instance: "i-n4"}, Poll{By: "n4/i-n4", Of: "n3", Epoch: v.epochOf("n3"), At: 1})
}

func TestGoodbyeMustNameItsSender(t *testing.T) {
	_, w, _ := newTestVoter(t)
	host := w.node("n3").host
	bye := fsm.Goodbye{Member: "n3", Host: host, Process: fsm.Nonce{3}, Epoch: 5}
	from := From{Member: "n3", Instance: "i-n3"}
	for name, tt := range map[string]struct {
		from   From
		change func(*fsm.Goodbye)
		want   int
	}{
		"true":                {from, func(*fsm.Goodbye) {}, 1},
		"another member's":    {From{Member: "n1", Instance: "i-n3"}, func(*fsm.Goodbye) {}, 0},
		"another instance's":  {From{Member: "n3", Instance: "i-n1"}, func(*fsm.Goodbye) {}, 0},
		"without a process":   {from, func(b *fsm.Goodbye) { b.Process = fsm.Nonce{} }, 0},
		"another process":     {from, func(b *fsm.Goodbye) { b.Process = fsm.Nonce{77} }, 0},
		"of somebody unknown": {From{Member: "n9", Instance: "i-n3"}, func(b *fsm.Goodbye) { b.Member = "n9" }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			v, _, _ := newTestVoter(t)
			g := newGoodbyes(v.view)
			said := bye
			tt.change(&said)
			g.receive(hour, tt.from, Goodbye{Goodbye: said})
			downs := g.downs(v.list)
			if len(downs) != tt.want {
				t.Fatalf("%d downs, want %d", len(downs), tt.want)
			}
			if d, ok := downs["n3"]; ok && (d.Epoch != v.epochOf("n3") || d.Goodbye == nil || d.Voters != v.list.Index) {
				t.Errorf("%+v", d)
			}
		})
	}
}

func TestUnsettledGoodbyeIsIgnored(t *testing.T) {
	v, w, _ := newTestVoter(t)
	host := w.node("n3").host
	host.Boot = "another"
	w.commit(fsm.Register{Member: "n3", Nonce: fsm.Nonce{8}, Process: fsm.Nonce{8}, Replaces: v.epochOf("n3"), Host: host})
	v.view.read(w.state(), w.index())
	g := newGoodbyes(v.view)
	g.receive(hour, From{Member: "n3", Instance: "i-n3"}, Goodbye{Goodbye: fsm.Goodbye{Member: "n3", Host: host, Process: fsm.Nonce{8}}})
	if n := len(g.downs(v.list)) + len(g.late()) + len(g.acks()); n != 0 {
		t.Errorf("an unsettled process's goodbye had %d effects", n)
	}
}

func TestGoodbyesAreBounded(t *testing.T) {
	v, w, _ := newTestVoter(t)
	g := newGoodbyes(v.view)
	for i := range 2 * maxGoodbyes {
		g.receive(hour, From{Member: "n3", Instance: "i-n3"}, Goodbye{Goodbye: fsm.Goodbye{
			Member: "n3", Host: w.node("n3").host, Process: fsm.Nonce{byte(i), byte(i >> 8), 1},
		}})
	}
	if len(g.heard) != maxGoodbyes {
		t.Errorf("%d goodbyes are kept", len(g.heard))
	}
}

func TestAdopt(t *testing.T) {
	v, _, _ := newTestVoter(t)
	have := v.list
	for name, tt := range map[string]struct {
		list fsm.Voters
		want bool
	}{
		"newer":    {fsm.Voters{Index: have.Index + 1, IDs: []fsm.VoterID{"n1/i-n1"}}, true},
		"the same": {have, false},
		"older":    {fsm.Voters{Index: have.Index - 1, IDs: have.IDs}, false},
		"empty":    {fsm.Voters{Index: have.Index + 1}, false},
		"too long": {fsm.Voters{Index: have.Index + 1, IDs: make([]fsm.VoterID, maxVoters+1)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			v, _, _ := newTestVoter(t)
			if got := v.adopt(hour, tt.list); got != tt.want || (!got && !slices.Equal(v.list.IDs, have.IDs)) {
				t.Errorf("adopted %t, want %t: %v", got, tt.want, v.list)
			}
		})
	}
}

// TestHears is what a newcomer waits for before it becomes a voter.
func TestHears(t *testing.T) {
	w := newWorld()
	w.silent = true
	for _, line := range []string{"cluster n1,n2,n3", "start n1,n2,n3", "run 100ms", "lead n1", "run 500ms"} {
		quiet(w, line)
	}
	n := w.nodes["n3"]
	if !n.p.Hears(n.local(w.now)) {
		t.Error("it hears everybody")
	}
	quiet(w, "cut n2>n3")
	quiet(w, "run 200ms")
	if n.p.Hears(n.local(w.now)) {
		t.Error("n2 is up and was not heard for four heartbeats")
	}
	quiet(w, "stall")
	quiet(w, "down n2")
	quiet(w, "run 10ms")
	if !n.p.Hears(n.local(w.now)) {
		t.Error("who is down need not be heard")
	}
}

// TestHearsOnceGranted: who got a vote with its first grants still on their way would
// cost those their lease who have just too few without them.
func TestHearsOnceGranted(t *testing.T) {
	w := newWorld()
	w.silent = true
	for _, line := range []string{"cluster n1,n2,n3", "start n1,n2", "run 100ms", "lead n1", "run 700ms", "start n3"} {
		quiet(w, line)
	}
	n := w.nodes["n3"]
	granted := time.Duration(0)
	for range 100 {
		quiet(w, "run 10ms")
		switch now := n.local(w.now); {
		case granted == 0 && n.p.voter.grants(now):
			granted = w.now
		case n.p.Hears(now):
			if took := w.now - granted; granted == 0 || took < 150*time.Millisecond || took > 160*time.Millisecond {
				t.Errorf("it has granted for %v", took)
			}
			return
		}
	}
	t.Error("it hears nobody")
}

// TestWithoutVoter is a member that never votes nor grants.
func TestWithoutVoter(t *testing.T) {
	w := newWorld()
	w.silent = true
	quiet(w, "cluster n1,n2")
	p := New(Config{Self: "n1", Instance: "i-n1", NewNonce: func() fsm.Nonce { return fsm.Nonce{1} }, Process: fsm.Nonce{1}})
	p.Read(0, w.state(), w.index(), false, "n2/i-n2")
	if _, ok := p.Register(1); !ok {
		t.Fatal("it must register")
	}
	from := From{Member: "n2", Instance: "i-n2"}
	if out := p.Receive(hour, from, Heartbeat{Epoch: 9, Sent: 1}); len(out) != 0 {
		t.Errorf("it answered a heartbeat: %+v", out)
	}
	if p.Receive(hour, from, Goodbye{Goodbye: fsm.Goodbye{Member: "n2", Process: fsm.Nonce{5}, Host: fsm.Host{Instance: "i-n2"}}}); len(p.byes.heard) != 0 {
		t.Error("it keeps a goodbye")
	}
	if p.Ready(hour) || p.Hears(hour) != true || p.TakeOver(hour) {
		t.Error("ready without an epoch, deaf without members, or taking over")
	}
}
