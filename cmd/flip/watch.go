package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
)

func watchCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:      "watch",
		Usage:     "what happens, as it happens",
		ArgsUsage: "[SYSTEM]",
		Description: `One line for each thing that happens in the cluster, until Ctrl-C: which item
goes where and why, who has acquired and who has let go of it, members that
come and go, changes of the configuration. With SYSTEM it leaves out the items
of all others. When the daemon is started again it goes on where it was.

Examples:
  flip watch                  what happens from now on
  flip watch ip               of one system's items, and of members
  flip watch --state          first how things are, then what happens
  flip watch --index 1234     what has happened after an index, as far as is kept
  flip watch --json | jq -c 'select(.kind == "moved") | [.system, .item, .to]'`,
		Flags: append(socketFlags(), &cli.BoolFlag{Name: "json", Usage: "print one JSON object a line"},
			&cli.Uint64Flag{Name: "index", Usage: "begin after the log index `N`, of an earlier answer or event"},
			&cli.BoolFlag{Name: "state", Usage: "begin with how things are"}),
		BashComplete: a.complete(""),
		Action:       a.watch,
	}
}

func (a *App) watch(c *cli.Context) error {
	if err := atMost(c, 1); err != nil {
		return err
	}
	from := client.WatchNow
	switch {
	case c.Bool("state") && c.IsSet("index"):
		return &usageError{what: "flip watch begins with the state or after an index, not both", hint: "`flip watch --help` has examples"}
	case c.Bool("state"):
		from = client.WatchState
	case c.IsSet("index"):
		from = fsm.Index(c.Uint64("index"))
	}
	cl, err := a.ask(c)
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	out := watchPrinter(a.Stdout, a.painter(), c.Bool("json"))
	connected, said := false, false
	for e, err := range cl.Watch(ctx, from, fsm.SystemID(c.Args().First())) {
		if err != nil {
			connected = connected || api.CodeOf(err) == api.CodeBroken
			if !connected || api.CodeOf(err) == api.CodeNotFound {
				return err
			}
			if !said { // once for each break, however long it takes
				a.explain(err)
			}
			said = true
			continue
		}
		connected, said = true, false
		if err := out(e); err != nil {
			return err
		}
	}
	return nil
}

// watchPrinter is how events are printed.
func watchPrinter(w io.Writer, p painter, asJSON bool) func(api.Event) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return func(e api.Event) error {
			if err := enc.Encode(e); err != nil {
				return fmt.Errorf("print event: %w", err)
			}
			return nil
		}
	}
	lines := &watchLines{widths: []int{len("15:04:05.000"), 6, 10, 12}}
	return func(e api.Event) error {
		if !lines.begun {
			lines.begun = true
			if err := lines.print(w, p, bold, "TIME", "INDEX", "KIND", "ITEM", "WHAT"); err != nil {
				return err
			}
		}
		return lines.event(w, p, e)
	}
}

// watchLines are aligned without knowing what is yet to come: a column is as wide
// as its widest cell so far.
type watchLines struct {
	begun  bool
	widths []int
}

func (l *watchLines) event(w io.Writer, p painter, e api.Event) error {
	when, index := "-", e.Index
	if e.AtMS > 0 {
		when = time.UnixMilli(e.AtMS).Format("15:04:05.000")
	}
	if e.Entry > 0 {
		index = e.Entry
	}
	return l.print(w, p, eventColour(e), when, number(uint64(index)), e.Kind, eventItem(e), e.Words)
}

func (l *watchLines) print(w io.Writer, p painter, colour string, cells ...string) error {
	var b strings.Builder
	for i, cell := range cells {
		cell = strings.NewReplacer("\n", " ", "\t", " ").Replace(cell)
		b.WriteString(cell)
		if i < len(l.widths) {
			n := utf8.RuneCountInString(cell)
			l.widths[i] = max(l.widths[i], n)
			b.WriteString(strings.Repeat(" ", l.widths[i]-n+2))
		}
	}
	if _, err := fmt.Fprintln(w, p.line(colour, strings.TrimRight(b.String(), " "))); err != nil {
		return fmt.Errorf("print event: %w", err)
	}
	return nil
}

func eventItem(e api.Event) string {
	switch {
	case e.Slot != nil:
		return string(e.System) + "/" + itemName(*e.Slot)
	case e.Item != "":
		return string(e.System) + "/" + itemName(api.Row{Item: e.Item, Rank: e.Rank})
	case e.System != "":
		return string(e.System)
	default:
		return or(string(e.Member), "-")
	}
}

func eventColour(e api.Event) string {
	switch {
	case e.Resync:
		return bold
	case e.Kind == fsm.KindDown, e.Kind == fsm.KindFailed, e.MemberState == api.MemberDown:
		return red
	case e.Slot != nil && e.Kind != api.KindGone:
		return rowColour(*e.Slot)
	case e.Kind == fsm.KindLeaving, e.Kind == fsm.KindForced, e.Kind == fsm.KindFenced:
		return yellow
	default:
		return plain
	}
}
