package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// ringed has also a system with partitions, one of addresses, and servers with zones
// and tags.
func ringed(t *testing.T) *writable {
	w := &writable{world: running(t)}
	next := *w.s.Spec()
	next.Servers = map[fsm.MemberID]fsm.Server{}
	for name, server := range w.s.Spec().Servers {
		server.Zone = "z" + string(name[1:])
		if name != "n3" {
			server.Systems = []fsm.SystemID{"ip", "log", "one", "ring", "vip"}
			server.Tags = []fsm.Tag{{Name: "disk", Value: map[fsm.MemberID]string{"n1": "ssd", "n2": "hdd"}[name]}}
		}
		next.Servers[name] = server
	}
	next.Servers["n2"] = withPriority(next.Servers["n2"], 1)
	next.Systems = map[fsm.SystemID]fsm.System{}
	for id, sys := range w.s.Spec().Systems {
		next.Systems[id] = sys
	}
	ring := fsm.System{Name: "ring", Split: fsm.Shard, Guarantee: fsm.AtLeastOne, Action: fsm.ActionHooks, Alive: "up", Down: "down", Partitions: &fsm.Partitions{Count: 4, Hash: fsm.FNV64a}}
	for i := range 4 {
		ring.Items = append(ring.Items, fsm.Item{ID: fsm.ItemID(strconv.Itoa(i))})
	}
	next.Systems["ring"] = ring
	next.Systems["vip"] = fsm.System{
		Name: "vip", Split: fsm.Shard, Guarantee: fsm.AtMostOne, Action: fsm.ActionIP, IP: &fsm.IP{},
		Select: []fsm.Match{{Tag: "disk", Values: []string{"ssd"}}},
		Items:  []fsm.Item{{ID: "web", Addrs: []string{"10.9.0.1/24"}, Prefer: []fsm.MemberID{"n1"}}},
	}
	w.do(fsm.SetSpec{Was: w.s.Spec().Version, Spec: next})
	for i := range 4 {
		w.move("ring", fsm.ItemID(strconv.Itoa(i)), fsm.MemberID("n"+strconv.Itoa(1+i%2)))
	}
	w.move("vip", "web", "n1")
	return w
}

func withPriority(s fsm.Server, p int) fsm.Server {
	s.Priority, s.HasPriority = p, true
	return s
}

// got is what a path is answered with.
func got[T any](t *testing.T, c LocalConfig, path string) (out T, e api.Error) {
	t.Helper()
	rec := httptest.NewRecorder()
	NewLocal(c).http.Handler.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	var into any = &out
	if rec.Code != http.StatusOK {
		into = &e
	}
	if err := json.Unmarshal(rec.Body.Bytes(), into); err != nil {
		t.Fatalf("%s: %v in %s", path, err, rec.Body)
	}
	return out, e
}

// routeWords is a route in one line.
func routeWords(r api.Route) string {
	var out []string
	for _, o := range r.Owners {
		out = append(out, fmt.Sprintf("%d:%s %s", o.Rank, o.Member, o.State))
	}
	names := make([]string, 0, len(r.Members))
	for _, m := range r.Members {
		names = append(names, string(m.Name))
	}
	return fmt.Sprintf("%s [%s] of %s", r.Item, strings.Join(out, ", "), strings.Join(names, " "))
}

func TestRoutes(t *testing.T) {
	w := ringed(t)
	for path, want := range map[string]string{
		"?system=ip&key=a":                 "a [0:n1 acquired] of n1 n2", // n2 has a priority, so the ring is n2 n1
		"?system=ip&key=b":                 "b [0:n2 acquired] of n2 n1",
		"?system=log&key=l":                "l [0:n2 replicated, 0:n1 replicated] of n2 n1",
		"?system=one&key=x":                "x [0:n1 acquired] of n1 n2",
		"?system=ring&key=user:42":         "2 [0:n1 starting] of n1 n2",
		"?system=ring&key=":                "1 [0:n2 starting] of n2 n1",
		"?system=vip&key=web&consistent":   "web [0:n1 starting] of n1",
		"?system=ring&key=%2F%3F%20%C3%A9": "1 [0:n2 starting] of n2 n1",
	} {
		r, e := got[api.Route](t, whole(w), api.PathRoute+path)
		if e.Code != "" || routeWords(r) != want || r.Index != w.at {
			t.Errorf("%s: %s (index %d) %+v\nwant %s (index %d)", path, routeWords(r), r.Index, e, want, w.at)
		}
	}
	r, _ := got[api.Route](t, whole(w), api.PathRoute+"?system=vip&key=web")
	if !slices.Equal(r.Addresses, []string{"10.9.0.1/24"}) || r.Owners[0].Address != "127.0.0.1:2201" || r.Owners[0].Home != "n1" || r.Members[0].Zone != "z1" {
		t.Errorf("addresses: %+v", r)
	}
}

