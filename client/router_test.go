package client

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/api/server"
	"github.com/flip-ha/flip/fsm"
)

// router follows a system of the town until the test ends.
func (n *town) router(system fsm.SystemID) *Router {
	n.t.Helper()
	c := New(n.socket)
	r := NewRouter(c, system)
	r.beat = 100 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	n.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			n.t.Errorf("router of %s: %v", system, err)
		}
		c.Close()
	})
	return r
}

// agrees waits until a router answers for each key as the server would.
func (n *town) agrees(r *Router, keys ...string) error {
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for {
		changed := r.Changed()
		why := n.differs(r, keys)
		if why == nil {
			return nil
		}
		select {
		case <-changed:
		case <-deadline.C:
			return errors.Join(why, r.Err())
		}
	}
}

func (n *town) differs(r *Router, keys []string) error {
	state, _ := n.View()
	for _, key := range keys {
		have, err := r.Route(key)
		want, wantErr := server.RouteOf(state, api.Stamp{}, r.system, key)
		have.Stamp, want.Stamp = api.Stamp{}, api.Stamp{}
		if (err == nil) != (wantErr == nil) || !reflect.DeepEqual(have, want) {
			return fmt.Errorf("%s: have %+v\nwant %+v: %w", key, have, want, errors.Join(err, wantErr))
		}
	}
	return nil
}

func TestRouterAnswersAsTheServerWould(t *testing.T) {
	n := settle(t, townSpec(3, 4, 8))
	r := n.router("ring")
	if _, err := r.Route("x"); api.CodeOf(err) != api.CodeUnavailable {
		t.Errorf("before it has heard anything: %v", err)
	}
	n.open()
	<-r.Ready()
	keys := []string{"", "user:42", "a", "b", "c", "d", "e", "f"}
	check := func(what string) {
		t.Helper()
		if err := n.agrees(r, keys...); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("nobody has anything")
	if _, err := r.Primary("a"); !errors.Is(err, ErrNobody) {
		t.Errorf("primary: %v", err)
	}
	p := n.state.Spec().Systems["ring"].Partitions
	for i := range 8 {
		n.move(fsm.Key{System: "ring", Item: fsm.ItemID(strconv.Itoa(i))}, fsm.MemberID("n"+strconv.Itoa(1+i%3)))
	}
	check("given")
	k := fsm.Key{System: "ring", Item: p.Item("a")}
	n.acquired(k)
	check("acquired")
	slot, _ := n.state.Slot(k)
	if o, err := r.Primary("a"); err != nil || o.Member != slot.Owner || !o.Held || o.Address == "" || o.Token != slot.Token {
		t.Errorf("primary %+v, %v", o, err)
	}
	n.down(slot.Owner)
	check("its owner is down")
	if _, err := r.Primary("a"); !errors.Is(err, ErrNobody) {
		t.Errorf("primary of one that is down: %v", err)
	}
}

// Whatever happens, also while the router is cut off, it comes to answer as the server
// would.
func TestRouterFollowsAnyHistory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := settle(t, townSpec(3, 3, 4))
		shut := n.open()
		defer func() { shut() }()
		routers := map[fsm.SystemID]*Router{}
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		for _, id := range []fsm.SystemID{"all", "data", "ring"} {
			c := New(n.socket)
			defer c.Close()
			r := NewRouter(c, id)
			routers[id] = r
			running.Go(func() {
				if err := r.Run(ctx); err != nil {
					rt.Errorf("router of %s: %v", id, err)
				}
			})
		}
		keys := []string{"", "a", "b", "c", "user:42", "i0000000", "i0000001", "i0000002", "i0000003"}
		for range rapid.IntRange(1, 5).Draw(rt, "steps") {
			if rapid.IntRange(0, 9).Draw(rt, "cut") == 0 {
				shut()
				n.happens(rt)
				shut = n.open()
			}
			n.happens(rt)
			for _, r := range routers {
				if err := n.agrees(r, keys...); err != nil {
					rt.Fatalf("%s: %v", r.system, err)
				}
			}
		}
	})
}

// happens is one to three things that may happen to a cluster.
func (n *town) happens(rt *rapid.T) {
	member := func() fsm.MemberID { return rapid.SampledFrom([]fsm.MemberID{"n1", "n2", "n3"}).Draw(rt, "member") }
	slot := func() fsm.Key {
		sys := rapid.SampledFrom([]fsm.SystemID{"data", "ring"}).Draw(rt, "system")
		items := n.state.Spec().Systems[sys].Items
		return fsm.Key{System: sys, Item: rapid.SampledFrom(items).Draw(rt, "item").ID, Rank: rapid.IntRange(0, 1).Draw(rt, "rank")}
	}
	for range rapid.IntRange(1, 3).Draw(rt, "things") {
		switch rapid.IntRange(0, 6).Draw(rt, "what") {
		case 0, 1:
			n.move(slot(), member())
		case 2:
			n.acquired(slot())
		case 3:
			n.down(member())
		case 4:
			n.register(member())
		default:
			n.reconfigure(rt)
		}
	}
}

