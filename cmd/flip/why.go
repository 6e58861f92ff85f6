package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/placement"
)

func whyCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:      "why",
		Usage:     "why an item is where it is, and who else could have it",
		ArgsUsage: "SYSTEM [ITEM]",
		Description: `Of an item: what brought it there, where its home is, each member that serves the
system with what it has of it and what speaks against it, and a move that is held
back. Of a system: what each member has, what is not at home, what nobody can have,
what is to be moved and what is held back.

Reckons as the leader would, with all that the cluster has agreed on. For how long a
member has been well it takes from the history; the leader goes by what it has seen
itself, which may be less.

Examples:
  flip why vip                    a whole system
  flip why vip 10.0.0.100         one item, each of its replicas
  flip why vip 10.0.0.100 --json  for a program`,
		Flags:        append(socketFlags(), jsonFlag(), consistentFlag(), stateFlag()),
		BashComplete: a.complete(""),
		Action:       a.why,
	}
}

func (a *App) why(c *cli.Context) error {
	if !c.Args().Present() {
		return &usageError{what: "flip why: of which system?", hint: "flip why SYSTEM [ITEM]; `flip assign` lists them"}
	}
	if err := atMost(c, 2); err != nil {
		return err
	}
	p, err := a.picture(c)
	if err != nil {
		return err
	}
	id, item := fsm.SystemID(c.Args().First()), fsm.ItemID(c.Args().Get(1))
	sys, found := p.State.Spec().Systems[id]
	switch {
	case !found:
		return noSystem(p.State, id)
	case item == "":
		return a.whySystem(c, p, sys)
	}
	_, found = slices.BinarySearchFunc(sys.Items, item, func(i fsm.Item, id fsm.ItemID) int { return cmp.Compare(i.ID, id) })
	if !found {
		names := make([]fsm.ItemID, 0, len(sys.Items))
		for _, i := range sys.Items {
			names = append(names, i.ID)
		}
		return unknownName(fmt.Sprintf("system %s has no item %s", id, item), string(item), names[:min(len(names), 20)], "its items: ")
	}
	return a.whyItem(c, p, sys, item)
}

// explained is why one slot is where it is.
type explained struct {
	System   fsm.SystemID `json:"system"`
	Item     fsm.ItemID   `json:"item"`
	Rank     int          `json:"rank"`
	Owner    fsm.MemberID `json:"owner"`
	Home     fsm.MemberID `json:"home"`
	Previous fsm.MemberID `json:"previous,omitempty"`
	Since    fsm.Token    `json:"since"`
	Cause    string       `json:"cause"`
	Reason   string       `json:"reason"`
	Moved    []int64      `json:"moved_ms,omitempty"` // when it was moved of late, in Unix milliseconds
	Braked   bool         `json:"braked,omitempty"`
	Members  []candidate  `json:"members"`
	Held     *plannedMove `json:"held,omitempty"`
	Unplaced string       `json:"unplaced,omitempty"`
}

// candidate is a member that serves the system.
type candidate struct {
	Name     fsm.MemberID `json:"name"`
	Can      bool         `json:"can"`
	Load     int          `json:"load"`
	Capacity int          `json:"capacity,omitempty"` // 0: no limit
	Why      string       `json:"why"`
}

// explain is why a slot is where it is; false: the system has no such slot.
func explain(p picture, k fsm.Key) (explained, bool) {
	e, ok := placement.Explain(p.View, k)
	if !ok {
		return explained{}, false
	}
	slot, _ := p.State.Slot(k)
	out := explained{
		System: k.System, Item: k.Item, Rank: k.Rank, Owner: slot.Owner, Home: slot.Home, Previous: slot.Previous,
		Since: slot.Token, Cause: slot.Cause.String(), Reason: slot.Reason, Moved: slot.Moved,
		Braked: p.State.Braked(k), Members: []candidate{},
	}
	for _, c := range e.Candidates {
		out.Members = append(out.Members, candidate{Name: c.Member, Can: c.Can, Load: c.Load, Capacity: c.Capacity, Why: c.Why})
	}
	if e.Held != nil {
		m := moveOf(slot, e.Held.Move)
		m.Why, m.ForMS = e.Held.Why, e.Held.For.Milliseconds()
		out.Held = &m
	}
	if e.Unplaced != nil {
		out.Unplaced = e.Unplaced.Why
	}
	return out, true
}

