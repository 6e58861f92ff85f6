package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// village is some neighbourhoods that reach each other by calls.
type village struct {
	mu     sync.Mutex
	names  []fsm.MemberID
	houses map[fsm.MemberID]*neighbourhood
	stop   map[fsm.MemberID]func()
	cut    fsm.MemberID
	told   int
}

func (v *village) change(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
}

func (v *village) settle(t *testing.T, name fsm.MemberID, known string) {
	n := newNeighbourhood(name)
	n.servers = func() []fsm.MemberID { return v.names }
	n.members = func(m fsm.MemberID) bool { return slices.Contains(v.names, m) }
	n.look = func() ([]net.HardwareAddr, []neighbour) {
		own := net.HardwareAddr{2, 0, 0, 0, 0, name[1]}
		return []net.HardwareAddr{own}, []neighbour{{netip.MustParseAddr(known), net.HardwareAddr{2, 0, 0, 0, 1, name[1]}}}
	}
	n.tell = func(_ context.Context, to fsm.MemberID, mine api.Neighbours) error {
		v.mu.Lock()
		defer v.mu.Unlock()
		house := v.houses[to]
		if house == nil || v.cut == to || v.cut == name {
			return errors.New("away")
		}
		v.told++
		house.heard(name, mine)
		return nil
	}
	v.mu.Lock()
	v.houses[name] = n
	v.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.run(ctx); err != nil {
			t.Error(err)
		}
	}()
	v.stop[name] = func() {
		cancel()
		<-done
		v.change(func() { delete(v.houses, name) })
	}
}

func TestNeighbourhoodTellsEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &village{
			names: []fsm.MemberID{"n1", "n2", "n3"}, houses: map[fsm.MemberID]*neighbourhood{},
			stop: map[fsm.MemberID]func(){}, cut: "n3",
		}
		for _, name := range v.names {
			v.settle(t, name, "10.0.0."+string(name[1]))
		}
		time.Sleep(2 * time.Second)
		n1 := v.houses["n1"]
		if n1.member(net.HardwareAddr{2, 0, 0, 0, 0, '2'}) != "n2" || n1.knows("n3") {
			t.Fatal("n1 is to know n2, and not n3, which is cut off")
		}
		v.change(func() { v.cut = "" })
		time.Sleep(time.Second)
		if !n1.knows("n3") || len(n1.cache()) != 3 {
			t.Fatalf("n3 is back and not known: %v", n1.cache())
		}
		if n1.member(net.HardwareAddr{2, 9, 9, 9, 9, 9}) != "" {
			t.Error("a stranger is nobody")
		}

		// Nothing changes: the others are told once a minute.
		v.change(func() { v.told = 0 })
		time.Sleep(2 * time.Minute)
		v.mu.Lock()
		if v.told < 6 || v.told > 3*6 {
			t.Errorf("%d tellings in two quiet minutes among three", v.told)
		}
		v.mu.Unlock()

		// One that starts anew is told at once.
		v.stop["n2"]()
		v.settle(t, "n2", "10.0.0.9")
		time.Sleep(time.Second)
		if !v.houses["n2"].knows("n1") || !v.houses["n2"].knows("n3") {
			t.Error("n2 started anew and was not told")
		}
		for _, name := range v.names {
			v.stop[name]()
		}
	})
}

func TestNeighbourhoodBoundsWhatItHears(t *testing.T) {
	n := newNeighbourhood("n1")
	n.servers = func() []fsm.MemberID { return []fsm.MemberID{"n1", "n2"} }
	n.members = func(m fsm.MemberID) bool { return slices.Contains(n.servers(), m) }
	many := api.Neighbours{MACs: []string{"02:00:00:00:00:02", "nonsense"}, Known: []api.Neighbour{{IP: "x", MAC: "y"}}}
	for range api.MaxNeighbours + 10 {
		many.Known = append(many.Known, api.Neighbour{IP: "10.0.0.1", MAC: "02:00:00:00:00:07"})
	}
	n.heard("stranger", many)
	n.heard("n1", many)
	if len(n.of) != 0 {
		t.Fatal("only other servers of the cluster are heard")
	}
	n.heard("n2", many)
	if k := n.of["n2"]; len(k.macs) != 1 || len(k.known) != api.MaxNeighbours-1 {
		t.Errorf("%d own, %d known", len(k.macs), len(k.known))
	}
	if c := n.cache(); len(c) != 1 || !strings.HasSuffix(c[0].MAC.String(), "07") {
		t.Errorf("each host once: %v", c)
	}

	// This machine's own view counts more.
	n.observe(nil, []neighbour{{netip.MustParseAddr("10.0.0.1"), net.HardwareAddr{2, 0, 0, 0, 0, 8}}})
	if c := n.cache(); len(c) != 1 || !slices.Equal(c[0].MAC, net.HardwareAddr{2, 0, 0, 0, 0, 8}) {
		t.Errorf("own view first: %v", c)
	}
}
