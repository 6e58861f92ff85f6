package main

import (
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

var undefinedFlag = regexp.MustCompile(`flag provided but not defined: -+(\S+)`)

// wrongFlag turns what the flag parser says into a usage error with the nearest
// flag there is.
func wrongFlag(c *cli.Context, err error, _ bool) error {
	e := &usageError{what: strings.TrimPrefix(err.Error(), "flag provided but ")}
	flags, name := c.App.Flags, "flip"
	if c.Command != nil && c.Command.Name != "" && c.Command.Name != "flip" {
		flags, name = c.Command.Flags, "flip "+c.Command.Name
	}
	if m := undefinedFlag.FindStringSubmatch(err.Error()); m != nil {
		e.what = name + " has no flag " + dashed(m[1])
		e.hint = "Did you mean \"" + cli.SuggestFlag(flags, m[1], false) + "\"?"
	}
	e.hint = strings.TrimSpace(e.hint + " `" + name + " --help` shows its flags")
	return e
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// atMost refuses arguments that a command does not take.
func atMost(c *cli.Context, n int) error {
	if c.NArg() <= n {
		return nil
	}
	return &usageError{
		what: "flip " + c.Command.Name + " does not take the argument " + c.Args().Get(n),
		hint: "`flip " + c.Command.Name + " --help` shows what it takes",
	}
}

// permute moves a command's flags in front of its arguments, where the flag
// parser wants them, so that `flip assign ip --json` means what it says.
func permute(app *cli.App, args []string) []string {
	if len(args) == 0 {
		return args
	}
	at := 1
	for at < len(args) && isFlag(args[at]) {
		at += width(app.Flags, args, at)
	}
	if at >= len(args) {
		return args
	}
	cmd := app.Command(args[at])
	if cmd == nil {
		return args
	}
	var flags, rest []string
	for i := at + 1; i < len(args); {
		if args[i] == "--" {
			rest = append(rest, args[i+1:]...)
			break
		}
		n := 1
		if isFlag(args[i]) {
			n = width(cmd.Flags, args, i)
			flags = append(flags, args[i:i+n]...)
		} else {
			rest = append(rest, args[i])
		}
		i += n
	}
	out := slices.Concat(args[:at+1], flags)
	if len(rest) > 0 && cmd.Name != "help" {
		out = append(out, "--")
	}
	return append(out, rest...)
}

func isFlag(arg string) bool { return len(arg) > 1 && arg[0] == '-' && arg != "--" }

// width is how many arguments the flag at i takes up, itself included.
func width(flags []cli.Flag, args []string, i int) int {
	name := strings.TrimLeft(args[i], "-")
	if strings.Contains(name, "=") || i+1 >= len(args) {
		return 1
	}
	for _, f := range flags {
		takes, ok := f.(cli.DocGenerationFlag)
		if ok && takes.TakesValue() && slices.Contains(f.Names(), name) {
			return 2
		}
	}
	return 1
}
