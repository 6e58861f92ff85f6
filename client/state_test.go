package client

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

func bytesOf(t *testing.T, s *fsm.State) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := s.Write(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestStateIsReadWhole(t *testing.T) {
	n := settle(t, townSpec(2, 3, 4))
	n.move(fsm.Key{System: "data", Item: "i0000001"}, "n2")
	n.age.Store(7)
	n.open()
	c := New(n.socket)
	defer c.Close()
	s, at, err := c.State(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	want, index := n.View()
	if !bytes.Equal(bytesOf(t, s), bytesOf(t, want)) || at.Index != index || at.AgeMS != 7 || at.TimeMS == 0 {
		t.Errorf("at %+v, want index %d", at, index)
	}
	if _, _, err := c.State(t.Context(), true); api.CodeOf(err) != api.CodeUnavailable {
		t.Errorf("with nobody to ask the leader: %v", err)
	}
}

// What breaks off, what is something else, and what an older daemon says.
func TestStateThatCannotBeRead(t *testing.T) {
	n := settle(t, townSpec(1, 1, 1))
	whole := string(bytesOf(t, n.state))
	for _, tt := range []struct{ name, answer, code, words string }{
		{"cut off by the connection", whole[:len(whole)/2] + "CUT", "", "read answer"},
		{"cut off in order", whole[:len(whole)/2], "", "cut off"},
		{"something else", "hello, here is no state at all", "", "no snapshot of flip's"},
		{"of a newer flip", strings.Replace(whole, "\x00\x00\x00\x01", "\x00\x00\x00\x09", 1), api.CodeInternal, "version 9 is unknown"},
		{"an older flip", `{"code":"not_found","message":"no such path: /v1/state"}`, api.CodeNotFound, "no such path"},
		{"full", `{"code":"busy","message":"2 read"}`, api.CodeBusy, "2 read"},
	} {
		_, c := script(t, tt.answer)
		s, _, err := c.State(t.Context(), false)
		if s != nil || err == nil || api.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := New(n.socket).State(ctx, false); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits for it: %v", err)
	}
	if _, _, err := New(n.socket).State(t.Context(), false); api.CodeOf(err) != api.CodeNoDaemon {
		t.Errorf("nobody there: %v", err)
	}
}

// From elsewhere: whichever server is there.
func TestStateAndRouteFromElsewhere(t *testing.T) {
	keys := must(t, clusterKeys)
	addr, _, stop := controlled(t, keys, "first")
	other, _, _ := controlled(t, keys, "second")
	c := remoteOf(t, keys, nobody(t), addr, other)
	for range 2 {
		s, at, err := c.State(t.Context(), false)
		if err != nil || s.Spec().Version != 0 || at.Index != 9 {
			t.Errorf("state %+v at %+v, %v", s, at, err)
		}
		if _, err := c.Route(t.Context(), "web", "k", false); api.CodeOf(err) != api.CodeNotFound {
			t.Errorf("route: %v", err)
		}
		if _, err := c.RouteTable(t.Context(), "web"); api.CodeOf(err) != api.CodeNotFound {
			t.Errorf("table: %v", err)
		}
		stop() // the other one answers the second time
	}
}
