package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// completeWord, as the first argument, is how the completion scripts ask.
const completeWord = "__complete"

// completionFlag is how the scripts of older versions ask.
const completionFlag = "--generate-bash-completion"

// suggestion is a question of a completion script: what may stand in place of
// current, after the words before it.
type suggestion struct {
	before  []string
	current string
	explain bool // with what the words mean, behind a tab
}

// suggestionOf recognizes such a question. The scripts of older versions ask by a
// flag at the end, and hand the word under the cursor over only when it is a flag.
func suggestionOf(args []string) (s suggestion, asked bool) {
	n := len(args) - 1
	switch {
	case n >= 1 && args[1] == completeWord:
		s.explain = true
		if n > 1 {
			s.before, s.current = args[2:n], args[n]
		}
	case n >= 1 && args[n] == completionFlag:
		s.before = args[1:n]
		if last := len(s.before) - 1; last >= 0 && strings.HasPrefix(s.before[last], "-") {
			s.before, s.current = s.before[:last], s.before[last]
		}
	default:
		return s, false
	}
	return s, true
}

// suggest answers a question. It reads the command line by itself and never runs
// what stands there.
func (a *App) suggest(ctx context.Context, app *cli.App, s suggestion) {
	app.Setup() // adds help
	line := readWords(app.Flags, s.before, false)
	c := cli.NewContext(app, parsedFlags(app.Flags, line.flags), nil)
	c.Context = ctx
	flags, commands := app.Flags, app.Commands
	var cmd *cli.Command
	for len(commands) > 0 && len(line.rest) > 0 {
		at := slices.IndexFunc(commands, func(sub *cli.Command) bool { return sub.HasName(line.rest[0]) })
		if at < 0 {
			return
		}
		cmd = commands[at]
		if cmd.Name == "help" {
			a.suggestCommands(app.Commands, s)
			return
		}
		flags, commands = cmd.Flags, cmd.Subcommands
		line = readWords(flags, line.rest[1:], len(commands) == 0)
		c = cli.NewContext(app, parsedFlags(flags, append(line.flags, append([]string{"--"}, line.rest...)...)), c)
		c.Command = cmd
	}
	name, value, given := strings.Cut(strings.TrimLeft(s.current, "-"), "=")
	switch {
	case line.wants != "":
		a.completeValue(ctx, c, line.wants, s.current)
	case line.closed:
		a.suggestArgs(cmd, c)
	case strings.HasPrefix(s.current, "-") && given:
		a.suggestAssigned(ctx, c, s.current[:len(s.current)-len(value)], name, value)
	case strings.HasPrefix(s.current, "-"):
		a.suggestFlags(flags, s)
	case len(commands) > 0:
		a.suggestCommands(commands, s)
	default:
		a.suggestArgs(cmd, c)
	}
}

func (a *App) suggestArgs(cmd *cli.Command, c *cli.Context) {
	if cmd != nil && cmd.BashComplete != nil {
		cmd.BashComplete(c)
	}
}

// suggestAssigned is for --flag=value: the words have all of it.
func (a *App) suggestAssigned(ctx context.Context, c *cli.Context, prefix, name, value string) {
	var out strings.Builder
	inner := *a
	inner.Stdout = &out
	inner.completeValue(ctx, c, name, value)
	for word := range strings.Lines(out.String()) {
		_, _ = fmt.Fprint(a.Stdout, prefix+word)
	}
}

func (a *App) suggestCommands(commands []*cli.Command, s suggestion) {
	for _, cmd := range commands {
		if !cmd.Hidden {
			a.offerWord(cmd.Name, cmd.Usage, s)
		}
	}
}

func (a *App) suggestFlags(flags []cli.Flag, s suggestion) {
	help := false
	for _, f := range flags {
		o := optionOf(f)
		help = help || slices.Contains(o.names, "help")
		used := slices.ContainsFunc(o.names, func(n string) bool { return slices.Contains(s.before, dashed(n)) })
		if !o.hidden && !used {
			a.offerWord(dashed(o.names[0]), o.usage, s)
		}
	}
	if !help {
		a.offerWord("--help", "show help", s)
	}
}

func (a *App) offerWord(word, about string, s suggestion) {
	if s.explain && about != "" {
		word += "\t" + about
	}
	_, _ = fmt.Fprintln(a.Stdout, word)
}

// words are part of a command line, sorted.
type words struct {
	flags, rest []string
	wants       string // the last flag, whose value is missing
	closed      bool   // behind a --: no more flags
}

// readWords ends at the first word that is no flag, unless flags and arguments mix.
func readWords(flags []cli.Flag, args []string, mixed bool) (w words) {
	for i := 0; i < len(args); {
		switch {
		case args[i] == "--":
			w.rest, w.closed = append(w.rest, args[i+1:]...), true
			return w
		case !isFlag(args[i]) && !mixed:
			w.rest = args[i:]
			return w
		case !isFlag(args[i]):
			w.rest = append(w.rest, args[i])
			i++
		default:
			n := width(flags, args, i)
			if i+n == len(args) && width(flags, slices.Concat(args, []string{""}), i) > n {
				w.wants = strings.TrimLeft(args[i], "-")
				return w
			}
			w.flags = append(w.flags, args[i:i+n]...)
			i += n
		}
	}
	return w
}

// parsedFlags takes what it can: a line that is being typed need not be right.
func parsedFlags(flags []cli.Flag, args []string) *flag.FlagSet {
	set := flag.NewFlagSet("", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, f := range flags {
		_ = f.Apply(set)
	}
	_ = set.Parse(args)
	return set
}
