package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/config"
)

// defaultFile is where the configuration is looked for.
const defaultFile = "/etc/flip/flip.json"

func checkCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "what flip understands of a file, or all that is wrong with it",
		ArgsUsage: "[FILE]",
		Description: `Reads FILE (` + defaultFile + `) as ` + "`flip run`" + ` would, and touches nothing. Exits 1
when there is anything wrong, with every problem: file, line, column, key, what
is wrong, and the nearest valid thing.

Examples:
  flip check flip.json
  flip check flip.json --id n1   as the node n1 would read it
  flip check n4.json --join      as that of a node that joins a cluster
  flip check flip.json --json    for an editor or a deployment`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "id", Usage: "read it as the node `ID`"},
			&cli.BoolFlag{Name: "join", Usage: "read it as the file of a node that joins a cluster: it need not name servers"},
			jsonFlag(),
		},
		Action: a.check,
	}
}

// checked is what `flip check --json` prints.
type checked struct {
	File        string          `json:"file"`
	OK          bool            `json:"ok"`
	Problems    config.Problems `json:"problems"`
	Notes       config.Problems `json:"notes"`
	Description string          `json:"description,omitempty"`
}

func (a *App) check(c *cli.Context) error {
	if err := atMost(c, 1); err != nil {
		return err
	}
	path := or(c.Args().First(), defaultFile)
	f, err := readFileAs(path, stringFlag(c, "id"), c.Bool("join"))
	var problems config.Problems
	if err != nil && !errors.As(err, &problems) {
		return err
	}
	if c.Bool("json") {
		return a.checkJSON(path, f, problems)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(a.Stdout, config.Describe(f))
	return err
}

func (a *App) checkJSON(path string, f *config.File, problems config.Problems) error {
	out := checked{File: path, OK: len(problems) == 0, Problems: append(config.Problems{}, problems...), Notes: config.Problems{}}
	if f != nil {
		out.Notes = append(out.Notes, f.Notes...)
		out.Description = config.Describe(f)
	}
	if err := printJSON(a.Stdout, out); err != nil {
		return err
	}
	if !out.OK {
		return verdict(exitFailed)
	}
	return nil
}

// readFile reads a configuration file as the node id, "" for the file's own id
// or this host's name.
func readFile(path, id string) (*config.File, error) { return readFileAs(path, id, false) }

// readFileAs is readFile for a node that joins a cluster, or not.
func readFileAs(path, id string, joining bool) (*config.File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, hinted{fmt.Errorf("read configuration: %w", err), "name the file: flip check FILE, flip run FILE; the default is " + defaultFile}
	}
	host, err := os.Hostname()
	if err != nil {
		host = "" // the file's id or --id must do
	}
	return config.Parse(path, data, config.Overrides{ID: id, Hostname: host, Joining: joining})
}
