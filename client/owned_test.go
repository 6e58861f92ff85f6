package client

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// told are the events that an account tells now.
func told(a *account, now time.Duration) (events []ItemEvent, words []string) {
	for {
		e, ok := a.pop(now)
		if !ok {
			return events, words
		}
		events = append(events, e)
		words = append(words, fmt.Sprintf("%s %s@%d", e.Kind, e.Item, e.Token))
	}
}

func wantTold(t *testing.T, a *account, now time.Duration, want ...string) []ItemEvent {
	t.Helper()
	events, got := told(a, now)
	if !slices.Equal(got, want) {
		t.Fatalf("told %q, want %q", got, want)
	}
	return events
}

func take(seq uint64, item fsm.ItemID, token fsm.Token, most bool) *api.ProgramEvent {
	return &api.ProgramEvent{Kind: api.ProgramAcquire, Seq: seq, Item: item, Token: token, AtMostOne: most}
}

func drop(seq uint64, item fsm.ItemID) *api.ProgramEvent {
	return &api.ProgramEvent{Kind: api.ProgramRelease, Seq: seq, Item: item}
}

func TestAccount(t *testing.T) {
	t.Run("taken back before it was told", func(t *testing.T) {
		a := newAccount()
		a.hear(take(1, "x", 7, false), 0)
		a.hear(drop(2, "x"), 0)
		wantTold(t, a, 0)
		if !slices.Equal(a.acks, []uint64{2}) || len(a.present()) != 0 {
			t.Errorf("acknowledged %v, presented %v", a.acks, a.present())
		}
	})
	t.Run("no event twice", func(t *testing.T) {
		a := newAccount()
		a.hear(take(1, "x", 7, false), 0)
		e := wantTold(t, a, 0, "acquire x@7")
		a.hear(take(1, "x", 7, false), 0)
		wantTold(t, a, 0)
		a.done(&e[0], 0)
		a.done(&e[0], 0)
		if !slices.Equal(a.acks, []uint64{1}) {
			t.Errorf("acknowledged %v", a.acks)
		}
	})
	t.Run("at-most-one waits for the lease", func(t *testing.T) {
		a := newAccount()
		a.hear(take(1, "x", 7, true), 5)
		wantTold(t, a, 5)
		a.lease(20, 6)
		e := wantTold(t, a, 6, "acquire x@7")
		a.done(&e[0], 7)
		a.hear(take(2, "y", 8, true), 7)
		// Its end comes before y was told of: of that nothing is heard.
		out := wantTold(t, a, 20, "release x@7")
		if out[0].Cause != CauseLease {
			t.Errorf("cause %q", out[0].Cause)
		}
		a.hear(take(3, "z", 9, true), 21)
		wantTold(t, a, 21)
		a.lease(50, 30)
		wantTold(t, a, 30, "acquire y@8", "acquire z@9")
		a.done(&out[0], 31)
		if len(a.gone) != 1 || a.gone[0] != (api.ProgramItem{Item: "x", Token: 7, Seq: 1}) {
			t.Errorf("let go of %+v", a.gone)
		}
	})
	t.Run("the daemon asks for what the client has told of", func(t *testing.T) {
		a := newAccount()
		a.lease(10, 0)
		a.hear(take(1, "x", 7, true), 0)
		e := wantTold(t, a, 0, "acquire x@7")
		a.done(&e[0], 0)
		e = wantTold(t, a, 10, "release x@7")
		a.hear(drop(2, "x"), 11)
		wantTold(t, a, 11)
		a.done(&e[0], 12)
		if !slices.Equal(a.acks, []uint64{1, 2}) || len(a.gone) != 0 {
			t.Errorf("acknowledged %v, gone %v", a.acks, a.gone)
		}
	})
	t.Run("a newer token", func(t *testing.T) {
		a := newAccount()
		a.hear(take(1, "x", 7, false), 0)
		token := &api.ProgramEvent{Kind: api.ProgramToken, Seq: 2, Item: "x", Token: 9}
		a.hear(token, 0)
		e := wantTold(t, a, 0, "acquire x@9")
		a.done(&e[0], 0)
		token = &api.ProgramEvent{Kind: api.ProgramToken, Seq: 3, Item: "x", Token: 11}
		a.hear(token, 0)
		wantTold(t, a, 0, "token x@11")
		a.hear(drop(4, "x"), 0)
		wantTold(t, a, 0, "release x@11")
	})
	t.Run("what the daemon is told of who comes anew", func(t *testing.T) {
		a := newAccount()
		a.hear(take(1, "x", 7, false), 0)
		a.hear(take(2, "y", 8, false), 0)
		a.hear(take(3, "z", 9, false), 0)
		e := wantTold(t, a, 0, "acquire x@7", "acquire y@8", "acquire z@9")
		a.done(&e[0], 0)
		a.done(&e[2], 0)
		a.hear(drop(4, "z"), 0)
		want := []api.ProgramItem{
			{Item: "x", Token: 7, Seq: 1, Taken: true}, {Item: "y", Token: 8, Seq: 2}, {Item: "z", Token: 9, Seq: 3, Taken: true, Told: 4},
		}
		if got := a.present(); !slices.Equal(got, want) {
			t.Errorf("presented %+v", got)
		}
	})
}

