package server

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/api"
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

func newDrawn(t *rapid.T) *drawn {
	return &drawn{T: t, s: fsm.New(), states: map[fsm.Index]*fsm.State{0: fsm.New()}}
}

func (w *drawn) roll(n int) int { return rapid.IntRange(0, n-1).Draw(w.T, "roll") }

func pick[T any](w *drawn, from ...T) T { return from[w.roll(len(from))] }

func (w *drawn) member() fsm.MemberID { return pick[fsm.MemberID](w, "n1", "n2", "n3") }

func (w *drawn) key() fsm.Key {
	return fsm.Key{System: pick[fsm.SystemID](w, "ip", "log", "one"), Item: pick[fsm.ItemID](w, "a", "b", "l", "x")}
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
		w.nonces++
		nonce := fsm.Nonce{w.nonces}
		machine := "m-" + string(m) + pick(w, "", "", "", "-other")
		return fsm.Register{Member: m, Nonce: nonce, Process: nonce, Replaces: mem.Epoch, Host: fsm.Host{Machine: machine, Boot: "b", Instance: "i"}, Wire: [2]uint16{1, 1}, At: int64(w.at)}
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
	w.at++
	if w.roll(12) == 0 {
		ids := [][]fsm.VoterID{{"n1/i", "n2/i", "n3/i"}, {"n1/i", "n2/i"}}[w.roll(2)]
		w.s = w.s.WithVoters(fsm.Voters{Index: w.at, IDs: ids})
	} else {
		s, _, err := w.s.Apply(w.at, fsm.Encode(w.command()))
		if err != nil {
			w.Fatalf("apply: %v", err)
		}
		w.s = s
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

// picture is how things are, as the dumb oracle and as who folds events sees it.
type picture struct {
	rows    map[api.RowKey]api.Row
	members map[fsm.MemberID]string
	voters  []fsm.VoterID
}

func pictureOf(s *fsm.State, system fsm.SystemID) picture {
	p := picture{map[api.RowKey]api.Row{}, map[fsm.MemberID]string{}, slices.Concat(s.Voters().IDs)}
	as := Assignments(s, api.Stamp{}, system)
	for _, r := range as.Rows {
		p.rows[r.Key()] = r
	}
	for _, m := range as.Members {
		p.members[m.Name] = m.State
	}
	return p
}

func (p *picture) fold(e api.Event) {
	if e.Resync {
		*p = picture{map[api.RowKey]api.Row{}, map[fsm.MemberID]string{}, e.Voters}
	}
	if e.Kind == api.KindVoters {
		p.voters = e.Voters
	}
	switch {
	case e.Slot != nil && e.Kind == api.KindGone:
		delete(p.rows, e.Slot.Key())
	case e.Slot != nil:
		p.rows[e.Slot.Key()] = *e.Slot
	}
	switch e.MemberState {
	case "":
	case api.MemberGone:
		delete(p.members, e.Member)
	default:
		p.members[e.Member] = e.MemberState
	}
}

func (p picture) differs(o picture) string {
	for _, k := range slices.SortedFunc(maps.Keys(p.rows), func(a, b api.RowKey) int { return cmp.Or(a.Compare(b.Key), cmp.Compare(a.Server, b.Server)) }) {
		if got, want := p.rows[k], o.rows[k]; !reflect.DeepEqual(got, want) {
			return fmt.Sprintf("row %v\n  is   %+v\n  want %+v", k, got, want)
		}
	}
	for k := range o.rows {
		if _, there := p.rows[k]; !there {
			return fmt.Sprintf("row %v is missing", k)
		}
	}
	if !maps.Equal(p.members, o.members) {
		return fmt.Sprintf("members %v, want %v", p.members, o.members)
	}
	if !slices.Equal(p.voters, o.voters) {
		return fmt.Sprintf("voters %v, want %v", p.voters, o.voters)
	}
	return ""
}

// follower watches, is cut off now and then, and goes on at the same or another
// daemon.
type follower struct {
	w       *drawn
	hub     *Hub
	stream  *stream
	out     *httptest.ResponseRecorder
	system  fsm.SystemID
	from    fsm.Index // where it began, or was last told all
	index   fsm.Index // all up to it is in the picture
	known   picture
	held    []api.Event
	history map[string]int // lines of history told since from
	resyncs int
}

func (w *drawn) follow(hub *Hub, from fsm.Index, system fsm.SystemID) *follower {
	f := &follower{w: w, system: system, from: from, index: from, known: pictureOf(w.states[from], system), history: map[string]int{}}
	f.connect(hub)
	return f
}

func (f *follower) connect(hub *Hub) {
	f.hub, f.held, f.out = hub, nil, httptest.NewRecorder()
	req := httptest.NewRequest("GET", api.PathWatch, nil)
	f.stream = newStream(hub, f.out, req, wish{index: f.index, system: f.system})
}

// turn reads once, and takes in what came.
func (f *follower) turn() bool {
	_, more, err := f.stream.turn()
	if err != nil {
		f.w.Fatalf("turn: %v", err)
	}
	dec := json.NewDecoder(f.out.Body)
	for dec.More() {
		var e api.Event
		if err := dec.Decode(&e); err != nil {
			f.w.Fatalf("decode: %v", err)
		}
		f.take(e)
	}
	f.out.Body.Reset()
	return more
}

func (f *follower) take(e api.Event) {
	if e.Resync {
		f.held, f.resyncs = nil, f.resyncs+1
	}
	f.held = append(f.held, e)
	if e.More {
		return
	}
	if e.Index < f.index || e.Index == f.index && !f.held[0].Resync {
		f.w.Fatalf("told of index %d, after %d", e.Index, f.index)
	}
	for _, h := range f.held {
		if h.Index != e.Index {
			f.w.Fatalf("a batch of %d and %d", h.Index, e.Index)
		}
		if h.Resync {
			f.from, f.history = e.Index, map[string]int{}
		}
		if h.Kind != api.KindState {
			f.history[told(cmp.Or(h.Entry, h.Index), h.Kind, h.Member, fsm.Key{System: h.System, Item: h.Item, Rank: h.Rank}, h.From, h.To)]++
		}
		f.known.fold(h)
	}
	f.held, f.index = nil, e.Index
	if diff := f.known.differs(pictureOf(f.w.states[f.index], f.system)); diff != "" {
		f.w.Fatalf("at %d: %s\nafter %+v", f.index, diff, e)
	}
}

func told(at fsm.Index, kind string, m fsm.MemberID, k fsm.Key, from, to fsm.MemberID) string {
	return fmt.Sprint(at, kind, m, k, from, to)
}

// complete checks that each line of history was told once, and that what is known
// is how things are.
func (f *follower) complete() {
	for f.turn() {
	}
	state, at := f.hub.now()
	if at < f.index {
		return // this daemon is behind
	}
	if diff := f.known.differs(pictureOf(state, f.system)); diff != "" {
		f.w.Fatalf("in the end, at %d (told up to %d): %s", at, f.index, diff)
	}
	want := map[string]int{}
	for _, e := range state.JournalSince(f.from) {
		if f.system == "" || e.Key.System == "" || e.Key.System == f.system {
			want[told(e.Index, e.Kind, e.Member, e.Key, e.From, e.To)]++
		}
	}
	for line, n := range want {
		if f.history[line] != n {
			f.w.Fatalf("%s: told %d times, not %d", line, f.history[line], n)
		}
	}
}

// From any index on, whatever the sizes of ring, reads and stops, and whoever is
// asked: folding the events over the state at that index gives the present one, at
// each stop in between, and tells each line of history once.
func TestWatchTellsAll(t *testing.T) {
	resyncs := 0
	rapid.Check(t, func(t *rapid.T) {
		w := newDrawn(t)
		size := rapid.SampledFrom([]int{4, 16, 60, 1000}).Draw(t, "ring")
		node := &fakeNode{state: w.s}
		hubs := []*Hub{newHub(nodeChanged{node}, size), newHub(nodeChanged{node}, 1000)}
		hubs[0].chunk, hubs[1].chunk = rapid.IntRange(1, 8).Draw(t, "chunk"), 3
		var all []*follower
		for range rapid.IntRange(20, 80).Draw(t, "commands") {
			w.next()
			for _, h := range hubs {
				if w.roll(3) > 0 {
					h.step(w.s, w.at)
				}
			}
			switch w.roll(4) {
			case 0:
				from := fsm.Index(w.roll(int(w.at) + 1))
				all = append(all, w.follow(pick(w, hubs...), from, pick[fsm.SystemID](w, "", "", "ip")))
			case 1:
				if len(all) > 0 {
					pick(w, all...).turn()
				}
			case 2:
				if len(all) > 0 {
					pick(w, all...).connect(pick(w, hubs...))
				}
			}
		}
		for _, h := range hubs {
			h.step(w.s, w.at)
		}
		for _, f := range all {
			f.complete()
			resyncs += f.resyncs
		}
	})
	if resyncs == 0 {
		t.Error("nobody was ever overtaken")
	}
}

// nodeChanged is a fakeNode that is asked to change by the test alone.
type nodeChanged struct{ *fakeNode }

func (nodeChanged) Changed(fsm.Index) <-chan struct{} { return nil }
