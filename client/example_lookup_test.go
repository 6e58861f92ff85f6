package client_test

import (
	"context"
	"fmt"
	"log"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
)

// A program that only wants to know where keys are: it runs anywhere, claims nothing,
// and answers from its own copy.
func ExampleRouter() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := client.New("/run/flip/n1.sock")
	defer c.Close()
	r := client.NewRouter(c, "kv")
	go func() { log.Print(r.Run(ctx)) }()
	<-r.Ready()
	fmt.Println(where(r, "user:1"))
}

// where says who has a key, the primary first.
func where(r *client.Router, key string) string {
	owners, err := r.Owners(key)
	if err != nil {
		return err.Error()
	}
	var names []string
	for _, o := range owners {
		if o.Held {
			names = append(names, string(o.Member))
		}
	}
	if len(names) == 0 {
		return key + ": nobody"
	}
	return key + ": " + strings.Join(names, ", ")
}

func tokenText(t fsm.Token) string { return strconv.FormatUint(uint64(t), 10) }

// following is a Router that runs until the test ends, and knows how things are.
func following(t *testing.T, socket string) *client.Router {
	t.Helper()
	c := client.New(socket)
	r := client.NewRouter(c, "ring")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		c.Close()
	})
	select {
	case <-r.Ready():
	case <-time.After(10 * time.Second):
		t.Fatalf("the router is not ready: %v", r.Err())
	}
	return r
}

func TestExampleLookup(t *testing.T) {
	socket, give := client.Ring(t, 1)
	r := following(t, socket)
	if got := where(r, "user:1"); got != "user:1: nobody" {
		t.Error(got)
	}
	for changed := r.Changed(); where(r, "user:1") != "user:1: n2"; changed = r.Changed() {
		give("0", "n2")
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatal(where(r, "user:1"))
		}
	}
}
