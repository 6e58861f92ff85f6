package server

import (
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
		f.w.Fatalf("at %d: %s (system %q)\nafter %+v", f.index, diff, f.system, e)
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
		node := &fakeNode{state: w.s, at: w.at}
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
