// Package mark is the truth about hooks: what `alive` starts is a process that
// holds a connection to a monitor for as long as it lives, and `down` ends it. The
// kernel closes the connection with the process, however that ends, so that the
// monitor knows who was alive when.
package mark

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/flip-ha/flip/e2e/mono"
)

// InFlight is how late the monitor may learn of an end: a process that is killed
// frees its memory first.
const InFlight = 20 * time.Millisecond

// Config is what the monitor's process is told, as JSON in its environment.
type Config struct {
	Socket string `json:"socket"` // of Dir, where markers look for it
}

// Hello is what a marker says of itself.
type Hello struct {
	System string `json:"system"`
	Item   string `json:"item"`
	Host   string `json:"host"`
	Token  uint64 `json:"token"`
}

// Life is one marker's.
type Life struct {
	Hello
	From, To mono.Time // To: until now, if it lives
	Lives    bool
}

// Twice is one item of which two markers lived at the same time.
type Twice struct {
	A, B Life
	For  time.Duration
}

// String says it in words.
func (t Twice) String() string {
	return fmt.Sprintf("%s %s was alive on %s (token %d) and on %s (token %d) for %v",
		t.A.System, t.A.Item, t.A.Host, t.A.Token, t.B.Host, t.B.Token, t.For)
}

// AliveTwice are all pairs of lives of one item that share more than a moment
// after from. The longest comes first.
func AliveTwice(lives []Life, from mono.Time) []Twice {
	var out []Twice
	for i, a := range lives {
		for _, b := range lives[i+1:] {
			if a.System != b.System || a.Item != b.Item {
				continue
			}
			if d := min(a.To, b.To).Sub(max(a.From, b.From, from)); d > 0 {
				out = append(out, Twice{a, b, d})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Twice) int { return cmp.Compare(b.For, a.For) })
	return out
}

// TokensGoBack says which marker had an older token than one of its item that
// began before it; "": none.
func TokensGoBack(lives []Life) string {
	byStart := slices.SortedFunc(slices.Values(lives), func(a, b Life) int { return cmp.Compare(a.From, b.From) })
	newest := map[[2]string]Life{}
	for _, l := range byStart {
		key := [2]string{l.System, l.Item}
		if last := newest[key]; l.Token < last.Token {
			return fmt.Sprintf("%s %s on %s has token %d after %d on %s", l.System, l.Item, l.Host, l.Token, last.Token, last.Host)
		}
		newest[key] = l
	}
	return ""
}