func (a *App) whyItem(c *cli.Context, p picture, sys fsm.System, item fsm.ItemID) error {
	out := []explained{}
	for rank := range sys.Ranks() {
		if e, ok := explain(p, fsm.Key{System: sys.Name, Item: item, Rank: rank}); ok {
			out = append(out, e)
		}
	}
	if c.Bool("json") {
		return printJSON(a.Stdout, out)
	}
	if len(out) == 0 {
		_, _ = fmt.Fprintln(a.Stdout, undivided(sys))
		return nil
	}
	paint := a.painter()
	for _, e := range out {
		e.write(a.Stdout, paint, p.Now)
	}
	writeStops(a.Stdout, paint, p.State, sys.Name)
	_, _ = fmt.Fprintln(a.Stdout, p.words)
	return nil
}

// undivided says why nothing is to be explained.
func undivided(sys fsm.System) string {
	if sys.Split == fsm.Replicate {
		return "Every server of " + string(sys.Name) + " holds all of its items: nothing of it is placed."
	}
	return "Nobody holds items of " + string(sys.Name) + ": its type is " + sys.Split.String() + "."
}

func (e explained) write(w io.Writer, p painter, now int64) {
	name := string(e.System) + "/" + itemName(api.Row{Item: e.Item, Rank: e.Rank})
	if e.Owner == "" {
		_, _ = fmt.Fprintln(w, p.line(red, name+" is nobody's: "+or(or(e.Unplaced, e.Reason), "it was never assigned")))
	} else {
		_, _ = fmt.Fprintln(w, p.line(bold, fmt.Sprintf("%s is %s's since index %d: %s", name, e.Owner, e.Since, or(e.Reason, "no reason is known"))))
		if e.Unplaced != "" {
			_, _ = fmt.Fprintln(w, p.line(red, "  it may not stay there, and nobody can have it: "+e.Unplaced))
		}
	}
	if e.Home != "" && e.Home != e.Owner {
		_, _ = fmt.Fprintln(w, "  its home is "+string(e.Home))
	}
	if e.Previous != "" && e.Previous != e.Owner {
		_, _ = fmt.Fprintln(w, "  it was "+string(e.Previous)+"'s before")
	}
	if e.Held != nil {
		_, _ = fmt.Fprintln(w, p.line(yellow, fmt.Sprintf("  to %s (%s) is held back: %s", or(string(e.Held.To), "nobody"), e.Held.Reason, heldWords(*e.Held))))
	}
	if n := len(e.Moved); n > 0 {
		_, _ = fmt.Fprintf(w, "  moved %s of late%s\n", counted(n, "time", "times"), agoWords(now, e.Moved[n-1]))
	}
	t := newTable("  MEMBER", "CAN", "HAS", "AT MOST", "WHY")
	for _, c := range e.Members {
		can, colour := "yes", plain
		if !c.Can {
			can, colour = "no", yellow
		}
		most := "-"
		if c.Capacity > 0 {
			most = fmt.Sprint(c.Capacity)
		}
		t.add(colour, "  "+string(c.Name), can, fmt.Sprint(c.Load), most, c.Why)
	}
	t.write(w, p)
	_, _ = fmt.Fprintln(w)
}

func agoWords(now, at int64) string {
	if now == 0 || at == 0 || now < at {
		return ""
	}
	return ", last " + spoken((time.Duration(now-at) * time.Millisecond).Round(time.Second).Milliseconds()) + " ago"
}

// writeStops says what keeps a whole system, or items of it, from being moved.
func writeStops(w io.Writer, p painter, s *fsm.State, id fsm.SystemID) {
	for _, b := range s.Brakes() {
		if b.System == id {
			names := make([]string, 0, len(b.Lost))
			for _, m := range b.Lost {
				names = append(names, string(m))
			}
			_, _ = fmt.Fprintln(w, p.line(red, fmt.Sprintf("%s is not moved until `flip cleanup %s`: %s were lost at once", id, id, strings.Join(names, ", "))))
		}
	}
	for _, slot := range s.BrakedSlots() {
		if slot.System == id {
			_, _ = fmt.Fprintln(w, p.line(red, fmt.Sprintf("%s/%s is not moved until `flip cleanup %s %s`: it failed again where it had just been moved to", id, itemName(api.Row{Item: slot.Item, Rank: slot.Rank}), id, slot.Item)))
		}
	}
	if s.Maintained(id) {
		_, _ = fmt.Fprintln(w, p.line(yellow, string(id)+" is under maintenance: nothing of it is moved"))
	}
}
