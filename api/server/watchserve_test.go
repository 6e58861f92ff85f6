package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// watched is a node whose State the test sets.
type watched struct {
	fakeNode
	mu      sync.Mutex
	changed chan struct{}
	age     atomic.Int64 // in milliseconds
}

func (n *watched) Status() api.Status { return api.Status{Stamp: api.Stamp{AgeMS: n.age.Load()}} }

func newWatched(w *world) *watched {
	return &watched{fakeNode: fakeNode{state: w.s, at: w.at}, changed: make(chan struct{})}
}

func (n *watched) View() (*fsm.State, fsm.Index) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state, n.at
}

func (n *watched) Changed(after fsm.Index) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.at > after {
		done := make(chan struct{})
		close(done)
		return done
	}
	return n.changed
}

func (n *watched) set(w *world) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state, n.at = w.s, w.at
	close(n.changed)
	n.changed = make(chan struct{})
}

// daemon is a server on a unix socket with a Hub that runs.
type daemon struct {
	*world
	node   *watched
	hub    *Hub
	client *http.Client
	socket string
	stop   func() error
}

func newDaemon(t *testing.T, change func(*Hub)) *daemon {
	t.Helper()
	w := running(t)
	d := &daemon{world: w, node: newWatched(w), socket: filepath.Join(t.TempDir(), "s")}
	d.hub = newHub(d.node, 64)
	if change != nil {
		change(d.hub)
	}
	l, err := ListenUnix(d.socket)
	if err != nil {
		t.Fatal(err)
	}
	d.stop = run(t, NewLocal(LocalConfig{Log: zerolog.Nop(), Node: d.node, Status: d.node, Hub: d.hub}), l)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.hub.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("hub: %v", err)
		}
	})
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.socket)
	}}
	d.client = &http.Client{Transport: tr}
	t.Cleanup(tr.CloseIdleConnections)
	return d
}

// moved moves ip/a to and fro and lets the node see it.
func (d *daemon) moved(to fsm.MemberID) fsm.Index {
	d.move("ip", "a", to)
	d.node.set(d.world)
	return d.at
}

// watching is one watcher's side.
type watching struct {
	t     *testing.T
	lines *bufio.Reader
	close func()
}

func (d *daemon) watch(query string) *watching {
	d.t.Helper()
	resp, err := d.client.Get("http://flip" + api.PathWatch + query)
	if err != nil {
		d.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(resp.Body)
		d.t.Fatalf("watch: %s %s", resp.Status, b)
	}
	closeIt := sync.OnceFunc(func() { _ = resp.Body.Close() })
	d.t.Cleanup(closeIt)
	return &watching{d.t, bufio.NewReader(resp.Body), closeIt}
}

func (w *watching) next() api.Event {
	w.t.Helper()
	text, err := w.lines.ReadBytes('\n')
	if err != nil {
		w.t.Fatalf("read a line: %v", err)
	}
	var e api.Event
	if err := json.Unmarshal(text, &e); err != nil {
		w.t.Fatalf("decode %s: %v", text, err)
	}
	return e
}

func TestWatchFromNow(t *testing.T) {
	d := newDaemon(t, nil)
	w := d.watch("?from=now")
	if e := w.next(); e.Kind != api.KindIdle || e.Index != d.at {
		t.Errorf("first %+v, want where it begins, %d", e, d.at)
	}
	at := d.moved("n2")
	e := w.next()
	if e.Kind != fsm.KindMoved || e.Index != at || e.Slot == nil || e.Slot.Owner != "n2" || e.From != "n1" || e.To != "n2" || e.More {
		t.Errorf("moved: %+v", e)
	}
	if want := "n1 -> n2: first placing"; e.Words != want {
		t.Errorf("words %q, want %q", e.Words, want)
	}
}

func TestWatchFromAnIndex(t *testing.T) {
	d := newDaemon(t, nil)
	before := d.at
	live := d.watch("?from=now&system=ip")
	live.next()
	first := d.moved("n2")
	live.next() // the Hub has seen each by itself
	second := d.moved("n1")
	live.next()
	w := d.watch(fmt.Sprintf("?index=%d", before))
	if e := w.next(); e.Index != first {
		t.Errorf("first %+v, want %d", e, first)
	}
	if e := w.next(); e.Index != second {
		t.Errorf("second %+v, want %d", e, second)
	}
	if w := d.watch(fmt.Sprintf("?index=%d", first)); w.next().Index != second {
		t.Error("not after the index")
	}
	future := d.watch(fmt.Sprintf("?index=%d", second+1))
	if e := future.next(); e.Kind != api.KindIdle || e.Index != second {
		t.Errorf("in the future: %+v", e)
	}
	d.moved("n2")
	live.next()
	third := d.moved("n1")
	if e := future.next(); e.Index != third || e.Slot == nil || e.Slot.Owner != "n1" {
		t.Errorf("after the future: %+v, want %d", e, third)
	}
}

