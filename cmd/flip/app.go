package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/config"
)

// The exit codes of every command; `status --check` has its own, in package api.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNoDaemon = 3
	exitNoLeader = 4
	// exitSuperseded is what a daemon ends with whose name another machine has
	// taken: started again it would take the name back, and so on for ever.
	exitSuperseded = 5
)

// answerTimeout bounds a question to the daemon of this machine. It answers
// from memory, except to --consistent: a commit, which gives up after 2 s.
const answerTimeout = 5 * time.Second

// App is the program with all that it takes from outside, so that a test can
// run it in its own process.
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Env            func(string) string
	// Self is how to start this program once more; nil: os.Executable.
	Self []string
}

// Run runs one command line and returns its exit code; what went wrong is on
// Stderr by then.
func (a *App) Run(ctx context.Context, args []string) int {
	app := a.cli()
	if s, asked := suggestionOf(args); asked {
		a.suggest(ctx, app, s)
		return exitOK
	}
	err := app.RunContext(ctx, permute(app, args))
	a.explain(err)
	return exitCode(err)
}

func (a *App) cli() *cli.App {
	app := &cli.App{
		Name:  "flip",
		Usage: "decides which node of a cluster holds which piece of data, and makes it true",
		Description: `Examples:
  flip demo                       watch a takeover on this machine, no root needed
  flip check /etc/flip/flip.json  what flip understands of a file, or all that is wrong with it
  flip run                        be a node of the cluster
  flip status                     how things are, what is wrong and what to do about it
  flip assign                     who has what
  flip watch                      what happens, as it happens`,
		Flags:     socketFlags(),
		Reader:    a.Stdin,
		Writer:    a.Stdout,
		ErrWriter: a.Stderr,
		Commands: []*cli.Command{
			runCommand(a), statusCommand(a), assignCommand(a), watchCommand(a), routeCommand(a), whyCommand(a), planCommand(a), checkCommand(a),
			memberCommand(a), itemCommand(a), cleanupCommand(a), maintenanceCommand(a), doctorCommand(a), guardCommand(a), keyCommand(a), deriveCommand(a),
			contextCommand(a), demoCommand(a), keygenCommand(a), versionCommand(a), completionCommand(a), manCommand(a),
		},
		Action:       a.noCommand,
		HideVersion:  true,
		OnUsageError: wrongFlag,
		// Exit codes are Run's business.
		ExitErrHandler: func(*cli.Context, error) {},
	}
	for _, cmd := range app.Commands {
		cmd.OnUsageError = wrongFlag
		cmd.HideHelpCommand = true // a system may be called "help"
		cmd.Before = onlyHere(cmd.Name)
	}
	return app
}

// noCommand answers a command line that names no command, or an unknown one.
func (a *App) noCommand(c *cli.Context) error {
	if !c.Args().Present() {
		c.App.Writer = a.Stderr
		_ = cli.ShowAppHelp(c)
		return &usageError{}
	}
	name := c.Args().First()
	return &usageError{
		what: fmt.Sprintf("there is no command %q", name),
		hint: cli.SuggestCommand(c.App.Commands, name) + " `flip help` lists all",
	}
}

// usageError is a command line that means nothing; an empty one has been
// explained already.
type usageError struct{ what, hint string }

func (e *usageError) Error() string { return e.what }

// verdict is an exit code whose reasons are on Stdout.
type verdict int

func (v verdict) Error() string { return fmt.Sprintf("exit code %d", int(v)) }

// hinted is an error with what to do about it.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

func exitCode(err error) int {
	var usage *usageError
	var v verdict
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &v):
		return int(v)
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errSuperseded):
		return exitSuperseded
	case api.CodeOf(err) == api.CodeNoDaemon:
		return exitNoDaemon
	case api.CodeOf(err) == api.CodeNoLeader:
		return exitNoLeader
	default:
		return exitFailed
	}
}

// explain writes an error and its hint to Stderr.
func (a *App) explain(err error) {
	var (
		usage    *usageError
		v        verdict
		known    *api.Error
		problems config.Problems
		hint     hinted
	)
	switch {
	case err == nil, errors.As(err, &v):
	case errors.As(err, &usage):
		a.complain(usage.what, usage.hint)
	case errors.As(err, &problems):
		// Each line begins with its file and line already, for an editor.
		_, _ = fmt.Fprintln(a.Stderr, problems.Error())
		if errors.As(err, &hint) {
			_, _ = fmt.Fprintln(a.Stderr, "  "+hint.hint)
		}
	case errors.As(err, &known):
		a.complain(err.Error(), known.Hint)
	case errors.As(err, &hint):
		a.complain(err.Error(), hint.hint)
	default:
		a.complain(err.Error(), "")
	}
}

func (a *App) complain(what, hint string) {
	if what == "" {
		return
	}
	_, _ = fmt.Fprintln(a.Stderr, "flip: "+what)
	if hint = strings.TrimSpace(hint); hint != "" {
		_, _ = fmt.Fprintln(a.Stderr, "  "+hint)
	}
}

// self is the command line that starts this program.
func (a *App) self() ([]string, error) {
	if a.Self != nil {
		return a.Self, nil
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return []string{exe}, nil
}
