package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/secure"
)

func keygenCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:  "keygen",
		Usage: "make a good key for a cluster",
		Description: `Prints a random key. All nodes of a cluster share one: it goes into the file as
"key", or into a file of its own that "key_file" names.

Examples:
  flip keygen
  flip keygen --file /etc/flip/key   readable by its owner alone; never replaces one`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "file", Usage: "write it into the new file `PATH`"},
			jsonFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := atMost(c, 0); err != nil {
				return err
			}
			key := secure.NewKey()
			if path := c.String("file"); path != "" {
				return writeKey(path, key)
			}
			if c.Bool("json") {
				return printJSON(a.Stdout, map[string]string{"key": key})
			}
			_, err := fmt.Fprintln(a.Stdout, key)
			return err
		},
	}
}

// writeKey never replaces a file: a cluster whose key is lost has to be founded
// anew.
func writeKey(path, key string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return hinted{fmt.Errorf("write key: %s is there already", path), "a key in use must not be lost; choose another name"}
	}
	if err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	_, err = fmt.Fprintln(f, key)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("write key: %w", err)
	}
	return nil
}
