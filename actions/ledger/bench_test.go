package ledger

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
)

// What the list costs an address or a hook: one Begin and one End. A thousand
// addresses must not wait longer than 10 ms for it.
func BenchmarkBeginEnd(b *testing.B) {
	for _, live := range []int{1, 1000, 10000} {
		b.Run(fmt.Sprintf("of %d", live), func(b *testing.B) {
			l, _, err := Open(filepath.Join(b.TempDir(), "list"), Identity{Boot: "b", Member: "n1", Instance: "i"}, zerolog.Nop())
			if err != nil {
				b.Fatal(err)
			}
			effects := make([]actions.Effect, live)
			for i := range effects {
				addr := fmt.Sprintf("10.0.%d.%d/32", i/250, i%250)
				effects[i] = actions.Effect{ID: uint64(i), Kind: actions.Acquire, Job: fsm.Job{
					Key: fsm.Key{System: "addresses", Item: fsm.ItemID(addr)}, Token: 123456, AtMostOne: true, Gated: true,
					Addrs: []string{addr}, Action: fsm.ActionIP, IP: &fsm.IP{Interface: "eth0"}, Config: []byte(`{"interface":"eth0"}`),
				}}
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				e := effects[n%live]
				e.Kind = actions.Acquire
				if n/live%2 == 1 {
					e.Kind = actions.Release
				}
				n++
				if _, err := l.Begin(e); err != nil {
					b.Fatal(err)
				}
				l.End(e, nil)
			}
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
