package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// dealt is who owns what.
type dealt map[fsm.ItemID]fsm.MemberID

// The reasons that placement gives for moves.
const (
	asItLeaves  = "is to leave the cluster"
	asItIsDown  = "is down"
	forBalance  = "was balanced anew"
	goesHome    = "home again" // to where it was dealt a home before that one could hold it
	anotherGone = "nobody knows why"
)

// movesOf a change: who left, dead or alive, who came, and who was a member before.
type movesOf struct {
	left   fsm.MemberID // "": nobody
	came   []fsm.MemberID
	before []fsm.MemberID
}

// judge compares what was moved, as history tells it, with what had to be moved: all
// that the one who left owned, and from the others no more than makes the newcomers
// even with them.
func (c movesOf) judge(was, is dealt, moves []api.Event) []string {
	var bad []string
	say := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	now := maps.Clone(was)
	for _, e := range moves {
		if now[e.Item] != e.From {
			say("%s went from %s to %s, and was %s's", e.Item, e.From, e.To, now[e.Item])
		}
		now[e.Item] = e.To
		if why := c.reason(e); !strings.Contains(e.Words, why) {
			say("%s moved without need: %s", e.Item, e.Words)
		}
	}
	if !maps.Equal(now, is) {
		say("they have %v, and history tells of %v", is, now)
	}
	if want := c.needed(was); len(moves) != want {
		say("%d moves, and %d were needed", len(moves), want)
	}
	return bad
}

// reason is what the words of a move that is needed contain.
func (c movesOf) reason(e api.Event) string {
	switch {
	case c.left != "" && e.From == c.left && strings.Contains(e.Words, asItIsDown):
		return asItIsDown
	case c.left != "" && e.From == c.left:
		return asItLeaves
	case slices.Contains(c.came, e.To) && strings.Contains(e.Words, goesHome):
		return goesHome
	case slices.Contains(c.came, e.To):
		return forBalance
	default:
		return anotherGone
	}
}

// needed is how many moves the change takes at least.
func (c movesOf) needed(was dealt) int {
	owns := map[fsm.MemberID]int{}
	for _, m := range was {
		owns[m]++
	}
	var loads []int
	for _, m := range c.before {
		if m != c.left {
			loads = append(loads, owns[m])
		}
	}
	moves := 0
	if c.left != "" {
		moves = owns[c.left]
	}
	for range moves {
		loads[slices.Index(loads, slices.Min(loads))]++
	}
	for range c.came {
		loads = append(loads, 0)
		moves += evenOut(loads)
	}
	return moves
}

// evenOut deals what the fullest have to the emptiest, one piece at a time, until no
// two differ by more than one; how many pieces that takes.
func evenOut(loads []int) int {
	for moves := 0; ; moves++ {
		least, most := slices.Min(loads), slices.Max(loads)
		if most-least <= 1 {
			return moves
		}
		loads[slices.Index(loads, most)]--
		loads[slices.Index(loads, least)]++
	}
}

func TestJudgeOfMoves(t *testing.T) {
	five := dealt{"a": "n1", "b": "n1", "c": "n2", "d": "n2", "e": "n3"}
	three := []fsm.MemberID{"n1", "n2", "n3"}
	moved := func(item fsm.ItemID, from, to fsm.MemberID, why string) api.Event {
		return api.Event{Kind: fsm.KindMoved, Item: item, From: from, To: to, Words: fmt.Sprintf("%s -> %s: %s", from, to, why)}
	}
	with := func(d dealt, more dealt) dealt {
		out := maps.Clone(d)
		maps.Copy(out, more)
		return out
	}
	balance, leave, down := "new home: vip "+forBalance, "n1 "+asItLeaves, "n1 "+asItIsDown
	for _, tt := range []struct {
		name  string
		of    movesOf
		is    dealt
		moves []api.Event
		want  string // contained in what is found; "": nothing is
	}{
		{"nothing happens", movesOf{before: three}, five, nil, ""},
		{"one comes", movesOf{came: []fsm.MemberID{"n4"}, before: three}, with(five, dealt{"a": "n4"}), []api.Event{moved("a", "n1", "n4", balance)}, ""},
		{
			"two come",
			movesOf{came: []fsm.MemberID{"n4", "n5"}, before: three},
			with(five, dealt{"a": "n4", "c": "n5"}),
			[]api.Event{moved("a", "n1", "n4", balance), moved("c", "n2", "n5", balance)},
			"",
		},
		{
			"one leaves",
			movesOf{left: "n1", before: three},
			with(five, dealt{"a": "n2", "b": "n3"}),
			[]api.Event{moved("a", "n1", "n2", leave), moved("b", "n1", "n3", leave)},
			"",
		},
		{
			"a dead one is replaced",
			movesOf{left: "n1", came: []fsm.MemberID{"n4"}, before: three},
			with(five, dealt{"a": "n4", "b": "n3"}),
			[]api.Event{moved("a", "n1", "n2", down), moved("b", "n1", "n3", down), moved("a", "n2", "n4", balance)},
			"",
		},
		{"one comes and gets nothing", movesOf{came: []fsm.MemberID{"n4"}, before: three}, five, nil, "0 moves, and 1 were needed"},
		{
			"one comes and gets too much",
			movesOf{came: []fsm.MemberID{"n4"}, before: three},
			with(five, dealt{"a": "n4", "c": "n4"}),
			[]api.Event{moved("a", "n1", "n4", balance), moved("c", "n2", "n4", balance)},
			"2 moves, and 1 were needed",
		},
		{
			"one comes and others swap",
			movesOf{came: []fsm.MemberID{"n4"}, before: three},
			with(five, dealt{"a": "n4", "e": "n1"}),
			[]api.Event{moved("a", "n1", "n4", balance), moved("e", "n3", "n1", balance)},
			"e moved without need",
		},
		{"killed, nobody having left", movesOf{before: three}, five, []api.Event{moved("a", "n1", "n2", down), moved("a", "n2", "n1", "home again")}, "without need"},
		{"moved behind history's back", movesOf{came: []fsm.MemberID{"n4"}, before: three}, with(five, dealt{"b": "n4"}), []api.Event{moved("a", "n1", "n4", balance)}, "history tells of"},
		{"one leaves, another's moves", movesOf{left: "n3", before: three}, with(five, dealt{"a": "n2"}), []api.Event{moved("a", "n1", "n2", leave)}, "without need"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(tt.of.judge(five, tt.is, tt.moves), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
}
