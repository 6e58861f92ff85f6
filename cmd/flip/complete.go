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
		switch {
		case flagWanted():
			cli.DefaultCompleteWithFlags(c.Command)(c)
		case verb != "" && len(args) == 0:
			_, _ = fmt.Fprintln(a.Stdout, verb)
		default:
			a.offer(a.namesAfter(c.Context, c, args[min(len(args), len(strings.Fields(verb))):]))
		}
	}
}

func (a *App) completeMaintenance(c *cli.Context) {
	switch {
	case flagWanted():
		cli.DefaultCompleteWithFlags(c.Command)(c)
	case c.NArg() == 0:
		a.offer([]string{"on", "off"})
	case c.NArg() == 1:
		a.offer(a.namesAfter(c.Context, c, nil))
	}
}

// flagWanted reports whether the word under the cursor begins a flag: the scripts
// hand it over only then.
func flagWanted() bool {
	return len(os.Args) > 2 && strings.HasPrefix(os.Args[len(os.Args)-2], "-")
}

func (a *App) offer(words []string) {
	for _, w := range words {
		_, _ = fmt.Fprintln(a.Stdout, w)
	}
}

// namesAfter are the systems, or after a system its items. A daemon that does not
// answer offers nothing.
func (a *App) namesAfter(ctx context.Context, c *cli.Context, before []string) []string {
	if len(before) > 1 {
		return nil
	}
	cl, err := a.ask(c)
	if err != nil {
		return nil
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	var names []string
	if len(before) == 0 {
		st, _ := cl.Status(ctx, false)
		for _, s := range st.Systems {
			names = append(names, string(s.Name))
		}
		return names
	}
	var as api.Assign
	if as, err = cl.Assign(ctx, fsm.SystemID(before[0]), false); err != nil {
		return nil
	}
	for _, r := range as.Rows {
		names = append(names, string(r.Item))
	}
	return slices.Compact(names)
}
