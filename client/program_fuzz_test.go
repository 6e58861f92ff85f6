package client

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/flip-ha/flip/api"
)

// FuzzProgramStream reads lines as a daemon, or something else on its socket, may send
// them: whatever they are, what the program is told stays in turn.
func FuzzProgramStream(f *testing.F) {
	f.Add(`{"kind":"acquire","seq":1,"item":"a","token":7}{"kind":"release","seq":2,"item":"a"}`)
	f.Add(`{"kind":"acquire","seq":1,"item":"a","token":7,"at_most_one":true}{"kind":"token","seq":3,"item":"a","token":8}`)
	f.Add(`{"kind":"release","seq":18446744073709551615,"item":"a","rank":-1}`)
	f.Fuzz(func(t *testing.T, text string) {
		a := newAccount()
		a.lease(10, 0)
		has := map[slotKey]bool{}
		for dec := json.NewDecoder(strings.NewReader(text)); ; {
			var e api.ProgramEvent
			if dec.Decode(&e) != nil {
				return
			}
			a.hear(&e, 0)
			events, _ := told(a, 0)
			for i := range events {
				k := slotKey{events[i].Item, events[i].Rank}
				if events[i].Kind == Renew {
					continue
				}
				if has[k] == (events[i].Kind == Acquire) {
					t.Fatalf("told %+v twice", events[i])
				}
				has[k] = events[i].Kind == Acquire
				a.done(&events[i], 0)
			}
		}
	})
}