func TestRoutesThatThereAreNot(t *testing.T) {
	w := ringed(t)
	for path, want := range map[string]string{
		"?system=ip":           api.CodeBadRequest,
		"?key=a":               api.CodeBadRequest,
		"?system=web&key=a":    api.CodeNotFound,
		"?system=ip&key=c":     api.CodeNotFound,
		"?system=ip&key=":      api.CodeBadRequest,
		"?system=vip&key=webb": api.CodeNotFound,
	} {
		if _, e := got[api.Route](t, whole(w), api.PathRoute+path); e.Code != want {
			t.Errorf("%s: %+v, want %s", path, e, want)
		}
	}
}

func TestRouteTable(t *testing.T) {
	w := ringed(t)
	table, _ := got[api.RouteTable](t, whole(w), api.PathRouteTable+"?system=ring")
	if table.Ranks != 1 || *table.Partitions != (api.RoutePartitions{Count: 4, Hash: "fnv64a"}) || len(table.Items) != 0 || len(table.Members) != 3 || table.Members[0].Name != "n2" {
		t.Errorf("of partitions: %+v", table)
	}
	table, _ = got[api.RouteTable](t, whole(w), api.PathRouteTable+"?system=vip")
	if table.Partitions != nil || len(table.Items) != 1 || table.Items[0].Prefer[0] != "n1" || table.Items[0].Addresses[0] != "10.9.0.1/24" {
		t.Errorf("of items: %+v", table)
	}
	if table, _ = got[api.RouteTable](t, whole(w), api.PathRouteTable+"?system=log"); table.Ranks != 0 || table.Type != "replicate" {
		t.Errorf("replicated: %+v", table)
	}
}

func TestEligible(t *testing.T) {
	server := fsm.Server{Systems: []fsm.SystemID{"s"}, Tags: []fsm.Tag{{Name: "arch", Value: "arm"}, {Name: "disk", Value: "ssd"}}}
	match := func(tag string, values ...string) fsm.Match { return fsm.Match{Tag: tag, Values: values} }
	for name, tt := range map[string]struct {
		sys  fsm.System
		want bool
	}{
		"no select":          {fsm.System{Name: "s"}, true},
		"another system":     {fsm.System{Name: "t"}, false},
		"one of its values":  {fsm.System{Name: "s", Select: []fsm.Match{match("disk", "nvme", "ssd")}}, true},
		"any value":          {fsm.System{Name: "s", Select: []fsm.Match{match("arch")}}, true},
		"another value":      {fsm.System{Name: "s", Select: []fsm.Match{match("disk", "hdd")}}, false},
		"another tag":        {fsm.System{Name: "s", Select: []fsm.Match{match("zone")}}, false},
		"all must match":     {fsm.System{Name: "s", Select: []fsm.Match{match("arch", "arm"), match("disk", "hdd")}}, false},
		"or one":             {fsm.System{Name: "s", SelectAny: true, Select: []fsm.Match{match("arch", "arm"), match("disk", "hdd")}}, true},
		"but one":            {fsm.System{Name: "s", SelectAny: true, Select: []fsm.Match{match("disk", "hdd")}}, false},
		"any of no matches":  {fsm.System{Name: "s", SelectAny: true}, true},
		"all of no matches.": {fsm.System{Name: "s", Select: []fsm.Match{}}, true},
	} {
		if eligible(tt.sys, server) != tt.want {
			t.Errorf("%s: want %t", name, tt.want)
		}
	}
	server.Removing = true
	if eligible(fsm.System{Name: "s"}, server) {
		t.Error("one that is to be taken out is eligible")
	}
}

