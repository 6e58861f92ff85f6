package server

import (
	"bytes"
	"slices"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/fsm"
)

// drawn is a world whose commands are drawn; many are refused, or do nothing.
type drawn struct {
	*rapid.T
	s      *fsm.State
	at     fsm.Index
	states map[fsm.Index]*fsm.State
	nonces byte
}

// newDrawn mostly begins with a cluster that is founded, and not from nothing.
func newDrawn(t *rapid.T) *drawn {
	w := &drawn{T: t, s: fsm.New(), states: map[fsm.Index]*fsm.State{0: fsm.New()}}
	if w.roll(8) == 0 {
		return w
	}
	w.do(fsm.SetSpec{Cluster: "c1", Spec: spec()})
	for _, m := range []fsm.MemberID{"n1", "n2", "n3"} {
		w.do(w.register(m, ""))
	}
	return w
}

func (w *drawn) register(m fsm.MemberID, other string) fsm.Command {
	w.nonces++
	nonce := fsm.Nonce{w.nonces}
	mem, _ := w.s.Member(m)
	return fsm.Register{Member: m, Nonce: nonce, Process: nonce, Replaces: mem.Epoch, Host: fsm.Host{Machine: "m-" + string(m) + other, Boot: "b", Instance: "i"}, Wire: [2]uint16{1, 1}, At: int64(w.at)}
}

func (w *drawn) do(c fsm.Command) {
	w.at++
	s, _, err := w.s.Apply(w.at, fsm.Encode(c))
	if err != nil {
		w.Fatalf("apply: %v", err)
	}
	w.s = s
	w.states[w.at] = s
}

func (w *drawn) roll(n int) int { return rapid.IntRange(0, n-1).Draw(w.T, "roll") }

func pick[T any](w *drawn, from ...T) T { return from[w.roll(len(from))] }

func (w *drawn) member() fsm.MemberID { return pick[fsm.MemberID](w, "n1", "n2", "n3") }

func (w *drawn) key() fsm.Key {
	return pick(w, fsm.Key{System: "ip", Item: "a"}, fsm.Key{System: "ip", Item: "b"}, fsm.Key{System: "one", Item: "x"}, fsm.Key{System: "log", Item: "l"})
}

// spec is the usual one with something else in it.
func (w *drawn) spec() fsm.Spec {
	sp := spec()
	switch w.roll(8) {
	case 0:
		sys := sp.Systems["ip"]
		sys.Items = sys.Items[:w.roll(2)]
		sp.Systems["ip"] = sys
	case 1:
		sys := sp.Systems["log"]
		sys.Split = fsm.Shard
		sp.Systems["log"] = sys
	case 2:
		sys := sp.Systems["ip"]
		sys.Split = fsm.Replicate
		sp.Systems["ip"] = sys
	case 3:
		sys := sp.Systems["one"]
		sys.TakeoverAfter, sys.Fence, sys.FenceTimeout = 90e9, pick(w, "", "off"), 5e9
		sp.Systems["one"] = sys
	case 4:
		sys := sp.Systems["one"]
		sys.Guarantee = fsm.AtLeastOne
		sp.Systems["one"] = sys
	case 5:
		delete(sp.Systems, "one")
		for id, srv := range sp.Servers {
			srv.Systems = slices.DeleteFunc(slices.Clone(srv.Systems), func(s fsm.SystemID) bool { return s == "one" })
			sp.Servers[id] = srv
		}
	case 6:
		sp.Servers["n4"] = fsm.Server{Name: "n4", Addr: "127.0.0.1:2204", Role: fsm.RoleVoter, Systems: []fsm.SystemID{"log"}}
	}
	return sp
}

// move is one slot given to somebody, or to nobody.
func (w *drawn) move() fsm.Move {
	k := w.key()
	slot, _ := w.s.Slot(k)
	return fsm.Move{Key: k, Was: slot.Token, Home: pick[fsm.MemberID](w, "", "n1", "n2"), To: pick[fsm.MemberID](w, "", "n1", "n2", "n2"), Reason: "drawn"}
}

func (w *drawn) report() fsm.Report {
	m := w.member()
	mem, _ := w.s.Member(m)
	r := fsm.Report{Member: m, Epoch: mem.Epoch, At: int64(w.at)}
	for slot := range w.s.Slots() {
		if slot.Owner == m && w.roll(2) == 0 {
			r.Acquired = append(r.Acquired, fsm.Claim{Key: slot.Key, Member: m, Epoch: mem.Epoch, Token: slot.Token})
		}
		for _, e := range slot.Outstanding {
			if e.Member != m {
				continue
			}
			switch w.roll(4) {
			case 0, 1:
				r.Released = append(r.Released, fsm.Claim{Key: slot.Key, Member: m, Epoch: e.Epoch, Token: e.Token})
			case 2:
				r.Failed = append(r.Failed, fsm.Failure{Key: slot.Key, Token: e.Token, Err: "no"})
			}
		}
		switch w.roll(6) {
		case 0:
			r.Failed = append(r.Failed, fsm.Failure{Key: slot.Key, Token: slot.Token, Err: pick(w, "exit status 7", "timeout")})
		case 1:
			r.Mended = append(r.Mended, slot.Key)
		}
	}
	return r
}

func (w *drawn) command() fsm.Command {
	m := w.member()
	mem, _ := w.s.Member(m)
	switch w.roll(14) {
	case 0, 1:
		return w.register(m, pick(w, "", "", "", "-other"))
	case 2, 3, 4:
		return fsm.Assign{Moves: []fsm.Move{w.move(), w.move()}, At: int64(w.at)}
	case 5, 6, 7:
		return w.report()
	case 8:
		return fsm.Down{Member: m, Epoch: mem.Epoch, Voters: w.s.Voters().Index, Moves: []fsm.Move{w.move()}}
	case 9:
		return fsm.SetSpec{Cluster: "c1", Was: w.s.Spec().Version, Spec: w.spec()}
	case 10:
		return fsm.Maintain{System: pick[fsm.SystemID](w, "", "ip", "one"), On: w.roll(2) == 0}
	case 11:
		return pick[fsm.Command](w, fsm.Settle{Member: m, Epoch: mem.Epoch}, fsm.Leave{Member: m, Epoch: mem.Epoch}, fsm.RemoveMember{Member: m},
			fsm.Fence{Member: m, Host: mem.Host, UpTo: mem.Epoch}, fsm.Goodbye{Member: m, Process: mem.Process, Host: mem.Host, Epoch: mem.Epoch})
	case 12:
		for slot := range w.s.Slots() {
			for _, e := range slot.Outstanding {
				return fsm.Force{Claims: []fsm.Claim{{Key: slot.Key, Member: e.Member, Epoch: e.Epoch, Token: e.Token}}}
			}
		}
		return fsm.Cleanup{At: int64(w.at)}
	default:
		return fsm.Probe{}
	}
}

func (w *drawn) next() {
	if w.roll(12) == 0 {
		w.at++
		ids := [][]fsm.VoterID{{"n1/i", "n2/i", "n3/i"}, {"n1/i", "n2/i"}}[w.roll(2)]
		w.s = w.s.WithVoters(fsm.Voters{Index: w.at, IDs: ids})
	} else {
		w.do(w.command())
	}
	if w.roll(25) == 0 { // as when a snapshot of another server is installed
		var buf bytes.Buffer
		if err := w.s.Write(&buf); err != nil {
			w.Fatalf("write: %v", err)
		}
		s, err := fsm.Read(&buf)
		if err != nil {
			w.Fatalf("read: %v", err)
		}
		w.s = s
	}
	w.states[w.at] = w.s
}
