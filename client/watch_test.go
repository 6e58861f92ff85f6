package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// scripted answers each request with the next of its scripts: lines, then the end.
type scripted struct {
	answers []string
	mu      sync.Mutex
	queries []string
}

func (s *scripted) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queries)
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	n := len(s.queries)
	s.queries = append(s.queries, r.URL.RawQuery)
	s.mu.Unlock()
	if n >= len(s.answers) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return
	}
	answer, cut := strings.CutSuffix(s.answers[n], "CUT")
	if strings.HasPrefix(answer, "{\"code\"") {
		var e api.Error
		_ = json.Unmarshal([]byte(answer), &e)
		w.WriteHeader(e.Status())
	}
	_, _ = w.Write([]byte(answer))
	w.(http.Flusher).Flush()
	if cut {
		panic(http.ErrAbortHandler)
	}
}

func script(t *testing.T, answers ...string) (*scripted, *Client) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{answers: answers}
	srv := httptest.NewUnstartedServer(s)
	_ = srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	c := New(path)
	t.Cleanup(func() { c.Close(); srv.Close() })
	return s, c
}

func line(index int, kind, rest string) string {
	return fmt.Sprintf(`{"index":%d,"kind":%q,"words":""%s}`+"\n", index, kind, rest)
}

const more = `,"more":true`

// watched ranges until it has had n events, or an error that ends the sequence.
func watched(t *testing.T, c *Client, from fsm.Index, system fsm.SystemID, n int) (got, errs []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for e, err := range c.Watch(ctx, from, system) {
		if err != nil {
			errs = append(errs, api.CodeOf(err))
			continue
		}
		got = append(got, fmt.Sprintf("%d %s", e.Index, e.Kind))
		if len(got) == n {
			cancel() // ends the sequence, without an error
		}
	}
	return got, errs
}

func TestWatchGoesOnWhereItWas(t *testing.T) {
	s, c := script(t,
		// cut off in the midst of a batch: none of it counts
		line(3, "idle", "")+line(5, "moved", "")+line(7, "moved", more)+line(7, "acq", more)+"CUT",
		line(7, "moved", more)+line(7, "acq", more)+line(7, "released", "")+line(9, "idle", ""),
		`{"code":"busy","message":"full"}`,
		line(9, "old", "")+line(10, "down", "")+`{"index":11,"kin`+"CUT",
		line(11, "up", ""),
	)
	got, errs := watched(t, c, WatchNow, "a b", 6)
	want := []string{"5 moved", "7 moved", "7 acq", "7 released", "10 down", "11 up"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if want := []string{api.CodeBroken, api.CodeBroken, api.CodeBusy, api.CodeBroken}; !slices.Equal(errs, want) {
		t.Errorf("errors %q, want %q", errs, want)
	}
	if want := []string{"from=now&system=a+b", "index=5&system=a+b", "index=9&system=a+b", "index=9&system=a+b", "index=10&system=a+b"}; !slices.Equal(s.asked(), want) {
		t.Errorf("asked %q, want %q", s.asked(), want)
	}
}

func TestWatchHandsAResyncOn(t *testing.T) {
	s, c := script(t,
		line(5, "moved", more)+line(20, "resync", `,"resync":true`+more)+line(20, "state", more)+"CUT",
		line(21, "resync", `,"resync":true`+more)+line(21, "state", more)+line(21, "state", "")+line(22, "moved", ""),
	)
	got, _ := watched(t, c, 4, "", 6)
	want := []string{"20 resync", "20 state", "21 resync", "21 state", "21 state", "22 moved"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if want := []string{"index=4", ""}; !slices.Equal(s.asked()[:2], want) {
		t.Errorf("asked %q, want %q", s.asked(), want)
	}
}

func TestWatchGivesUp(t *testing.T) {
	s, c := script(t, `{"code":"not_found","message":"no system web"}`)
	if got, errs := watched(t, c, WatchState, "web", 1); len(got) != 0 || !slices.Equal(errs, []string{api.CodeNotFound}) || len(s.asked()) != 1 {
		t.Errorf("got %q, %q after %d requests", got, errs, len(s.asked()))
	}
	c = New(filepath.Join(t.TempDir(), "none"))
	for _, err := range c.Watch(context.Background(), WatchNow, "") {
		if api.CodeOf(err) != api.CodeNoDaemon {
			t.Errorf("got %v", err)
		}
		break // who ranges decides
	}
}

func TestWatchEndsMidwayThroughABatch(t *testing.T) {
	_, c := script(t, line(7, "moved", more)+line(7, "acq", ""))
	n := 0
	for _, err := range c.Watch(context.Background(), 6, "") {
		if n++; err != nil {
			t.Error(err)
		}
		break
	}
	if n != 1 {
		t.Errorf("%d events", n)
	}
}
