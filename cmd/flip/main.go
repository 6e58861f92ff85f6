// Command flip is the daemon and the tool in one binary; `flip help` lists what
// it does.
package main

import (
	"context"
	"os"
)

// main only maps what a command returned to the process's exit code.
func main() {
	app := &App{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.Getenv}
	os.Exit(app.Run(context.Background(), os.Args))
}