func TestStateIsToldWhole(t *testing.T) {
	w := ringed(t)
	rec := httptest.NewRecorder()
	NewLocal(whole(w)).http.Handler.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, api.PathState, nil))
	var want bytes.Buffer
	if err := w.s.Write(&want); err != nil {
		t.Fatal(err)
	}
	if rec.Code != http.StatusOK || !bytes.Equal(rec.Body.Bytes(), want.Bytes()) {
		t.Errorf("%d, %d bytes, want %d", rec.Code, rec.Body.Len(), want.Len())
	}
	if at := rec.Header().Get(api.HeaderIndex); at != strconv.Itoa(int(w.at)) {
		t.Errorf("index %s, want %d", at, w.at)
	}
}

// Each reader keeps what he reads in memory: more than a few are told to come again.
func TestStateLetsFewIn(t *testing.T) {
	l := local{whole(usual(t)), make(chan struct{}, maxStates)}
	r := newRouter(l.Log)
	h := l.state(r)
	for range maxStates {
		l.states <- struct{}{}
	}
	rec := httptest.NewRecorder()
	h(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, api.PathState, nil))
	if rec.Code != http.StatusServiceUnavailable || !strings.Contains(rec.Body.String(), api.CodeBusy) {
		t.Errorf("one too many: %d %s", rec.Code, rec.Body)
	}
	<-l.states
	rec = httptest.NewRecorder()
	if h(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, api.PathState, nil)); rec.Code != http.StatusOK || len(l.states) != maxStates-1 {
		t.Errorf("with room: %d, %d inside", rec.Code, len(l.states))
	}
}

// A state that breaks off must not look complete.
func TestStateThatBreaksOffIsCutOff(t *testing.T) {
	l := local{whole(usual(t)), make(chan struct{}, maxStates)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	defer func() {
		if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // it is that very value
			t.Errorf("it ended with %v", p)
		}
		if len(l.states) != 0 {
			t.Error("it still counts")
		}
	}()
	l.state(newRouter(l.Log))(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, api.PathState, nil))
}

// A watcher who asks for it is told how old his picture is, of no more than he was told.
func TestWatchTellsItsAge(t *testing.T) {
	d := newDaemon(t, nil)
	d.node.age.Store(7)
	w := d.watch("?beat_ms=100&system=ip")
	e := w.next()
	for e.More {
		e = w.next()
	}
	if e = w.next(); e.Kind != api.KindIdle || e.AgeMS == nil || *e.AgeMS < 7 || *e.AgeMS > 5000 || e.Index != d.at {
		t.Errorf("after the state: %+v", e)
	}
	at := d.moved("n2")
	for moved := false; ; {
		if e = w.next(); e.Kind == fsm.KindMoved {
			moved = true
		}
		if e.Kind == api.KindIdle && e.AgeMS != nil && e.Index >= at {
			if !moved {
				t.Error("the age is told of what was not told")
			}
			break
		}
	}
	if silent := d.watch("?from=now").next(); silent.AgeMS != nil {
		t.Errorf("nobody asked for the age: %+v", silent)
	}
	d.node.age.Store(-1)
	for e = w.next(); *e.AgeMS != -1; e = w.next() {
		// The one before may have been on its way; the next is not.
		if *e.AgeMS < 7 {
			t.Fatalf("what is not known is told as known: %+v", e)
		}
	}
}

// The age is told of what the watcher has been told: not before.
func TestBeatsWaitForWhatTheyAreAbout(t *testing.T) {
	d := newDaemon(t, nil)
	rec := httptest.NewRecorder()
	s := newStream(d.hub, rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, api.PathWatch, nil), wish{beat: time.Second})
	s.age = d.node.age.Load
	d.node.age.Store(7)
	next := time.NewTicker(time.Hour)
	defer next.Stop()
	s.due = s.look()
	if err := s.beat(d.at-1, false, next); err != nil || rec.Body.Len() != 0 || s.due == nil {
		t.Errorf("before it is true: %v, %s", err, rec.Body)
	}
	d.node.age.Store(99) // as it is by now is not asked for
	if err := s.beat(d.at, false, next); err != nil || !strings.Contains(rec.Body.String(), `"age_ms":`) || strings.Contains(rec.Body.String(), `"age_ms":99`) || s.due != nil {
		t.Errorf("once it is: %v, %s", err, rec.Body)
	}
	rec.Body.Reset()
	if err := s.beat(d.at-1, true, next); err != nil || !strings.Contains(rec.Body.String(), "idle") || strings.Contains(rec.Body.String(), "age_ms") {
		t.Errorf("the first word, without an age: %v, %s", err, rec.Body)
	}
}
