package ip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/netif"
	"github.com/flip-ha/flip/fsm"
)

// world is a machine with fake links, gate and wire that writes down every effect
// in the order in which it happened.
type world struct {
	t        testing.TB
	d        *Driver
	ttl      atomic.Int64
	log      lines
	rechecks atomic.Int64
	members  map[string]bool
	cache    []Neighbour

	mu        sync.Mutex
	start     time.Time
	events    []string
	links     []netif.Link
	addrs     []netif.Address
	routes    map[netip.Prefix]bool
	inGate    map[netip.Addr]bool
	noted     func(kind string, addr netip.Addr) // called under mu for each address
	fail      map[string]error                   // "add 10.0.0.5", "gate", "ungate", "remove 10.0.0.5"
	slow      time.Duration                      // each effect takes that long
	slowFrame time.Duration                      // and each frame, once permitted
	answers   map[netip.Addr]net.HardwareAddr    // who answers
	deaf      error                              // of Ask
	mute      error                              // of Announce
	changed   chan struct{}
	sent      []frame
}

type frame struct {
	at   time.Duration
	addr netip.Addr
	to   netip.Addr // of Tell
}

type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

var strangeMAC, memberMAC = mac("02:00:00:00:66:66"), mac("02:00:00:00:00:02")

// newWorld has eth0 in 10.0.0.0/16 and 2001:db8::/64, and eth1 in 10.1.0.0/16.
func newWorld(t testing.TB) *world {
	w := &world{
		t: t, start: time.Now(), routes: map[netip.Prefix]bool{}, inGate: map[netip.Addr]bool{}, fail: map[string]error{},
		answers: map[netip.Addr]net.HardwareAddr{}, changed: make(chan struct{}, 1), members: map[string]bool{memberMAC.String(): true},
		links: []netif.Link{
			{Index: 1, Name: "lo", MAC: make(net.HardwareAddr, 6), Up: true, Carrier: true},
			{Index: 2, Name: "eth0", MAC: mac("02:00:00:00:00:10"), Up: true, Carrier: true},
			{Index: 3, Name: "eth1", MAC: mac("02:00:00:00:00:11"), Up: true, Carrier: true},
		},
		addrs: []netif.Address{
			{Link: 2, Prefix: netip.MustParsePrefix("10.0.0.1/16")},
			{Link: 2, Prefix: netip.MustParsePrefix("2001:db8::1/64")},
			{Link: 3, Prefix: netip.MustParsePrefix("10.1.0.1/16")},
		},
	}
	w.ttl.Store(int64(300 * time.Millisecond))
	w.d = New(Config{
		Self: "n1", Links: w, Addresses: w, Wire: w, Gate: (*fakeGate)(w),
		TTL:     func() time.Duration { return time.Duration(w.ttl.Load()) },
		Member:  func(m net.HardwareAddr) bool { w.mu.Lock(); defer w.mu.Unlock(); return w.members[m.String()] },
		Cache:   func() []Neighbour { return w.cache },
		Recheck: func() { w.rechecks.Add(1) },
		Log:     zerolog.New(&w.log),
	})
	return w
}

// run runs the driver until the test's bubble ends.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.d.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
}

func (w *world) note(kind string, addr netip.Addr, detail string) {
	w.events = append(w.events, strings.TrimSpace(fmt.Sprintf("%s %s %s", kind, addr, detail)))
	if w.noted != nil {
		w.noted(kind, addr)
	}
}

// took answers with what happened since the last call.
func (w *world) took() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.events
	w.events = nil
	return out
}

func (w *world) change() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *world) Find(p netip.Prefix, iface string) (netif.Link, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.links {
		if iface != "" {
			if l.Name == iface {
				return l, nil
			}
			continue
		}
		for _, a := range w.addrs {
			if a.Link == l.Index && a.Mark == 0 && !a.Prefix.IsSingleIP() && a.Prefix.Addr() != p.Addr() && a.Prefix.Contains(p.Addr()) {
				return l, nil
			}
		}
	}
	if iface != "" {
		return netif.Link{}, fmt.Errorf("interface %q: %w", iface, netif.ErrNoInterface)
	}
	return netif.Link{}, fmt.Errorf("%s is %w", p.Addr(), netif.ErrNoSubnet)
}

