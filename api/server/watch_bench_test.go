package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/flip-ha/flip/fsm"
)

// discard is a ResponseWriter that takes everything.
type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
func (discard) Flush()                      {}

// What a watcher costs, and what the Hub costs without any: an event is a move of
// one slot of 10,000, made by a command of its own.
func BenchmarkWatch(b *testing.B) {
	sp := spec()
	sys := sp.Systems["ip"]
	sys.Items = nil
	for i := range 10_000 {
		sys.Items = append(sys.Items, fsm.Item{ID: fsm.ItemID(fmt.Sprintf("item-%05d", i))})
	}
	sp.Systems["ip"] = sys
	const steps = 512
	states := make([]*fsm.State, 0, steps)
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
	for _, n := range []fsm.MemberID{"n1", "n2"} {
		do(fsm.Register{Member: n, Nonce: fsm.Nonce{n[1]}, Process: fsm.Nonce{n[1]}, Host: fsm.Host{Machine: string(n)}, Wire: [2]uint16{1, 1}})
	}
	var all []fsm.Move
	for i := range sys.Items {
		if all = append(all, fsm.Move{Key: fsm.Key{System: "ip", Item: sys.Items[i].ID}, To: "n1"}); len(all) == fsm.MaxMoves || i == len(sys.Items)-1 {
			do(fsm.Assign{Moves: all})
			all = nil
		}
	}
	began := at
	states = append(states, s)
	for i := range steps {
		k := fsm.Key{System: "ip", Item: sys.Items[i*19%10_000].ID}
		slot, _ := s.Slot(k)
		do(fsm.Assign{Moves: []fsm.Move{{Key: k, Was: slot.Token, To: "n2", Reason: "it is n2's home"}}, At: 1_790_000_000_000})
		states = append(states, s)
	}
	for _, watchers := range []int{0, 1, 1000} {
		b.Run(fmt.Sprintf("%d watchers", watchers), func(b *testing.B) {
			var events, read int
			for b.Loop() {
				hub := newHub(nodeChanged{&fakeNode{state: states[0], at: began}}, ringSize)
				var streams []*stream
				for range watchers {
					streams = append(streams, newStream(hub, discard{http.Header{}}, httptest.NewRequest("GET", "/", nil), wish{index: began}))
				}
				for i, next := range states[1:] {
					hub.step(next, began+fsm.Index(i)+1)
					events++
					for _, st := range streams {
						if _, _, err := st.turn(); err != nil {
							b.Fatal(err)
						}
						read++
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
			if read > 0 {
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(read), "ns/event/watcher")
			}
		})
	}
}
