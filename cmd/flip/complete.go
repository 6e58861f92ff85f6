package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// completeTimeout is how long a person waits for the words that may come next.
const completeTimeout = 500 * time.Millisecond

// complete offers the verb, unless it is "", then systems, then the items of the
// one chosen.
func (a *App) complete(verb string) cli.BashCompleteFunc {
	return func(c *cli.Context) {
		args := c.Args().Slice()
		if verb != "" && len(args) == 0 {
			a.offer([]string{verb})
			return
		}
		a.offer(a.namesAfter(c.Context, c, args[min(len(args), len(strings.Fields(verb))):]))
	}
}

func (a *App) completeMaintenance(c *cli.Context) {
	switch c.NArg() {
	case 0:
		a.offer([]string{"on", "off"})
	case 1:
		a.offer(a.systemNames(c.Context, c))
	}
}

func (a *App) offer(words []string) {
	for _, w := range words {
		_, _ = fmt.Fprintln(a.Stdout, w)
	}
}

// completeValue offers what a flag may be set to; for any other the shell offers
// files.
func (a *App) completeValue(ctx context.Context, c *cli.Context, flag, current string) {
	var names []string
	switch flag {
	case "id":
		names = a.socketIDs(c)
	case "timing":
		names = []string{timingSample, timingLAN}
	case "role":
		names = []string{fsm.RoleVoter.String(), fsm.RoleArbiter.String(), fsm.RoleAgent.String()}
	case "context":
		names = a.contextNames()
	case "fail", "drain", "add":
		for _, m := range a.statusSoon(ctx, c).Members {
			names = append(names, string(m.Name))
		}
	case "system", "systems":
		// One of several, parted by commas.
		before := current[:strings.LastIndex(current, ",")+1]
		for _, name := range a.systemNames(ctx, c) {
			names = append(names, before+name)
		}
	}
	a.offer(names)
}

// contextNames are the contexts; a file that cannot be read offers none.
func (a *App) contextNames() []string {
	f, err := a.contexts()
	if err != nil {
		return nil
	}
	return f.names()
}

// namesAfter are the systems, or after a system its items.
func (a *App) namesAfter(ctx context.Context, c *cli.Context, before []string) []string {
	switch len(before) {
	case 0:
		return a.systemNames(ctx, c)
	case 1:
		return a.itemNames(ctx, c, before[0])
	default:
		return nil
	}
}

func (a *App) systemNames(ctx context.Context, c *cli.Context) (names []string) {
	for _, s := range a.statusSoon(ctx, c).Systems {
		names = append(names, string(s.Name))
	}
	return names
}

// statusSoon is empty when no daemon answers soon.
func (a *App) statusSoon(ctx context.Context, c *cli.Context) (st api.Status) {
	cl, err := a.ask(c)
	if err != nil {
		return st
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	st, _ = cl.Status(ctx, false)
	return st
}

func (a *App) itemNames(ctx context.Context, c *cli.Context, system string) (names []string) {
	cl, err := a.ask(c)
	if err != nil {
		return nil
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	as, err := cl.Assign(ctx, fsm.SystemID(system), false)
	if err != nil {
		return nil
	}
	for _, r := range as.Rows {
		names = append(names, string(r.Item))
	}
	return slices.Compact(names)
}

// socketIDs are the daemons of this machine.
func (a *App) socketIDs(c *cli.Context) (ids []string) {
	entries, err := os.ReadDir(or(a.dirFlag(c), defaultSocketDir))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), socketSuffix); ok {
			ids = append(ids, id)
		}
	}
	return ids
}
