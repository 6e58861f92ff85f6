// Command table prints the results of the network lab; with -guarantees what
// they say of two holders, as docs/guarantees.md has it.
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
	print := results.Table
	if len(args) == 2 && args[0] == "-guarantees" {
		print, args = results.Guarantees, args[1:]
	}
	if len(args) != 1 {
		return fmt.Errorf("usage: table [-guarantees] RESULTS.json")
	}
	rows, err := results.Read(args[0])
	if err != nil {
		return err
	}
	return print(os.Stdout, rows)
}
