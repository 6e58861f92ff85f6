package server

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/flip-ha/flip/fsm"
)

// counting is an answer that only counts.
type counting struct {
	discard
	bytes *int
}

func (c counting) Write(p []byte) (int, error) {
	*c.bytes += len(p)
	return len(p), nil
}

// agents is a cluster of three voters and 1,000 agents with ten items each.
func agents(b *testing.B) (*fsm.State, fsm.Index) {
	sp := spec()
	sys := sp.Systems["ip"]
	sys.Items = nil
	for i := range 10_000 {
		sys.Items = append(sys.Items, fsm.Item{ID: fsm.ItemID(fmt.Sprintf("item-%05d", i))})
	}
	sp.Systems["ip"] = sys
	for i := range 1000 {
		name := fsm.MemberID(fmt.Sprintf("agent-%04d", i))
		sp.Servers[name] = fsm.Server{Name: name, Addr: fmt.Sprintf("10.0.%d.%d:2200", i/250, i%250), Role: fsm.RoleAgent, Systems: []fsm.SystemID{"ip"}}
	}
	s, at := fsm.New(), fsm.Index(0)
	do := func(c fsm.Command) {
		at++
		next, res, err := s.Apply(at, fsm.Encode(c))
		if err != nil || !res.Applied {
			b.Fatal(res.Why, err)
		}
		s = next
	}
	do(fsm.SetSpec{Cluster: "c", Spec: sp})
	var moves []fsm.Move
	for i := range 1000 {
		name := fsm.MemberID(fmt.Sprintf("agent-%04d", i))
		do(fsm.Register{Member: name, Nonce: fsm.Nonce{1, byte(i), byte(i >> 8)}, Process: fsm.Nonce{1, byte(i), byte(i >> 8)}, Host: fsm.Host{Machine: string(name)}, Wire: [2]uint16{1, 1}})
		for j := range 10 {
			if moves = append(moves, fsm.Move{Key: fsm.Key{System: "ip", Item: sys.Items[10*i+j].ID}, To: name}); len(moves) == fsm.MaxMoves {
				do(fsm.Assign{Moves: moves})
				moves = nil
			}
		}
	}
	do(fsm.Assign{Moves: moves})
	return s, at
}

// What 1,000 agents cost one voter, without the writes themselves: a command that
// concerns one of them, one that concerns all, a mark for each, and a whole Part for
// each, as after another voter's death.
func BenchmarkParts(b *testing.B) {
	s, at := agents(b)
	apply := func(c fsm.Command) *fsm.State {
		next, res, err := s.Apply(at+1, fsm.Encode(c))
		if err != nil || !res.Applied {
			b.Fatal(res.Why, err)
		}
		return next
	}
	k := fsm.Key{System: "ip", Item: "item-00000"}
	slot, _ := s.Slot(k)
	one := apply(fsm.Assign{Moves: []fsm.Move{{Key: k, Was: slot.Token, To: "agent-0001", Reason: "it is agent-0001's home"}}})
	all := apply(fsm.Maintain{System: "ip", On: true})
	var each []fsm.Move
	for i := range 1000 {
		k := fsm.Key{System: "ip", Item: fsm.ItemID(fmt.Sprintf("item-%05d", 10*i))}
		slot, _ := s.Slot(k)
		each = append(each, fsm.Move{Key: k, Was: slot.Token, To: fsm.MemberID(fmt.Sprintf("agent-%04d", (i+1)%1000)), Reason: "balance"})
	}
	moved := apply(fsm.Assign{Moves: each})
	var bytes int
	enter := func(spec fsm.Index) (*Parts, *nodeChanged, []*partStream) {
		node := &nodeChanged{&fakeNode{state: s, at: at, leader: "n1"}}
		p := NewParts(node)
		p.step()
		var streams []*partStream
		for i := range 1000 {
			r, now, err := p.enter(fsm.MemberID(fmt.Sprintf("agent-%04d", i)), "i")
			if err != nil {
				b.Fatal(err)
			}
			r.told.spec = spec
			w := counting{discard{http.Header{}}, &bytes}
			st := &partStream{parts: p, reader: r, w: w, rc: http.NewResponseController(w), ctx: context.Background()}
			if _, err := st.tell(now, true); err != nil {
				b.Fatal(err)
			}
			streams = append(streams, st)
		}
		return p, node, streams
	}
	run := func(name string, next *fsm.State, due bool) {
		b.Run(name, func(b *testing.B) {
			total := 0
			for b.Loop() {
				b.StopTimer()
				p, node, streams := enter(s.Spec().Version)
				bytes = 0
				b.StartTimer()
				if next != nil {
					node.state, node.at = next, at+1
					p.step()
				}
				for _, st := range streams {
					if _, err := st.tell(p.take(st.reader), due); err != nil {
						b.Fatal(err)
					}
				}
				total += bytes
			}
			b.ReportMetric(float64(total)/float64(b.N), "bytes/op")
		})
	}
	run("one of them", one, false)
	run("each of them", moved, false)
	run("all", all, false)
	run("marks", nil, true)
	for name, spec := range map[string]fsm.Index{"whole": 0, "whole, the configuration is known": s.Spec().Version} {
		b.Run(name, func(b *testing.B) {
			bytes = 0
			for b.Loop() {
				enter(spec)
			}
			b.ReportMetric(float64(bytes)/float64(b.N), "bytes/op")
		})
	}
}