// reconfigure changes who serves, and what.
func (n *town) reconfigure(rt *rapid.T) {
	next := townSpec(3, rapid.IntRange(1, 4).Draw(rt, "items"), rapid.IntRange(1, 5).Draw(rt, "partitions"))
	ring := next.Systems["ring"]
	ring.Replicas = rapid.IntRange(1, 3).Draw(rt, "replicas")
	next.Systems["ring"] = ring
	for _, name := range []fsm.MemberID{"n1", "n2", "n3"} {
		server := next.Servers[name]
		if rapid.IntRange(0, 3).Draw(rt, "serves") == 0 {
			server.Systems = []fsm.SystemID{"data"}
		}
		server.Priority, server.HasPriority = rapid.IntRange(0, 2).Draw(rt, "priority"), true
		next.Servers[name] = server
	}
	n.do(fsm.SetSpec{Was: n.state.Spec().Version, Spec: next})
}

// until waits for what a router hears.
func until(r *Router, is func() bool) {
	for {
		r.mu.Lock()
		heard := r.heard
		r.mu.Unlock()
		if is() {
			return
		}
		<-heard
	}
}

func TestRouterSaysHowOldItIs(t *testing.T) {
	n := settle(t, townSpec(1, 1, 1))
	n.age.Store(50)
	shut := n.open()
	if _, known := NewRouter(nil, "data").Age(); known {
		t.Error("an age before anything was heard")
	}
	r := n.router("data")
	<-r.Ready()
	fresh := func() time.Duration { return time.Duration(r.fresh.Load()) }
	until(r, func() bool { return r.fresh.Load() != never })
	age, known := r.Age()
	if !known || age < 50*time.Millisecond {
		t.Errorf("%v, %t, though the daemon's own is 50 ms", age, known)
	}
	shut()
	until(r, func() bool { return r.Err() != nil })
	was := fresh()
	if later, _ := r.Age(); later < age {
		t.Errorf("cut off it gets younger: %v after %v", later, age)
	}
	if _, err := r.Owners("i0000000"); err != nil {
		t.Errorf("cut off it does not answer: %v", err)
	}
	n.open()
	until(r, func() bool { return fresh() != was })
	if r.Err() != nil {
		t.Errorf("it hears again, and says %v", r.Err())
	}
}

func TestRouterOfNothing(t *testing.T) {
	n := settle(t, townSpec(1, 1, 1))
	n.open()
	c := New(n.socket)
	defer c.Close()
	if err := NewRouter(c, "web").Run(t.Context()); api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("of a system that there is not: %v", err)
	}
	r := n.router("data")
	<-r.Ready()
	if _, err := r.Owners("nonsense"); api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("of an item that there is not: %v", err)
	}
}

// A look-up takes no memory, or programs would pay for it by the million.
func TestRouterTakesNoMemory(t *testing.T) {
	n := settle(t, townSpec(2, 8, 512))
	n.open()
	for system, key := range map[fsm.SystemID]string{"ring": "user:42", "data": "i0000003"} {
		r := n.router(system)
		<-r.Ready()
		if got := testing.AllocsPerRun(100, func() { _, _ = r.Owners(key) }); got != 0 {
			t.Errorf("%s: %v allocations", system, got)
		}
	}
}

// A batch with a change of the configuration shows only once the table is as new: else
// keys would be looked for among partitions that are no more.
func TestRouterWaitsForTheTable(t *testing.T) {
	table := func(index, count int) string {
		return fmt.Sprintf(`{"index":%d,"system":"ring","type":"shard","ranks":1,"partitions":{"count":%d,"hash":"fnv64a"},"items":[],"members":[{"name":"n1","address":"a:1","state":"up","eligible":true}]}`, index, count)
	}
	s, c := script(t,
		line(5, "resync", `,"resync":true`+more)+line(5, "state", `,"system":"ring","item":"0","slot":{"system":"ring","item":"0","owner":"n1","state":"acquired","token":3}`),
		table(4, 7), // of another daemon, which has read less
		`{"code":"unavailable","message":"it is stopping"}`,
		table(5, 1),
	)
	r := NewRouter(c, "ring")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	<-r.Ready()
	if o, err := r.Primary("any key at all"); err != nil || o.Member != "n1" || o.Address != "a:1" || o.Token != 3 {
		t.Errorf("%+v, %v", o, err)
	}
	if got := s.asked(); len(got) < 4 || !strings.Contains(got[0], "beat_ms=") || !strings.Contains(got[1], "system=ring") {
		t.Errorf("asked %q", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Keys that map by a hash of tomorrow are not looked up by one of today.
func TestRouterRefusesAnUnknownHash(t *testing.T) {
	_, c := script(t, line(5, "resync", `,"resync":true`), `{"index":5,"system":"ring","partitions":{"count":7,"hash":"fnv128"},"items":[],"members":[]}`)
	if err := NewRouter(c, "ring").Run(t.Context()); err == nil || !strings.Contains(err.Error(), `"fnv128"`) {
		t.Errorf("%v", err)
	}
}
