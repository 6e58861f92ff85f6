package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
)

func maintenanceCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:      "maintenance",
		Usage:     "leave a system, or all, as it is for a while",
		ArgsUsage: "[on|off [SYSTEM]]",
		Description: `Under maintenance nothing of a system is moved, started again or repaired: you
work on its nodes and hooks without flip working against you. Leases go on: a node
that is lost lets go of what is at-most-one, and nobody takes it. When maintenance
ends, all is done that was left. ` + "`flip status`" + ` reminds you of it.

Examples:
  flip maintenance           what is under maintenance, and since when
  flip maintenance on ip     one system
  flip maintenance off ip
  flip maintenance on        every system`,
		Flags:        append(socketFlags(), jsonFlag(), consistentFlag()),
		BashComplete: a.completeMaintenance,
		Action:       a.maintenance,
	}
}

func (a *App) maintenance(c *cli.Context) error {
	word := c.Args().First()
	if word != "" && word != "on" && word != "off" {
		return &usageError{what: "maintenance on or off? not " + word, hint: "flip maintenance [on|off [SYSTEM]]"}
	}
	if err := atMost(c, 2); err != nil {
		return err
	}
	cl, err := a.ask(c)
	if err != nil {
		return err
	}
	defer cl.Close()
	if word == "" {
		return a.showMaintenance(c, cl)
	}
	ctx, cancel := context.WithTimeout(c.Context, changeTimeout)
	defer cancel()
	system := fsm.SystemID(c.Args().Get(1))
	done, err := cl.Maintain(ctx, api.Maintain{System: system, On: word == "on"})
	switch {
	case err != nil:
		return err
	case c.Bool("json"):
		return printJSON(a.Stdout, done)
	}
	which := "Every system"
	if system != "" {
		which = "System " + string(system)
	}
	if word == "on" {
		_, _ = fmt.Fprintf(a.Stdout, "%s is under maintenance: leases go on, nothing is moved or repaired.\n", which)
		return nil
	}
	_, _ = fmt.Fprintf(a.Stdout, "The maintenance of %s has ended: what was left is done now.\n", lowered(system))
	for _, m := range done.Maintenance {
		_, _ = fmt.Fprintf(a.Stdout, "Still: %s.\n", m.Words)
	}
	return nil
}

func lowered(system fsm.SystemID) string {
	if system == "" {
		return "all systems as one"
	}
	return "system " + string(system)
}

func (a *App) showMaintenance(c *cli.Context, cl *client.Client) error {
	ctx, cancel := context.WithTimeout(c.Context, patience(c.Bool("consistent")))
	defer cancel()
	st, err := cl.Status(ctx, c.Bool("consistent"))
	if err != nil {
		return err
	}
	list := append([]api.Maintenance{}, st.Cluster.Maintenance...)
	if c.Bool("json") {
		return printJSON(a.Stdout, api.Maintained{Stamp: st.Stamp, Maintenance: list})
	}
	if len(list) == 0 {
		_, _ = fmt.Fprintln(a.Stdout, "Nothing is under maintenance.")
		return nil
	}
	t := newTable("SYSTEM", "SINCE")
	for _, m := range list {
		since := "longer ago than the cluster remembers"
		if m.SinceMS > 0 {
			since = time.UnixMilli(m.SinceMS).Format("2006-01-02 15:04:05 MST")
		}
		t.add(yellow, or(string(m.System), "all"), since)
	}
	t.write(a.Stdout, a.painter())
	return nil
}