func (w *world) Links() []netif.Link {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.links)
}

func (w *world) HasRoute(p netip.Prefix) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.routes[p]
}

func (w *world) Changed() <-chan struct{} { return w.changed }

func (w *world) Addresses() []netif.Address {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.addrs)
}

func (w *world) pause() {
	w.mu.Lock()
	slow := w.slow
	w.mu.Unlock()
	if slow > 0 {
		time.Sleep(slow)
	}
}

func (w *world) linkOf(index int) string {
	for _, l := range w.links {
		if l.Index == index {
			return l.Name
		}
	}
	return "?"
}

func (w *world) Add(list []netif.Address) []error {
	w.pause()
	w.mu.Lock()
	defer w.mu.Unlock()
	errs := make([]error, len(list))
	w.events = append(w.events, fmt.Sprintf("add-call %d", len(list)))
	for i, a := range list {
		if errs[i] = w.fail["add "+a.Prefix.Addr().String()]; errs[i] != nil {
			continue
		}
		w.note("add", a.Prefix.Addr(), fmt.Sprintf("%s %x %s", w.linkOf(a.Link), uint8(a.Mark), a.Valid))
		w.set(a)
	}
	w.change()
	return errs
}

// set plumbs, as anybody may; w.mu is held.
func (w *world) set(a netif.Address) {
	w.unset(a)
	w.addrs = append(w.addrs, a)
}

func (w *world) unset(a netif.Address) {
	w.addrs = slices.DeleteFunc(w.addrs, func(b netif.Address) bool { return b.Link == a.Link && b.Prefix == a.Prefix })
}

func (w *world) Remove(list []netif.Address) []error {
	w.pause()
	w.mu.Lock()
	defer w.mu.Unlock()
	errs := make([]error, len(list))
	for i, a := range list {
		if errs[i] = w.fail["remove "+a.Prefix.Addr().String()]; errs[i] != nil {
			continue
		}
		w.note("remove", a.Prefix.Addr(), w.linkOf(a.Link))
		w.unset(a)
	}
	w.change()
	return errs
}

func (w *world) DestroySockets(list []netip.Addr) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range list {
		w.note("destroy", a, "")
	}
	return len(list), nil
}

// others changes the machine as another program would.
func (w *world) others(do func()) {
	w.mu.Lock()
	do()
	w.mu.Unlock()
	w.change()
}

// lease is a permit that a test can take back.
type lease struct {
	over  atomic.Bool
	asked func()
}

var errOver = errors.New("the lease is over")

func (l *lease) may() error {
	if l.asked != nil {
		l.asked()
	}
	if l.over.Load() {
		return errOver
	}
	return nil
}

// permitContext carries a permit as the executor's contexts do: under a key of
// package actions that no other package can name.
type permitContext struct {
	context.Context
	ask func() error
}

func (c permitContext) Value(key any) any {
	if fmt.Sprintf("%T", key) == "actions.permitKey" {
		return c.ask
	}
	return c.Context.Value(key)
}

func (l *lease) ctx() context.Context { return permitContext{context.Background(), l.may} }

func TestPermitContextIsUnderstood(t *testing.T) {
	l := &lease{}
	if err := actions.Permitted(l.ctx()); err != nil {
		t.Fatal(err)
	}
	l.over.Store(true)
	if err := actions.Permitted(l.ctx()); !errors.Is(err, errOver) {
		t.Fatalf("the permit of a test's context is not asked: %v", err)
	}
}

var noProbe = &fsm.IP{NoProbe: true}

// gatedJob is at-most-one, gated and asks nobody.
func gatedJob(item string, addrs ...string) fsm.Job {
	return fsm.Job{
		Key: fsm.Key{System: "vips", Item: fsm.ItemID(item)}, Token: 7, AtMostOne: true, Gated: true,
		Addrs: addrs, IP: noProbe, Action: fsm.ActionIP,
	}
}

func bubble(t *testing.T, do func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { do(t, newWorld(t)) })
}

func wantEvents(t *testing.T, w *world, want ...string) {
	t.Helper()
	got := slices.DeleteFunc(w.took(), func(e string) bool { return strings.Contains(e, "-call ") })
	if !slices.Equal(got, want) {
		t.Errorf("it happened\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
