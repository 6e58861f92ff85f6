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

func routeCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:      "route",
		Usage:     "where a key is: its item, whose that is, who comes next, the addresses",
		ArgsUsage: "SYSTEM KEY",
		Description: `Of a system with partitions the KEY is any text, and a hash of it says in which
partition it is; of any other it is an item. One line for each member of the
preference list: the owners by rank, the first of which is the primary, then those
that the item prefers, its home, and the others that may have it.

Answers from this node's own copy of the log; --consistent asks the leader first. A
program takes the Go client's Router, which answers from a copy of its own.

Exits 0 when the primary is known to hold the item, 1 when it is not.

Examples:
  flip route sessions user:42
  flip route vip 10.0.0.100
  flip route sessions user:42 --json | jq -r '.owners[0].address'`,
		Flags:        append(socketFlags(), jsonFlag(), consistentFlag()),
		BashComplete: a.complete(""),
		Action:       a.route,
	}
}

func (a *App) route(c *cli.Context) error {
	if c.NArg() < 2 {
		return &usageError{what: "flip route wants a system and a key", hint: "flip route SYSTEM KEY; `flip assign` lists systems and items"}
	}
	if err := atMost(c, 2); err != nil {
		return err
	}
	cl, err := a.ask(c)
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(c.Context, patience(c.Bool("consistent")))
	defer cancel()
	r, err := cl.Route(ctx, fsm.SystemID(c.Args().First()), c.Args().Get(1), c.Bool("consistent"))
	if err != nil {
		return err
	}
	if c.Bool("json") {
		err = printJSON(a.Stdout, r)
	} else {
		writeRoute(a.Stdout, a.painter(), r)
	}
	if err == nil && (len(r.Owners) == 0 || !r.Owners[0].Held) {
		err = verdict(exitFailed)
	}
	return err
}

func writeRoute(w io.Writer, p painter, r api.Route) {
	if string(r.Item) != r.Key {
		_, _ = fmt.Fprintf(w, "%s is in partition %s of %s.\n\n", or(r.Key, "the empty key"), r.Item, r.System)
	}
	t := newTable("RANK", "MEMBER", "STATE", "ADDRESS", "ZONE")
	members := map[fsm.MemberID]api.RouteMember{}
	for _, m := range r.Members {
		members[m.Name] = m
	}
	zone := func(m fsm.MemberID) string { return or(members[m].Zone, "-") }
	owns := map[fsm.MemberID]bool{}
	for _, o := range r.Owners {
		owns[o.Member] = true
		t.add(rowColour(api.Row{State: o.State}), fmt.Sprint(o.Rank), or(string(o.Member), "-"), o.State, or(o.Address, "-"), zone(o.Member))
	}
	for _, m := range r.Members {
		if !owns[m.Name] {
			t.add(plain, "-", string(m.Name), m.State, or(m.Address, "-"), zone(m.Name))
		}
	}
	t.write(w, p)
	if len(r.Addresses) > 0 {
		_, _ = fmt.Fprintln(w, "\nits addresses: "+strings.Join(r.Addresses, ", "))
	}
	_, _ = fmt.Fprintf(w, "\nas of index %d, %s\n", r.Index, currency(r.AgeMS))
}
