// Command table prints the results of the network lab.
package main

import (
	"fmt"
	"os"

	"github.com/flip-ha/flip/e2e/results"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: table RESULTS.json")
	}
	rows, err := results.Read(args[0])
	if err != nil {
		return err
	}
	return results.Table(os.Stdout, rows)
}