// Whatever a daemon says, and however the lease goes, a program is told of each item to
// take it, to let go of it, and so on in turn; without a lease it is never told to take
// what is at-most-one; and what it has in the end is what the daemon has given it and it
// has not let go of.
func TestAccountTellsInTurn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := newAccount()
		items := []fsm.ItemID{"x", "y", "z"}
		given := map[fsm.ItemID]uint64{} // by the daemon, not yet released
		has := map[fsm.ItemID]bool{}     // as the program was told
		asked := map[fsm.ItemID]uint64{} // to be released, not yet acknowledged
		var open []ItemEvent
		var seq uint64
		var token fsm.Token
		now := time.Duration(1)
		settle := func() { // what the program has said reaches the daemon
			for _, s := range a.acks {
				for item, of := range asked {
					if of == s {
						delete(asked, item)
						delete(given, item)
					}
				}
			}
			for _, g := range a.gone {
				if given[g.Item] == g.Seq && asked[g.Item] == 0 {
					delete(given, g.Item)
				}
			}
			a.acks, a.gone = nil, nil
		}
		tell := func() {
			events, _ := told(a, now)
			for _, e := range events {
				if e.Kind == Renew {
					if !has[e.Item] {
						t.Fatalf("a token of %s, which it does not have", e.Item)
					}
					continue
				}
				if has[e.Item] == (e.Kind == Acquire) {
					t.Fatalf("told %s %s twice", e.Kind, e.Item)
				}
				if has[e.Item] = e.Kind == Acquire; has[e.Item] && now >= a.until {
					t.Fatalf("told to take %s without a lease", e.Item)
				}
				open = append(open, e)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"give": func(t *rapid.T) {
				item := rapid.SampledFrom(items).Draw(t, "item")
				if given[item] != 0 {
					t.Skip("it has it")
				}
				seq, token = seq+1, token+1
				given[item] = seq
				a.hear(take(seq, item, token, true), now)
			},
			"ask": func(t *rapid.T) {
				item := rapid.SampledFrom(items).Draw(t, "item")
				if given[item] == 0 || asked[item] != 0 {
					t.Skip("nothing to ask for")
				}
				seq++
				asked[item] = seq
				a.hear(drop(seq, item), now)
			},
			"renew": func(t *rapid.T) {
				item := rapid.SampledFrom(items).Draw(t, "item")
				if given[item] == 0 || asked[item] != 0 {
					t.Skip("it does not have it")
				}
				seq, token = seq+1, token+1
				a.hear(&api.ProgramEvent{Kind: api.ProgramToken, Seq: seq, Item: item, Token: token, AtMostOne: true}, now)
			},
			"lease": func(t *rapid.T) { a.lease(now+time.Duration(rapid.IntRange(0, 5).Draw(t, "left")), now) },
			"later": func(t *rapid.T) { now += time.Duration(rapid.IntRange(1, 4).Draw(t, "by")) },
			"tell":  func(*rapid.T) { tell() },
			"done": func(t *rapid.T) {
				if len(open) == 0 {
					t.Skip("nothing to do")
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				e := open[i]
				open = slices.Delete(open, i, i+1)
				a.done(&e, now)
			},
			"settle": func(*rapid.T) { settle() },
		})
		// It comes to rest.
		for range 8 {
			a.lease(now+100, now)
			tell()
			for i := range open {
				a.done(&open[i], now)
			}
			open = nil
			settle()
		}
		for _, item := range items {
			if has[item] != (given[item] != 0) {
				t.Fatalf("%s: the program has it: %v; the daemon gave it: %v", item, has[item], given[item] != 0)
			}
		}
	})
}
