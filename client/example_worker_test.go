package client_test

import (
	"context"
	"fmt"
	"log"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
)

// A sharded worker: of the partitions of a system each is worked on by one of all the
// processes on all members, at any time. It ends in order on SIGTERM.
func ExampleClient_Claim() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c := client.New("/run/flip/n1.sock")
	defer c.Close()
	w := &worker{work: func(ctx context.Context, partition fsm.ItemID, token fsm.Token) {
		<-ctx.Done() // take jobs of the partition, and hand token to the store
	}}
	if err := w.run(ctx, c, "jobs"); err != nil {
		log.Print(err)
	}
}

// worker works on what it is given.
type worker struct {
	// work works on a partition until ctx ends.
	work func(ctx context.Context, partition fsm.ItemID, token fsm.Token)
	stop map[fsm.ItemID]func() // ends the work, and waits until it has ended
}

func (w *worker) run(ctx context.Context, c *client.Client, system fsm.SystemID) error {
	own, err := c.Claim(ctx, system, client.ClaimOptions{Name: "worker"})
	if err != nil {
		return err
	}
	w.stop = map[fsm.ItemID]func(){}
	for e, err := range own.Watch(ctx) {
		switch {
		case err != nil:
			log.Print(err) // it is tried again; what this program has it has
		case e.Kind == client.Acquire:
			w.begin(e.Item, e.Token)
			own.Ack(e)
		case e.Kind == client.Release:
			// Letting go may take its time; the others need not wait for it.
			end := w.stop[e.Item]
			delete(w.stop, e.Item)
			go func() {
				end()
				own.Ack(e)
			}()
		}
	}
	for _, end := range w.stop {
		end()
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return own.Close(last)
}

func (w *worker) begin(partition fsm.ItemID, token fsm.Token) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.work(ctx, partition, token) })
	w.stop[partition] = func() {
		cancel()
		wg.Wait()
	}
}

func TestExampleWorker(t *testing.T) {
	d := newDaemon(t)
	said := make(chan string, 100)
	w := &worker{work: func(ctx context.Context, partition fsm.ItemID, token fsm.Token) {
		said <- fmt.Sprintf("begins %s under %d", partition, token)
		<-ctx.Done()
		said <- "ends " + string(partition)
	}}
	says := func(want string) {
		t.Helper()
		select {
		case got := <-said:
			if got != want {
				t.Errorf("the worker %s, want %s", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("the worker does not say that it %s", want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := client.New(d.socket)
	defer c.Close()
	done := make(chan error, 1)
	go func() { done <- w.run(ctx, c, "jobs") }()
	d.tell <- api.ProgramEvent{Kind: api.ProgramAcquire, Seq: 1, Item: "3", Token: 7, AtMostOne: true}
	says("begins 3 under 7")
	d.acked(1)
	d.tell <- api.ProgramEvent{Kind: api.ProgramAcquire, Seq: 2, Item: "5", Token: 8, AtMostOne: true}
	says("begins 5 under 8")
	d.tell <- api.ProgramEvent{Kind: api.ProgramRelease, Seq: 3, Item: "3", Token: 7}
	says("ends 3")
	d.acked(3)
	cancel()
	says("ends 5")
	if err := <-done; err != nil {
		t.Error(err)
	}
	d.become("left", func() bool { return d.acks[len(d.acks)-1].Leave })
}
