package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/placement"
)

// exitMoves is how `flip plan` ends when something would move.
const exitMoves = 10

func planCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:  "plan",
		Usage: "what would move, and why: as things are, or if members failed, were drained or came",
		Description: `Reckons as the leader would, with all that the cluster has agreed on, and changes
nothing. Without an option it shows what is still to be moved as things are; all that
is supposed happens at one time.

Each move has its reason. Then come the moves that are held back for now, the items
that nobody can have, and what each member has before and after. How many moves are
made at one time, and a system's delay, do not show here. A member that is supposed to
come is taken for one that has been well for long.

A member's zone is what may fail all at once with it: --zone alone supposes that all
of a zone fail; with --add it is where the new members are.

Exits 0 when nothing would move, 10 when something would.

Examples:
  flip plan                            what is still to be moved
  flip plan --fail n2                  if n2 failed
  flip plan --fail n2 --fail n3        … and n3 at the same time
  flip plan --zone rack2               if all of a zone failed
  flip plan --drain n3                 before work on n3
  flip plan --add n9                   if n9 came and served all systems
  flip plan --add n9=web,db --zone b   … in zone b, and these systems
  flip plan --state /var/lib/flip/n1   what a node that does not run knew last
  flip plan --fail n2 --json | jq -c '.moves[]'`,
		Flags: append(socketFlags(), jsonFlag(), consistentFlag(),
			&cli.GenericFlag{Name: "fail", Value: &listFlag{}, Usage: "suppose that the member `NAME` fails; may be repeated"},
			&cli.GenericFlag{Name: "drain", Value: &listFlag{}, Usage: "suppose that the member `NAME` is to hold nothing; may be repeated"},
			&cli.GenericFlag{Name: "add", Value: &listFlag{}, Usage: "suppose that the member `NAME[=SYSTEMS]` comes, or comes back; may be repeated"},
			&cli.StringFlag{Name: "zone", Usage: "suppose that all of the `ZONE` fail; with --add, the zone of who comes"},
			stateFlag()),
		Action: a.plan,
	}
}

func (a *App) plan(c *cli.Context) error {
	if err := atMost(c, 0); err != nil {
		return err
	}
	before, err := a.picture(c)
	if err != nil {
		return err
	}
	what, err := supposed(c, before.State)
	if err != nil {
		return err
	}
	after, notes, err := what.suppose(before)
	if err != nil {
		return fmt.Errorf("suppose what is asked for: %w", err)
	}
	out, err := reckon(before, after)
	if err != nil {
		return err
	}
	out.Notes = append(out.Notes, notes...)
	if c.Bool("json") {
		err = printJSON(a.Stdout, out)
	} else {
		out.write(a.Stdout, a.painter())
	}
	if err == nil && len(out.Moves) > 0 {
		err = verdict(exitMoves)
	}
	return err
}

// planned is what `flip plan` answers.
type planned struct {
	Index    fsm.Index      `json:"index"`
	Moves    []plannedMove  `json:"moves"`
	Held     []plannedMove  `json:"held"`
	Unplaced []plannedNone  `json:"unplaced"`
	Homes    int            `json:"new_homes"` // items that stay and get another home
	Members  []plannedShare `json:"members"`
	Notes    []string       `json:"notes"`
	words    string
}

// plannedMove is a move, or one that is held back: Why and for how long.
type plannedMove struct {
	System fsm.SystemID `json:"system"`
	Item   fsm.ItemID   `json:"item"`
	Rank   int          `json:"rank"`
	From   fsm.MemberID `json:"from"`
	To     fsm.MemberID `json:"to"`
	Cause  string       `json:"cause"`
	Reason string       `json:"reason"`
	Why    string       `json:"held_because,omitempty"`
	ForMS  int64        `json:"held_for_ms,omitempty"` // 0: until somebody does something about it
}

// plannedNone is a slot that nobody can have.
type plannedNone struct {
	System fsm.SystemID `json:"system"`
	Item   fsm.ItemID   `json:"item"`
	Rank   int          `json:"rank"`
	Why    string       `json:"why"`
}

