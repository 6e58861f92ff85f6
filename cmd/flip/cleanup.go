package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

func cleanupCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:      "cleanup",
		Usage:     "forget what failed, so that it is tried again",
		ArgsUsage: "[SYSTEM [ITEM]]",
		Description: `A member on which an item failed is passed by until the failure is forgotten: by
this command, when its daemon is started anew, or when the item works there after
all. Mend the cause first: ` + "`flip status`" + ` has it.

Examples:
  flip cleanup            everything
  flip cleanup ip         what failed of one system
  flip cleanup ip web     of one item`,
		Flags:        append(socketFlags(), jsonFlag()),
		BashComplete: a.complete(""),
		Action:       a.cleanup,
	}
}

func (a *App) cleanup(c *cli.Context) error {
	if err := atMost(c, 2); err != nil {
		return err
	}
	cl, err := a.ask(c)
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(c.Context, changeTimeout)
	defer cancel()
	done, err := cl.Cleanup(ctx, api.Cleanup{System: fsm.SystemID(c.Args().Get(0)), Item: fsm.ItemID(c.Args().Get(1))})
	switch {
	case err != nil:
		return err
	case c.Bool("json"):
		return printJSON(a.Stdout, done)
	case len(done.Forgotten) == 0:
		_, _ = fmt.Fprintln(a.Stdout, "Nothing to forget.")
		return nil
	}
	_, _ = fmt.Fprintln(a.Stdout, "Forgotten:")
	t := newTable("SYSTEM", "ITEM", "MEMBER", "ERROR")
	for _, f := range done.Forgotten {
		name := itemName(api.Row{Item: f.Item, Rank: f.Rank})
		t.add(plain, string(f.System), name, string(f.Member), or(f.Error, "-"))
	}
	t.write(a.Stdout, a.painter())
	return nil
}
