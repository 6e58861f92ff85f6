package client_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
)

// watched reads an Ownership's events one by one; failures to connect it passes by.
type watched struct {
	t    *testing.T
	next func() (client.ItemEvent, error, bool)
}

func watching(t *testing.T, own *client.Ownership) *watched {
	t.Helper()
	next, stop := iter.Pull2(own.Watch(t.Context()))
	t.Cleanup(stop)
	return &watched{t, next}
}

func (w *watched) gets(kind client.ItemKind, item string) client.ItemEvent {
	w.t.Helper()
	for {
		e, err, ok := w.next()
		if ok && err != nil {
			continue
		}
		if !ok || e.Kind != kind || string(e.Item) != item {
			w.t.Fatalf("got %+v, %v; want %s %s", e, ok, kind, item)
		}
		return e
	}
}

func claimed(t *testing.T, d *daemon) *client.Ownership {
	t.Helper()
	c := client.New(d.socket)
	t.Cleanup(c.Close)
	own, err := c.Claim(t.Context(), "s", client.ClaimOptions{Name: "tester"})
	if err != nil {
		t.Fatal(err)
	}
	if own.Member() != "n1" {
		t.Errorf("it is on %q", own.Member())
	}
	return own
}

// A claim goes on with another daemon, which is told what was read and what there is.
func TestClaimGoesOn(t *testing.T) {
	d := newDaemon(t)
	own := claimed(t, d)
	d.tell <- api.ProgramEvent{Kind: api.ProgramAcquire, Seq: 1, Item: "a", Token: 7, AtMostOne: true}
	d.tell <- api.ProgramEvent{Kind: api.ProgramAcquire, Seq: 2, Item: "b", Token: 8, AtMostOne: true}
	w := watching(t, own)
	own.Ack(w.gets(client.Acquire, "a"))
	w.gets(client.Acquire, "b")
	d.acked(1)
	d.end()
	d.start()
	// Told once more, and not told on; then something new.
	d.tell <- api.ProgramEvent{Kind: api.ProgramAcquire, Seq: 2, Item: "b", Token: 8, AtMostOne: true}
	d.tell <- api.ProgramEvent{Kind: api.ProgramRelease, Seq: 3, Item: "a", Token: 7}
	e := w.gets(client.Release, "a")
	d.mu.Lock()
	first, again := d.claims[0], d.claims[len(d.claims)-1]
	d.mu.Unlock()
	if first.Session != again.Session || first.Seq != 0 || again.Seq != 2 || again.Name != "tester" || !slices.Equal(again.Items, []api.ProgramItem{
		{Item: "a", Token: 7, Seq: 1, Taken: true}, {Item: "b", Token: 8, Seq: 2},
	}) {
		t.Errorf("claimed first %+v, then %+v", first, again)
	}
	own.Ack(e)
	d.acked(3)
}

// When nothing more is heard the client tells the release of what is at-most-one, and
// of nothing else.
func TestLeaseEnds(t *testing.T) {
	d := newDaemon(t)
	d.leaseMS = 200
	own := claimed(t, d)
	d.tell <- api.ProgramEvent{Kind: api.ProgramAcquire, Seq: 1, Item: "a", Token: 7, AtMostOne: true}
	d.tell <- api.ProgramEvent{Kind: api.ProgramAcquire, Seq: 2, Item: "b", Token: 8}
	w := watching(t, own)
	for range 2 {
		e, err, _ := w.next()
		if err != nil {
			t.Fatal(err)
		}
		own.Ack(e)
	}
	if left := own.Lease(); left <= 0 || left > 200*time.Millisecond {
		t.Errorf("the lease has %v left", left)
	}
	d.acked(1)
	d.acked(2)
	d.end()
	e := w.gets(client.Release, "a")
	if e.Cause != client.CauseLease || e.From != "" || e.Token != 7 || own.Lease() != 0 {
		t.Errorf("%+v, and the lease has %v left", e, own.Lease())
	}
	own.Ack(e)
	d.start()
	d.become("it is gone", func() bool {
		return slices.ContainsFunc(d.acks, func(a api.ProgramAck) bool {
			return slices.Equal(a.Gone, []api.ProgramItem{{Item: "a", Token: 7, Seq: 1}})
		})
	})
}

// A daemon that refuses to go on with a claim ends it: everything goes, then Watch ends.
func TestClaimIsRefused(t *testing.T) {
	d := newDaemon(t)
	own := claimed(t, d)
	d.tell <- api.ProgramEvent{Kind: api.ProgramAcquire, Seq: 1, Item: "a", Token: 7}
	w := watching(t, own)
	own.Ack(w.gets(client.Acquire, "a"))
	d.end()
	d.refuse = &api.Error{Code: api.CodeNotFound, Message: "no system s"}
	d.start()
	own.Ack(w.gets(client.Release, "a"))
	if _, err, ok := w.next(); !ok || api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("%v, %v", err, ok)
	}
	if _, _, ok := w.next(); ok {
		t.Error("it goes on")
	}
}

func TestClaimWaits(t *testing.T) {
	d := newDaemon(t)
	d.refuse = &api.Error{Code: api.CodeClaimed, Message: "process 7 has it"}
	c := client.New(d.socket)
	defer c.Close()
	if _, err := c.Claim(t.Context(), "s", client.ClaimOptions{}); api.CodeOf(err) != api.CodeClaimed {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Claim(ctx, "s", client.ClaimOptions{Wait: true}); !errors.Is(err, context.DeadlineExceeded) && api.CodeOf(err) != api.CodeNoDaemon {
		t.Errorf("%v", err)
	}
	d.mu.Lock()
	d.refuse = nil
	d.mu.Unlock()
	own, err := c.Claim(t.Context(), "s", client.ClaimOptions{Wait: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := own.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
