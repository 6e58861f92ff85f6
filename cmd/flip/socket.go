package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
)

// defaultSocketDir holds ID.sock of every daemon of this machine.
const defaultSocketDir = "/run/flip"

const socketSuffix = ".sock"

// socketFlags says which daemon is meant; before or after the command.
func socketFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "socket", Usage: "the daemon's unix socket `PATH`; also $FLIP_SOCKET"},
		&cli.StringFlag{Name: "dir", Usage: "`DIR` with sockets and data of the daemons; also $FLIP_DIR (default: " + defaultSocketDir + " and /var/lib/flip)"},
		&cli.StringFlag{Name: "id", Usage: "the node `ID`, where one machine runs several"},
		&cli.StringFlag{Name: "context", Usage: "the cluster `NAME`, as `flip context` knows it; also $FLIP_CONTEXT"},
	}, addressFlags()...)
}

// addressFlags are for a cluster that this machine need not be part of.
func addressFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "address", Usage: "ask the server at `HOST:PORT`, or one of several (HOST:PORT,…), instead of this machine's daemon; also $FLIP_ADDRESS"},
		&cli.StringFlag{Name: "key-file", Usage: "the `FILE` with the cluster's key, for --address; also $FLIP_KEY_FILE"},
		&cli.StringFlag{Name: "cert", Usage: "the `FILE` with your certificate, where the nodes have certificates of their own (`tls`); also $FLIP_CERT"},
		&cli.StringFlag{Name: "tls-key", Usage: "the `FILE` with the private key of --cert; also $FLIP_TLS_KEY"},
		&cli.StringFlag{Name: "ca", Usage: "the `FILE` with the authority of the nodes' certificates, for --cert; also $FLIP_CA"},
	}
}

func jsonFlag() cli.Flag { return &cli.BoolFlag{Name: "json", Usage: "print JSON"} }

func consistentFlag() cli.Flag {
	return &cli.BoolFlag{Name: "consistent", Usage: "ask the leader first; exit 4 when there is none"}
}

// stringFlag is a flag's value wherever it was set: at the command or, before
// it, at flip itself. cli's own lookup stops at the command, set or not.
func stringFlag(c *cli.Context, name string) string {
	for _, level := range c.Lineage() {
		if level.Command != nil && slices.Contains(level.LocalFlagNames(), name) {
			return level.String(name)
		}
	}
	return ""
}

// dirFlag is --dir or $FLIP_DIR; "" means the system's own directories.
func (a *App) dirFlag(c *cli.Context) string {
	if dir := stringFlag(c, "dir"); dir != "" {
		return dir
	}
	return a.Env("FLIP_DIR")
}

// socket finds the daemon that a command means. What the command line says
// counts before the environment.
func (a *App) socket(c *cli.Context) (string, error) {
	if s := stringFlag(c, "socket"); s != "" {
		return s, nil
	}
	id, dir := stringFlag(c, "id"), stringFlag(c, "dir")
	if s := a.Env("FLIP_SOCKET"); s != "" && id == "" && dir == "" {
		return s, nil
	}
	if dir == "" {
		dir = a.Env("FLIP_DIR")
	}
	if dir == "" {
		dir = defaultSocketDir
	}
	if id != "" {
		return filepath.Join(dir, id+socketSuffix), nil
	}
	return onlySocket(dir)
}

func onlySocket(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look for sockets: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), socketSuffix); ok && id != "" && e.Type() == fs.ModeSocket {
			ids = append(ids, id)
		}
	}
	switch len(ids) {
	case 0:
		return "", &api.Error{
			Code: api.CodeNoDaemon, Message: "no daemon answers: there is no socket in " + dir,
			Hint: "start it: flip run; or say where it is with --dir or --socket",
		}
	case 1:
		return filepath.Join(dir, ids[0]+socketSuffix), nil
	default:
		return "", &usageError{
			what: fmt.Sprintf("%d daemons have a socket in %s: %s", len(ids), dir, strings.Join(ids, ", ")),
			hint: "choose one: --id " + ids[0],
		}
	}
}

// ask opens a client of the daemon, or the cluster, that is meant.
func (a *App) ask(c *cli.Context) (*client.Client, error) {
	far, err := a.target(c)
	switch {
	case err != nil:
		return nil, err
	case far != nil:
		return a.askFar(far)
	default:
		return a.askHere(c)
	}
}

// askHere opens a client of this machine's daemon, whatever else the environment
// and the contexts say.
func (a *App) askHere(c *cli.Context) (*client.Client, error) {
	socket, err := a.socket(c)
	if err != nil {
		return nil, err
	}
	return client.New(socket), nil
}
