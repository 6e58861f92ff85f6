package client

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/api/server"
	"github.com/flip-ha/flip/fsm"
)

// town is a node whose State is what the commands make of it, and a server of it.
type town struct {
	t       testing.TB
	age     atomic.Int64
	socket  string
	mu      sync.Mutex
	state   *fsm.State
	at      fsm.Index
	changed chan struct{}
}

func (n *town) View() (*fsm.State, fsm.Index) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state, n.at
}

func (n *town) Changed(after fsm.Index) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.at > after {
		done := make(chan struct{})
		close(done)
		return done
	}
	return n.changed
}

func (n *town) Leader() (fsm.MemberID, string) { return "n1", "127.0.0.1:2201" }
func (n *town) Status() api.Status             { return api.Status{Stamp: n.stamp()} }
func (n *town) stamp() api.Stamp               { return api.Stamp{AgeMS: n.age.Load()} }

// do applies a command; one that is refused changes nothing.
func (n *town) do(c fsm.Command) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	next, res, err := n.state.Apply(n.at+1, fsm.Encode(c))
	if err != nil {
		n.t.Fatalf("apply %+v: %v", c, err)
	}
	n.state, n.at = next, n.at+1
	close(n.changed)
	n.changed = make(chan struct{})
	return res.Applied
}

// townSpec has n servers that serve a system of items and one of partitions.
func townSpec(servers, items, partitions int) fsm.Spec {
	s := fsm.Spec{
		Timing:  fsm.Timing{Preset: "lan", Heartbeat: 50 * time.Millisecond, Lease: 300 * time.Millisecond, RaftHeartbeat: 100 * time.Millisecond, RaftElection: 100 * time.Millisecond, RaftLease: 50 * time.Millisecond},
		Quorum:  1,
		Servers: map[fsm.MemberID]fsm.Server{}, Systems: map[fsm.SystemID]fsm.System{},
	}
	for i := range servers {
		name := fsm.MemberID("n" + strconv.Itoa(i+1))
		s.Servers[name] = fsm.Server{Name: name, Addr: fmt.Sprintf("127.0.0.1:%d", 2201+i), Role: fsm.RoleVoter, Systems: []fsm.SystemID{"all", "data", "ring"}}
	}
	plain := fsm.System{Split: fsm.Shard, Guarantee: fsm.AtLeastOne, Action: fsm.ActionHooks, Alive: "up", Down: "down"}
	data, ring, all := plain, plain, plain
	data.Name, ring.Name, all.Name, all.Split = "data", "ring", "all", fsm.Replicate
	for i := range items {
		data.Items = append(data.Items, fsm.Item{ID: fsm.ItemID(fmt.Sprintf("i%07d", i))})
	}
	all.Items = []fsm.Item{{ID: "a"}, {ID: "b"}}
	ring.Partitions = &fsm.Partitions{Count: partitions, Hash: fsm.FNV64a}
	for i := range partitions {
		ring.Items = append(ring.Items, fsm.Item{ID: fsm.ItemID(strconv.Itoa(i))})
	}
	slices.SortFunc(ring.Items, func(a, b fsm.Item) int { return cmpStrings(string(a.ID), string(b.ID)) })
	s.Systems["data"], s.Systems["ring"], s.Systems["all"] = data, ring, all
	return s
}

func cmpStrings(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	default:
		return 0
	}
}

// settle founds a town, with its daemon on a socket.
func settle(t testing.TB, spec fsm.Spec) *town {
	t.Helper()
	n := &town{t: t, state: fsm.New(), changed: make(chan struct{})}
	n.state = n.state.WithVoters(fsm.Voters{Index: 1, IDs: []fsm.VoterID{"n1/i"}})
	n.at = 1
	n.do(fsm.SetSpec{Cluster: "c", Spec: spec})
	for i := range len(spec.Servers) {
		n.register(fsm.MemberID("n" + strconv.Itoa(i+1)))
	}
	n.socket = filepath.Join(t.TempDir(), "s")
	return n
}

func (n *town) register(m fsm.MemberID) bool {
	state, at := n.View()
	was, _ := state.Member(m)
	nonce := fsm.Nonce{byte(at), byte(at >> 8), 1}
	return n.do(fsm.Register{Member: m, Nonce: nonce, Process: nonce, Replaces: was.Epoch, Host: fsm.Host{Machine: "m-" + string(m), Boot: "b", Instance: "i"}, Wire: [2]uint16{1, 1}})
}

func (n *town) move(k fsm.Key, to fsm.MemberID) bool {
	state, _ := n.View()
	slot, _ := state.Slot(k)
	return n.do(fsm.Assign{Moves: []fsm.Move{{Key: k, Was: slot.Token, Home: to, To: to, Reason: "so"}}})
}

func (n *town) acquired(k fsm.Key) bool {
	state, _ := n.View()
	slot, _ := state.Slot(k)
	m, _ := state.Member(slot.Owner)
	return n.do(fsm.Report{Member: slot.Owner, Epoch: m.Epoch, Acquired: []fsm.Claim{{Key: k, Member: slot.Owner, Epoch: m.Epoch, Token: slot.Token}}})
}

func (n *town) down(m fsm.MemberID) bool {
	state, _ := n.View()
	was, _ := state.Member(m)
	return n.do(fsm.Down{Member: m, Epoch: was.Epoch, Voters: state.Voters().Index})
}

// open serves until the function it returns is called, or the test ends.
func (n *town) open() (shut func()) {
	n.t.Helper()
	l, err := server.ListenUnix(n.socket)
	if err != nil {
		n.t.Fatal(err)
	}
	hub := server.NewHub(n)
	s := server.NewLocal(server.LocalConfig{Log: zerolog.Nop(), Node: n, Status: n, Stamp: n.stamp, Hub: hub})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = hub.Run(ctx) })
	running.Go(func() { _ = s.Run(ctx, l) })
	shut = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	n.t.Cleanup(shut)
	return shut
}

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
	n.open()
	r := n.router("ring")
	if _, err := r.Route("x"); api.CodeOf(err) != api.CodeUnavailable {
		t.Errorf("before it has heard anything: %v", err)
	}
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
		return fsm.Key{System: sys, Item: rapid.SampledFrom(items).Draw(rt, "item").ID}
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

func BenchmarkRouter(b *testing.B) {
	for _, items := range []int{512, 100_000} {
		spec := townSpec(5, items, 512)
		n := settle(b, spec)
		n.open()
		for system, keys := range map[fsm.SystemID][]string{"ring": {"user:42", "order:4711"}, "data": {"i0000001", "i0000500"}} {
			r := n.router(system)
			<-r.Ready()
			b.Run(fmt.Sprintf("%s/%d", system, items), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, err := r.Owners(keys[i%2]); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lookups/s")
			})
			b.Run(fmt.Sprintf("%s/%d/parallel", system, items), func(b *testing.B) {
				b.RunParallel(func(p *testing.PB) {
					for i := 0; p.Next(); i++ {
						if _, err := r.Owners(keys[i%2]); err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lookups/s")
			})
		}
	}
}
