package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
)

// changeTimeout bounds a change: the daemon itself gives up after 10 s.
const changeTimeout = 12 * time.Second

func itemCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:      "item",
		Usage:     "what an item waits for; release it from who does not answer",
		ArgsUsage: "release SYSTEM ITEM",
		Description: `An at-most-one item goes to its new owner only when nobody else may still hold
it. ` + "`flip item release`" + ` says whom it waits for, and changes nothing.

With --force it makes what it shows void: the owner takes the item at once. Only
you can know that this is right. If the other still has the item, two will. Make
sure first that the other node is off, or that what its ` + "`down`" + ` undoes is undone.
When it is back it runs ` + "`down`" + ` and reports, as ever.

Exits 0 when nothing is outstanding (any more), 1 while the item waits.

Examples:
  flip item release db main                 whom does it wait for?
  flip item release db main --force         shows what becomes void, and asks
  flip item release db main --force --yes   in a script`,
		Flags: append(socketFlags(), jsonFlag(), consistentFlag(),
			&cli.BoolFlag{Name: "force", Usage: "make void what the item waits for"}, yesFlag()),
		BashComplete: a.complete("release"),
		Action:       a.item,
	}
}

func (a *App) item(c *cli.Context) error {
	const hint = "flip item release SYSTEM ITEM"
	switch verb := c.Args().First(); {
	case verb == "":
		return &usageError{what: "flip item: do what?", hint: hint}
	case verb != "release":
		return &usageError{what: "flip item does not know " + verb, hint: hint}
	case c.NArg() < 3:
		return &usageError{what: "flip item release wants a system and an item", hint: hint + "; `flip assign` lists them"}
	}
	if err := atMost(c, 3); err != nil {
		return err
	}
	cl, err := a.ask(c)
	if err != nil {
		return err
	}
	defer cl.Close()
	return a.release(c, cl, fsm.SystemID(c.Args().Get(1)), fsm.ItemID(c.Args().Get(2)))
}

func (a *App) release(c *cli.Context, cl *client.Client, system fsm.SystemID, item fsm.ItemID) error {
	rows, err := rowsOf(c, cl, system, item)
	if err != nil {
		return err
	}
	claims := api.Blocking(rows)
	quiet := c.Bool("json")
	switch {
	case quiet && (!c.Bool("force") || len(claims) == 0):
		if err := printJSON(a.Stdout, rows); err != nil {
			return err
		}
	case !quiet && len(claims) == 0:
		a.nothingOutstanding(rows)
	case !quiet:
		a.showBlocking(rows)
	}
	if len(claims) == 0 {
		return nil
	}
	if !c.Bool("force") {
		if !quiet {
			_, _ = fmt.Fprintf(a.Stdout, "\nOnly if you know that nobody holds it: flip item release %s %s --force\n", system, item)
		}
		return verdict(exitFailed)
	}
	if !quiet {
		a.showRisk(rows)
	}
	if err := a.confirm(c, "Make "+these(len(claims))+" void?"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, changeTimeout)
	defer cancel()
	done, err := cl.Release(ctx, api.Release{System: system, Item: item, Claims: claims})
	if err != nil {
		return err
	}
	if quiet {
		return printJSON(a.Stdout, done)
	}
	_, _ = fmt.Fprintf(a.Stdout, "Made void at index %d: %s/%s waits for nobody. `flip assign %s` shows who takes it.\n", done.Index, system, item, system)
	return nil
}

// rowsOf asks for the rows of one item, the leader first where they are to be
// acted on.
func rowsOf(c *cli.Context, cl *client.Client, system fsm.SystemID, item fsm.ItemID) ([]api.Row, error) {
	consistent := c.Bool("consistent") || c.Bool("force")
	ctx, cancel := context.WithTimeout(c.Context, patience(consistent))
	defer cancel()
	as, err := cl.Assign(ctx, system, consistent)
	if err != nil {
		return nil, err
	}
	var rows []api.Row
	var names []string
	for _, r := range as.Rows {
		if r.Item == item {
			rows = append(rows, r)
		}
		if name := string(r.Item); !slices.Contains(names, name) && len(names) < 20 {
			names = append(names, name)
		}
	}
	if len(rows) == 0 {
		return nil, &api.Error{
			Code: api.CodeNotFound, Message: fmt.Sprintf("system %s has no item %s", system, item),
			Hint: "its items: " + or(strings.Join(names, ", "), "none is placed yet"),
		}
	}
	return rows, nil
}

func these(n int) string {
	if n == 1 {
		return "this entry"
	}
	return fmt.Sprintf("these %d entries", n)
}

// nothingOutstanding says why there is nothing to release.
func (a *App) nothingOutstanding(rows []api.Row) {
	for _, r := range rows {
		name := string(r.System) + "/" + itemName(r)
		_, _ = fmt.Fprintf(a.Stdout, "%s waits for nobody: %s.\n", name, ownerWords(r))
		if !r.Held() && r.Why != "" {
			_, _ = fmt.Fprintf(a.Stdout, "  %s\n", r.Why)
			if r.Do != "" {
				_, _ = fmt.Fprintf(a.Stdout, "  -> %s\n", r.Do)
			}
		}
		for _, o := range r.Outstanding {
			_, _ = fmt.Fprintf(a.Stdout, "  %s\n", o.Why)
		}
	}
}

func ownerWords(r api.Row) string {
	if r.Owner == "" {
		return "it is assigned to nobody"
	}
	return fmt.Sprintf("it is %s's (%s)", r.Owner, r.State)
}

// showBlocking lists the entries that an item waits for, and what each says.
func (a *App) showBlocking(rows []api.Row) {
	p := a.painter()
	for _, r := range rows {
		if !slices.ContainsFunc(r.Outstanding, func(o api.Outstanding) bool { return o.Blocks }) {
			continue
		}
		name := string(r.System) + "/" + itemName(r)
		_, _ = fmt.Fprintln(a.Stdout, p.line(bold, fmt.Sprintf("%s: %s, and others may still hold it", name, ownerWords(r))))
		t := newTable("MEMBER", "EPOCH", "TOKEN", "MACHINE", "WHY")
		var does []string
		for _, o := range r.Outstanding {
			if !o.Blocks {
				continue
			}
			t.add(red, string(o.Member), number(uint64(o.Epoch)), number(uint64(o.Token)), or(o.Machine, "-"), o.Why)
			if o.Do != "" && !slices.Contains(does, o.Do) {
				does = append(does, o.Do)
			}
		}
		t.write(a.Stdout, p)
		for _, do := range does {
			_, _ = fmt.Fprintf(a.Stdout, "  -> %s\n", do)
		}
	}
}

// showRisk says what becomes void and what that may do.
func (a *App) showRisk(rows []api.Row) {
	var who []string
	for _, cl := range api.Blocking(rows) {
		if !slices.Contains(who, string(cl.Member)) {
			who = append(who, string(cl.Member))
		}
	}
	r := rows[0]
	next := "whoever is given it next takes it"
	if r.Owner != "" {
		next = string(r.Owner) + " takes it"
	}
	names := strings.Join(who, " or ")
	_, _ = fmt.Fprintf(a.Stdout, `
Made void, nobody waits for %s any more, and %s at once.
If %s still has it, two will: no one but you can rule that out. Make sure that
%s is off, or that what its hook did is undone there.
`, names, next, names, names)
}
