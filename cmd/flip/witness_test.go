package main

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

func macOf(last byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, last} }

// wireLog is a State with one address on n1, and a wire on which somebody answers.
type wireLog struct {
	state *fsm.State
	at    fsm.Index
	wire  answers
	seen  []fsm.Sighting
}

func (l *wireLog) apply(t *testing.T, cmd fsm.Command) {
	t.Helper()
	l.at++
	next, res, err := l.state.Apply(l.at, fsm.Encode(cmd))
	if err != nil || !res.Applied {
		t.Fatalf("%T: %v %v", cmd, res.Why, err)
	}
	l.state = next
}

func newWireLog(t *testing.T) *wireLog {
	l := &wireLog{state: fsm.New(), wire: answers{}}
	spec := fsm.Spec{
		Timing:  fsm.Timing{Preset: "lan", Heartbeat: 50 * time.Millisecond, Lease: 300 * time.Millisecond, RaftHeartbeat: 100 * time.Millisecond, RaftElection: 100 * time.Millisecond, RaftLease: 50 * time.Millisecond},
		Servers: map[fsm.MemberID]fsm.Server{},
		Systems: map[fsm.SystemID]fsm.System{"vip": {
			Name: "vip", Split: fsm.Shard, Guarantee: fsm.AtMostOne, Action: fsm.ActionIP, IP: &fsm.IP{},
			Items: []fsm.Item{{ID: "a", Addrs: []string{"10.0.0.1/32"}}}, StartTimeout: time.Second, StopTimeout: time.Second,
		}},
	}
	for _, name := range []fsm.MemberID{"n1", "n2", "n3"} {
		spec.Servers[name] = fsm.Server{Name: name, Addr: "10.0.1." + string(name[1]) + ":1", Role: fsm.RoleVoter, Systems: []fsm.SystemID{"vip"}}
	}
	l.apply(t, fsm.SetSpec{Cluster: "c", Spec: spec})
	for _, name := range []fsm.MemberID{"n1", "n2", "n3"} {
		l.apply(t, fsm.Register{Member: name, Nonce: fsm.Nonce{name[1]}, Process: fsm.Nonce{9, name[1]}, Host: fsm.Host{Machine: string(name), Boot: "b", Instance: "i"}, Gate: true, Wire: wireVersions})
	}
	l.apply(t, fsm.Assign{Moves: []fsm.Move{{Key: vipKey, To: "n1", Home: "n1"}}})
	slot, _ := l.state.Slot(vipKey)
	n1, _ := l.state.Member("n1")
	l.apply(t, fsm.Report{Member: "n1", Epoch: n1.Epoch, Acquired: []fsm.Claim{{Key: vipKey, Member: "n1", Epoch: n1.Epoch, Token: slot.Token}}})
	return l
}

var vipKey = fsm.Key{System: "vip", Item: "a"}

func (l *wireLog) witness(self fsm.MemberID) *witness {
	return &witness{
		self: self, log: zerolog.Nop(),
		view:  func() (*fsm.State, fsm.Index) { return l.state, l.at },
		epoch: func() fsm.Epoch { m, _ := l.state.Member(self); return m.Epoch },
		whose: func(mac net.HardwareAddr) fsm.MemberID {
			if mac[5] > 3 {
				return ""
			}
			return fsm.MemberID("n" + string('0'+mac[5]))
		},
		knows: func(fsm.MemberID) bool { return true },
		ask:   func(context.Context, []netip.Addr) (answers, error) { return l.wire, nil },
		report: func(_ context.Context, r fsm.Report) error {
			l.seen = append(l.seen, r.Seen...)
			next, _, err := l.state.Apply(l.at+1, fsm.Encode(r))
			l.state, l.at = next, l.at+1
			return err
		},
	}
}

func TestWitnessRecordsWhoAnswers(t *testing.T) {
	addr := netip.MustParseAddr("10.0.0.1")
	for name, c := range map[string]struct {
		macs   []net.HardwareAddr
		ok     bool
		answer string
	}{
		"the owner":            {[]net.HardwareAddr{macOf(1)}, true, ""},
		"nobody":               {nil, false, "nobody answers for 10.0.0.1"},
		"another member":       {[]net.HardwareAddr{macOf(3)}, false, "02:00:00:00:00:03 answers for 10.0.0.1: n3"},
		"a stranger beside it": {[]net.HardwareAddr{macOf(9), macOf(1)}, false, "02:00:00:00:00:09 answers for 10.0.0.1: no member"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newWireLog(t)
				l.wire[addr] = c.macs
				w := l.witness("n2")
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				if err := w.run(ctx); err != nil {
					t.Fatal(err)
				}
				if len(l.seen) != 1 || l.seen[0].OK != c.ok || l.seen[0].Answer != c.answer {
					t.Errorf("recorded %+v", l.seen)
				}
			})
		})
	}
}

func TestWitnessTakesTurns(t *testing.T) {
	l := newWireLog(t)
	if n2, n3 := l.witness("n2").turn(l.state, "n1"), l.witness("n3").turn(l.state, "n1"); n2 != 0 || n3 != 1 {
		t.Errorf("n2 has turn %d, n3 %d", n2, n3)
	}
	if n3, n1 := l.witness("n3").turn(l.state, "n2"), l.witness("n1").turn(l.state, "n2"); n3 != 0 || n1 != 1 {
		t.Errorf("n3 has turn %d, n1 %d", n3, n1)
	}
	if l.witness("n1").concerns(l.state, func() fsm.Slot { s, _ := l.state.Slot(vipKey); return s }()) {
		t.Error("nobody is his own witness")
	}
}

func TestWitnessSaysNothingOfWhatItCannotKnow(t *testing.T) {
	l := newWireLog(t)
	w := l.witness("n2")
	slot, _ := l.state.Slot(vipKey)
	addr := netip.MustParseAddr("10.0.0.1")
	if _, ok := w.judge(slot, []netip.Addr{addr}, answers{}); ok {
		t.Error("not asked: nothing to say")
	}
	w.knows = func(fsm.MemberID) bool { return false }
	if _, ok := w.judge(slot, []netip.Addr{addr}, answers{addr: {macOf(1)}}); ok {
		t.Error("the owner's hardware addresses are not known: nothing to say")
	}
}
