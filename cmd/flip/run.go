package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/config"
)

func runCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "be a node of the cluster",
		ArgsUsage: "[FILE]",
		Description: `Reads FILE (default ` + defaultFile + `), takes part in the cluster, and runs the hooks
of what this node owns. It logs to stderr and stays in the foreground.

SIGTERM or SIGINT hands everything over to the other nodes, releases it here and ends.
A second signal ends it at once; its guard then releases what may have one holder only.
SIGHUP has it read the certificates of tls again, which it also does by itself.

With --join it becomes a member of a cluster that runs. FILE need not name servers or
systems then: it takes from the cluster what that has agreed on, once it was added
there with ` + "`flip member add`" + `, and waits until it is. It notes that in its data
directory; from then on --join may stay or go.

Examples:
  flip run
  flip run --id flip1 --dir /tmp/cluster flip.json   # socket and data under /tmp/cluster
  flip run --join 10.0.0.1:2200 --id n4              # then, on any member:
                                                     # flip member add n4 10.0.0.4:2200`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "id", Usage: "this node's `ID` among the file's servers (default: the file's id, else the host name)"},
			&cli.StringFlag{Name: "join", Usage: "become a member of the cluster of which `HOST:PORT[,…]` are members"},
			&cli.StringFlag{Name: "dir", Usage: "`DIR` for socket and data; also $FLIP_DIR (default: " + defaultSocketDir + " and the file's data_dir)"},
			&cli.StringFlag{Name: "socket", Usage: "the control socket's `PATH`; also $FLIP_SOCKET"},
		},
		Action: a.run,
	}
}

// threadsPerCore halves the gaps between heartbeats when the process itself is
// busy: with as many threads as cores, 41 ms beside four spinning goroutines or a
// collection of 200 MB.
const threadsPerCore = 4

// moreThreads lets more goroutines run at one time than there are cores, unless
// the operator has said how many.
func moreThreads(said string) {
	if said == "" {
		runtime.GOMAXPROCS(threadsPerCore * runtime.NumCPU())
	}
}

// paths is where a node keeps what it keeps.
type paths struct {
	file, data, socket string
	without            string // see withoutVariable
}

func (a *App) run(c *cli.Context) error {
	if c.NArg() > 1 {
		return &usageError{what: "run takes one FILE", hint: "flip run --id ID FILE"}
	}
	name := defaultFile
	if c.NArg() == 1 {
		name = c.Args().First()
	}
	join, err := joinAddresses(c.String("join"))
	if err != nil {
		return err
	}
	from := origin{join: join}
	at := func(f *config.File) paths { return a.paths(c, name, f) }
	file, err := a.readNode(name, stringFlag(c, "id"), &from, at)
	if err != nil {
		return err
	}
	log := newLogger(a.Stderr, file.Node.LogLevel)
	for _, note := range file.Notes {
		log.Warn().Str("file", note.File).Int("line", note.Line).Str("key", note.Key).Str("hint", note.Hint).Msg(note.What)
	}
	moreThreads(a.Env("GOMAXPROCS"))
	ctx, release := signals(c.Context, file.Node.ExitOnStdinClose, a.Stdin)
	defer release()
	d, err := open(ctx, file, from, at(file), log)
	if errors.Is(err, errNotJoined) {
		log.Info().Str("cause", context.Cause(ctx).Error()).Msg("flip has ended before this node was added to a cluster")
		return nil
	}
	if err != nil {
		return err
	}
	return d.Run(ctx)
}

// paths follows --dir, else the file, else the system's own directories. Each
// id has a data directory of its own, so that one file serves every node.
func (a *App) paths(c *cli.Context, name string, file *config.File) paths {
	id := string(file.Node.ID)
	p := paths{file: name, data: filepath.Join(file.Node.DataDir, id), socket: filepath.Join(defaultSocketDir, id+socketSuffix), without: a.Env(withoutVariable)}
	if dir := a.dirFlag(c); dir != "" {
		p.data, p.socket = filepath.Join(dir, id), filepath.Join(dir, id+socketSuffix)
	} else if file.Node.Socket != "" {
		p.socket = file.Node.Socket
	}
	if s := stringFlag(c, "socket"); s != "" {
		p.socket = s
	} else if s := a.Env("FLIP_SOCKET"); s != "" && a.dirFlag(c) == "" {
		p.socket = s
	}
	return p
}

var errSignal = errors.New("told to stop")

// signals ends the context it returns on the first signal that asks for a stop;
// from then on a second one ends the process as if nobody listened.
func signals(parent context.Context, onClose bool, stdin interface{ Read([]byte) (int, error) }) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	seen := make(chan os.Signal, 1)
	signal.Notify(seen, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	go func() {
		select {
		case s := <-seen:
			signal.Stop(seen)
			cancel(fmt.Errorf("%w: %s", errSignal, s))
		case <-ctx.Done():
			signal.Stop(seen)
		}
	}()
	if onClose {
		go untilClosed(stdin, cancel)
	}
	return ctx, func() { cancel(context.Canceled) }
}

// untilClosed reads stdin to its end: a supervisor that dies closes it. The
// goroutine ends with the process if nobody does.
func untilClosed(stdin interface{ Read([]byte) (int, error) }, cancel context.CancelCauseFunc) {
	var buf [512]byte
	for {
		if _, err := stdin.Read(buf[:]); err != nil {
			cancel(fmt.Errorf("%w: stdin was closed", errSignal))
			return
		}
	}
}
