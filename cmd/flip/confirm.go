package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/urfave/cli/v2"
)

func yesFlag() cli.Flag {
	return &cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask: needed where nobody can be asked"}
}

// confirm asks before what cannot be taken back, unless --yes has answered. A
// script has to say --yes: silence is no answer.
func (a *App) confirm(c *cli.Context, question string) error {
	if c.Bool("yes") {
		return nil
	}
	if !isTerminal(a.Stdin) {
		return &usageError{what: "this has to be confirmed, and there is no terminal to ask on", hint: "add --yes once you are sure"}
	}
	_, _ = fmt.Fprint(a.Stdout, question+" [y/N] ")
	if !saidYes(a.Stdin) {
		_, _ = fmt.Fprintln(a.Stdout, "Nothing was done.")
		return verdict(exitFailed)
	}
	return nil
}

// saidYes reads one line; all but a clear yes is a no.
func saidYes(in io.Reader) bool {
	line, _ := bufio.NewReader(in).ReadString('\n') // what came before an error counts
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true
	default:
		return false
	}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
