// Command agents plays many agents in one process: each with a socket, an epoch, a
// lease and a stream of its own, all of it the code that `flip run` has. What an agent
// does to its machine alone is left out: it holds at once whatever it is to hold.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/flip-ha/flip/e2e/swarm"
)

func main() {
	if err := run(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

// run plays what the first line says, and does what the further ones order, until
// there are none any more.
func run(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	orders := json.NewDecoder(bufio.NewReader(in))
	answers := json.NewEncoder(out)
	var cfg swarm.Config
	if err := orders.Decode(&cfg); err != nil {
		return fmt.Errorf("read whom to play: %w", err)
	}
	h, err := newHerd(cfg)
	if err != nil {
		return err
	}
	if err := answers.Encode(struct{}{}); err != nil {
		return fmt.Errorf("say that all are there: %w", err)
	}
	go h.run(ctx)
	for {
		var o swarm.Order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read an order: %w", err)
		}
		answer, err := h.obey(o)
		if err != nil {
			return err
		}
		if err := answers.Encode(answer); err != nil {
			return fmt.Errorf("answer %s: %w", o.Do, err)
		}
	}
}