// plannedShare is what one member has before and after.
type plannedShare struct {
	Name   fsm.MemberID `json:"name"`
	State  string       `json:"state"`
	Before int          `json:"before"`
	After  int          `json:"after"`
	Gets   int          `json:"gets"`
	Loses  int          `json:"loses"`
}

// reckon plans until nothing is left to be moved: more than one command holds take
// several plans.
func reckon(before, p picture) (planned, error) {
	out := planned{Index: before.index, Moves: []plannedMove{}, Held: []plannedMove{}, Unplaced: []plannedNone{}, Notes: []string{}, words: before.words}
	shares := sharesOf(before.State, p)
	var planner placement.Planner
	for left := mostPlans(p.State.Spec()); ; left-- {
		r := planner.Plan(p.View)
		if len(r.Moves) == 0 || left == 0 {
			out.rest(p.State, r)
			if len(r.Moves) > 0 {
				out.Notes = append(out.Notes, "the plan does not come to rest: more would be moved after this")
			}
			break
		}
		for _, m := range r.Moves {
			out.move(p.State, m, shares)
		}
		if err := p.apply(fsm.Assign{Moves: r.Moves, At: p.at}); err != nil {
			return out, fmt.Errorf("make the moves of the plan: %w", err)
		}
	}
	for slot := range p.State.Slots() {
		if s := shares[slot.Owner]; s != nil {
			s.After++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(shares)) {
		out.Members = append(out.Members, *shares[name])
	}
	return out, nil
}

// mostPlans is far above what it takes to move everything twice: all moves of an item
// go into one command, so that it may hold fewer than it could.
func mostPlans(spec *fsm.Spec) int {
	slots := 0
	for _, sys := range spec.Systems {
		slots += len(sys.Items) * sys.Ranks()
	}
	return 16 + slots/(fsm.MaxMoves/4)
}

// move notes a move as the State is before it.
func (out *planned) move(s *fsm.State, m fsm.Move, shares map[fsm.MemberID]*plannedShare) {
	slot, _ := s.Slot(m.Key)
	if slot.Owner == m.To {
		out.Homes++
		return
	}
	out.Moves = append(out.Moves, moveOf(slot, m))
	if s := shares[m.To]; s != nil {
		s.Gets++
	}
	if s := shares[slot.Owner]; s != nil {
		s.Loses++
	}
}

func moveOf(slot fsm.Slot, m fsm.Move) plannedMove {
	return plannedMove{System: m.System, Item: m.Item, Rank: m.Rank, From: slot.Owner, To: m.To, Cause: m.Cause.String(), Reason: m.Reason}
}

// rest is what is not moved.
func (out *planned) rest(s *fsm.State, r placement.Result) {
	for _, h := range r.Held {
		slot, _ := s.Slot(h.Key)
		m := moveOf(slot, h.Move)
		m.Why, m.ForMS = h.Why, h.For.Milliseconds()
		out.Held = append(out.Held, m)
	}
	for _, u := range r.Unplaced {
		out.Unplaced = append(out.Unplaced, plannedNone{System: u.System, Item: u.Item, Rank: u.Rank, Why: u.Why})
	}
	byKey := func(sys, other fsm.SystemID, item, another fsm.ItemID, rank, third int) int {
		return cmp.Or(cmp.Compare(sys, other), cmp.Compare(item, another), cmp.Compare(rank, third))
	}
	slices.SortStableFunc(out.Held, func(x, y plannedMove) int { return byKey(x.System, y.System, x.Item, y.Item, x.Rank, y.Rank) })
	slices.SortStableFunc(out.Unplaced, func(x, y plannedNone) int { return byKey(x.System, y.System, x.Item, y.Item, x.Rank, y.Rank) })
}

// sharesOf is what each server that serves anything has, by what the State was; how it is
// comes from what is supposed.
func sharesOf(before *fsm.State, p picture) map[fsm.MemberID]*plannedShare {
	out := map[fsm.MemberID]*plannedShare{}
	for name, server := range p.State.Spec().Servers {
		if len(server.Systems) > 0 {
			out[name] = &plannedShare{Name: name, State: stateIn(p, name)}
		}
	}
	for slot := range before.Slots() {
		if s := out[slot.Owner]; s != nil {
			s.Before++
		}
	}
	return out
}

// stateIn is how a member would be.
func stateIn(p picture, name fsm.MemberID) string {
	m, known := p.State.Member(name)
	switch {
	case p.Unusable[name] != "":
		return "drained"
	case p.State.Spec().Servers[name].Removing:
		return "removing"
	case !known:
		return api.MemberNever
	case !m.Up:
		return api.MemberDown
	case m.Leaving:
		return api.MemberLeaving
	case !m.Settled:
		return api.MemberUnsettled
	default:
		return api.MemberUp
	}
}

func (out planned) write(w io.Writer, p painter) {
	name := func(sys fsm.SystemID, item fsm.ItemID, rank int) string {
		return string(sys) + "/" + itemName(api.Row{Item: item, Rank: rank})
	}
	if len(out.Moves) > 0 {
		t := newTable("SYSTEM", "ITEM", "FROM", "TO", "WHY")
		for _, m := range out.Moves {
			t.add(plain, string(m.System), itemName(api.Row{Item: m.Item, Rank: m.Rank}), or(string(m.From), "-"), or(string(m.To), "-"), or(m.Reason, m.Cause))
		}
		t.write(w, p)
		_, _ = fmt.Fprintln(w)
	}
	for _, m := range out.Held {
		_, _ = fmt.Fprintln(w, p.line(yellow, fmt.Sprintf("held back: %s from %s to %s (%s): %s", name(m.System, m.Item, m.Rank), or(string(m.From), "nobody"), or(string(m.To), "nobody"), m.Reason, heldWords(m))))
	}
	for _, same := range alike(out.Unplaced) {
		what := name(same[0].System, same[0].Item, same[0].Rank)
		if n := len(same) - 1; n > 0 {
			what += fmt.Sprintf(" and %d more of %s", n, same[0].System)
		}
		_, _ = fmt.Fprintln(w, p.line(red, fmt.Sprintf("nobody can have %s: %s", what, same[0].Why)))
	}
	if len(out.Held)+len(out.Unplaced) > 0 {
		_, _ = fmt.Fprintln(w)
	}
	t := newTable("MEMBER", "STATE", "HAS", "THEN", "GETS", "LOSES")
	for _, m := range out.Members {
		colour := plain
		if m.State == api.MemberDown || m.State == api.MemberNever {
			colour = red
		}
		t.add(colour, string(m.Name), m.State, fmt.Sprint(m.Before), fmt.Sprint(m.After), fmt.Sprint(m.Gets), fmt.Sprint(m.Loses))
	}
	t.write(w, p)
	_, _ = fmt.Fprintln(w)
	for _, n := range out.Notes {
		_, _ = fmt.Fprintln(w, p.line(yellow, "note: "+n))
	}
	if out.Homes > 0 {
		_, _ = fmt.Fprintf(w, "%s where they are and get another home.\n", counted(out.Homes, "item stays", "items stay"))
	}
	_, _ = fmt.Fprintf(w, "%s, %s.\n", counted(len(out.Moves), "move", "moves"), out.words)
}

// heldWords is why a move is held back, and for how long.
func heldWords(m plannedMove) string {
	if m.ForMS == 0 {
		return m.Why
	}
	return fmt.Sprintf("%s, for %s yet", m.Why, spoken((time.Duration(m.ForMS) * time.Millisecond).Round(time.Second).Milliseconds()))
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// alike puts together what nobody of a system can have for the same reason.
func alike(all []plannedNone) [][]plannedNone {
	type reason struct {
		system fsm.SystemID
		why    string
	}
	var out [][]plannedNone
	at := map[reason]int{}
	for _, u := range all {
		r := reason{u.System, u.Why}
		i, known := at[r]
		if !known {
			i = len(out)
			at[r], out = i, append(out, nil)
		}
		out[i] = append(out[i], u)
	}
	return out
}