func TestWatchBeginsWithTheState(t *testing.T) {
	d := newDaemon(t, nil)
	for query, want := range map[string]int{"": 8, "?index=1": 8, "?system=one": 4, "?index=0&system=one": 4} {
		w := d.watch(query)
		if e := w.next(); !e.Resync || e.Kind != api.KindResync || !e.More || len(e.Voters) != 3 {
			t.Fatalf("%q: first %+v", query, e)
		}
		got := 0
		for more := true; more; got++ {
			e := w.next()
			if e.Kind != api.KindState || e.Slot == nil && e.MemberState != api.MemberUp {
				t.Errorf("%q: %+v", query, e)
			}
			more = e.More
		}
		if got != want { // three members and the rows
			t.Errorf("%q: %d of state, want %d", query, got, want)
		}
		w.close()
	}
}

func TestWatchRefuses(t *testing.T) {
	d := newDaemon(t, func(h *Hub) { h.watchers = 1 })
	one := d.watch("?from=now")
	one.next()
	for query, want := range map[string]string{
		"?index=x": api.CodeBadRequest, "?index=-1": api.CodeBadRequest, "?from=then": api.CodeBadRequest,
		"?index=1&from=now": api.CodeBadRequest, "?system=web": api.CodeNotFound, "": api.CodeBusy,
	} {
		resp, err := d.client.Get("http://flip" + api.PathWatch + query)
		if err != nil {
			t.Fatal(err)
		}
		var e api.Error
		err = json.NewDecoder(resp.Body).Decode(&e)
		_ = resp.Body.Close()
		if err != nil || e.Code != want || resp.StatusCode != e.Status() || resp.StatusCode == 500 || e.Hint == "" {
			t.Errorf("%s: %d %+v, %v; want %s", query, resp.StatusCode, e, err, want)
		}
	}
	w := httptest.NewRecorder()
	localHandler(&fakeNode{state: fsm.New()}).ServeHTTP(w, httptest.NewRequest("GET", api.PathWatch, nil))
	if w.Code != 503 || !strings.Contains(w.Body.String(), api.CodeUnavailable) {
		t.Errorf("without a hub: %d %s", w.Code, w.Body)
	}
	// Who goes makes room.
	one.close()
	for {
		resp, err := d.client.Get("http://flip" + api.PathWatch)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
}

// The server's limits for reading a request do not end a stream, and a stream
// without news shows that it lives.
func TestWatchStaysUp(t *testing.T) {
	d := newDaemon(t, func(h *Hub) { h.idle = 20 * time.Millisecond })
	s := NewLocal(LocalConfig{Log: zerolog.Nop(), Node: d.node, Status: d.node, Hub: d.hub})
	s.http.ReadTimeout = 50 * time.Millisecond
	d.socket += "2"
	l, err := ListenUnix(d.socket)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s, l)
	w := d.watch("?from=now")
	for range 10 { // four times the limit
		if e := w.next(); e.Kind != api.KindIdle || e.Index != d.at {
			t.Fatalf("%+v", e)
		}
	}
	d.moved("n2")
	for e := w.next(); e.Kind != fsm.KindMoved; e = w.next() {
		if e.Kind != api.KindIdle {
			t.Fatalf("%+v", e)
		}
	}
}

// deaf opens a watch and never reads.
func (d *daemon) deaf(query string) net.Conn {
	d.t.Helper()
	c, err := net.Dial("unix", d.socket)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := c.(*net.UnixConn).SetReadBuffer(1); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = c.Close() })
	if _, err := fmt.Fprintf(c, "GET %s%s HTTP/1.1\r\nHost: flip\r\n\r\n", api.PathWatch, query); err != nil {
		d.t.Fatal(err)
	}
	return c
}

func (h *Hub) inside() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.in
}

// Who never reads is dropped after a while, and until then keeps nobody waiting:
// neither the others nor the Hub nor, below, the server that stops.
func TestADeafWatcherHarmsNobody(t *testing.T) {
	d := newDaemon(t, func(h *Hub) { h.patience = 100 * time.Millisecond })
	live := d.watch("?from=now")
	live.next()
	d.deaf("?from=now")
	to := []fsm.MemberID{"n2", "n1"}
	for i := 0; i < 200 || d.hub.inside() > 1; i++ { // until its buffers are full and it is dropped
		at := d.moved(to[i%2])
		if e := live.next(); e.Index != at {
			t.Fatalf("a watcher that reads got %+v, want %d", e, at)
		}
	}
}

func TestServerStopsWithADeafWatcher(t *testing.T) {
	d := newDaemon(t, nil)
	d.deaf("?from=now")
	live := d.watch("?from=now")
	live.next()
	to := []fsm.MemberID{"n2", "n1"}
	for i := range 600 { // some 0.4 MB: more than the socket takes
		at := d.moved(to[i%2])
		if e := live.next(); e.Index != at {
			t.Fatalf("got %+v, want %d", e, at)
		}
	}
	began := time.Now()
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took >= drainTimeout {
		t.Errorf("the stop took %v", took)
	}
	if _, err := io.ReadAll(live.lines); err != nil {
		t.Errorf("a watcher that reads was not ended in order: %v", err)
	}
}
