package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

func assignCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:      "assign",
		Usage:     "who has what",
		ArgsUsage: "[SYSTEM]",
		Description: `One line for each item: its owner, how far the owner has come, and who else may
still have it. Answers from this node's own copy of the log; --consistent asks
the leader first.

Examples:
  flip assign              everything
  flip assign ip           the items of one system
  flip assign --by-member  one column for each member, x for one that is down
  flip assign ip --why     with all that speaks for where they are
  flip assign ip --json    for a program: tokens, reasons, entries`,
		Flags: append(socketFlags(), jsonFlag(), consistentFlag(),
			&cli.BoolFlag{Name: "by-member", Usage: "one column for each member"},
			&cli.BoolFlag{Name: "why", Usage: "why each is where it is, and what is held back"}, stateFlag()),
		BashComplete: a.complete(""),
		Action:       a.assign,
	}
}

func (a *App) assign(c *cli.Context) error {
	if err := atMost(c, 1); err != nil {
		return err
	}
	switch {
	case c.Bool("why"):
		return a.assignWhy(c)
	case c.IsSet("state"):
		return &usageError{what: "flip assign --state goes with --why", hint: "flip assign --why --state " + c.String("state")}
	}
	cl, err := a.ask(c)
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(c.Context, patience(c.Bool("consistent")))
	defer cancel()
	as, err := cl.Assign(ctx, fsm.SystemID(c.Args().First()), c.Bool("consistent"))
	if err != nil {
		return err
	}
	switch {
	case c.Bool("json"):
		return printJSON(a.Stdout, as)
	case len(as.Rows) == 0:
		_, _ = fmt.Fprintln(a.Stdout, "Nothing is assigned. `flip status` says whether it should be.")
	case c.Bool("by-member"):
		writePivot(a.Stdout, a.painter(), as)
	default:
		writeRows(a.Stdout, a.painter(), as)
	}
	return nil
}

func writeRows(w io.Writer, p painter, as api.Assign) {
	t := newTable("SYSTEM", "ITEM", "OWNER", "STATE", "HOME", "SINCE", "REASON")
	var notes []string
	for _, r := range as.Rows {
		t.add(rowColour(r), string(r.System), itemName(r), or(string(r.Owner), "-"), r.State, or(string(r.Home), "-"),
			number(uint64(r.Since)), or(r.Reason, "-"))
		notes = append(notes, rowNotes(r)...)
	}
	t.write(w, p)
	for _, m := range as.Maintenance {
		notes = append(notes, "maintenance: "+m.Words)
	}
	if len(notes) > 0 {
		_, _ = fmt.Fprintln(w)
	}
	for _, n := range notes {
		_, _ = fmt.Fprintln(w, n)
	}
}

func rowColour(r api.Row) string {
	switch r.State {
	case api.RowNobody, api.RowWaiting:
		return red
	case api.RowStarting:
		return yellow
	default:
		return plain
	}
}

func itemName(r api.Row) string {
	if r.Rank == 0 {
		return string(r.Item)
	}
	return fmt.Sprintf("%s (replica %d)", r.Item, r.Rank)
}

// rowNotes is what does not fit into a row: why it is not acquired, who else
// may have the item, and what to do.
func rowNotes(r api.Row) []string {
	var out []string
	name := string(r.System) + "/" + itemName(r)
	if r.Why != "" {
		out = append(out, name+": "+r.Why)
		if r.Do != "" {
			out = append(out, "  -> "+r.Do)
		}
	}
	if r.Braked != "" && !strings.Contains(r.Why, r.Braked) {
		out = append(out, name+": "+r.Braked)
	}
	if r.Seen != nil && !r.Seen.Verified {
		out = append(out, name+": "+r.Seen.Words)
	}
	for _, o := range r.Outstanding {
		if o.Why == r.Why {
			continue
		}
		out = append(out, fmt.Sprintf("%s: outstanding under token %d: %s", name, o.Token, o.Why))
		if o.Do != "" {
			out = append(out, "  -> "+o.Do)
		}
	}
	return out
}

// writePivot is a row for each system and a column for each member.
func writePivot(w io.Writer, p painter, as api.Assign) {
	header := []string{"SYSTEM"}
	for _, m := range as.Members {
		header = append(header, string(m.Name))
	}
	t := newTable(header...)
	var systems []fsm.SystemID
	held := map[fsm.SystemID]map[fsm.MemberID][]string{}
	for _, r := range as.Rows {
		if held[r.System] == nil {
			systems = append(systems, r.System)
			held[r.System] = map[fsm.MemberID][]string{}
		}
		name := itemName(r)
		if !r.Held() {
			name += " (" + r.State + ")"
		}
		held[r.System][r.Owner] = append(held[r.System][r.Owner], name)
	}
	for _, sys := range systems {
		cells, colour := []string{string(sys)}, plain
		for _, m := range as.Members {
			cells = append(cells, cell(held[sys][m.Name], m.State))
		}
		if nobody := held[sys][""]; len(nobody) > 0 {
			cells, colour = append(cells, "nobody: "+strings.Join(nobody, ", ")), red
		}
		t.add(colour, cells...)
	}
	t.write(w, p)
}

func cell(items []string, state string) string {
	down := state == api.MemberDown || state == api.MemberNever
	switch {
	case len(items) > 0 && down:
		return "x " + strings.Join(items, ", ")
	case len(items) > 0:
		return strings.Join(items, ", ")
	case down:
		return "x"
	default:
		return "-"
	}
}
