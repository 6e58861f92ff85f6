package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/secure/room"
)

// smallRoom is a server with room for four connections, and a way to open more.
func smallRoom(t *testing.T, quiet time.Duration) (dial func() net.Conn) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := NewMetrics(fakeMetrics, zerolog.Nop())
	s.room = room.New(4, quiet)
	run(t, s, l)
	return func() net.Conn {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		return c
	}
}

// getOver has a connection answered once.
func getOver(c net.Conn) error {
	if _, err := fmt.Fprint(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// Whoever opens connections and leaves them closes his own oldest ones.
func TestTooManyConnections(t *testing.T) {
	dial := smallRoom(t, 0)
	var open []net.Conn
	for range 4 {
		c := dial()
		if err := getOver(c); err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	if err := getOver(open[0]); err != nil { // now it is the second that is quiet for longest
		t.Fatal(err)
	}
	if err := getOver(dial()); err != nil {
		t.Errorf("one more: %v", err)
	}
	if _, err := open[1].Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the one that was quiet for longest: %v", err)
	}
	for _, i := range []int{0, 2, 3} {
		if err := getOver(open[i]); err != nil {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	// What is closed in order leaves its place.
	for range 20 {
		c := dial()
		if err := getOver(c); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
}

// Who is at work is not closed for another.
func TestNoRoom(t *testing.T) {
	dial := smallRoom(t, time.Hour)
	var open []net.Conn
	for range 4 {
		c := dial()
		if err := getOver(c); err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	if err := getOver(dial()); err == nil {
		t.Error("a fifth was let in")
	}
	for i, c := range open {
		if err := getOver(c); err != nil {
			t.Errorf("connection %d: %v", i, err)
		}
	}
}

// Every server that anybody but a member reaches has a limit.
func TestRooms(t *testing.T) {
	if s := NewMetrics(fakeMetrics, zerolog.Nop()); s.room == nil {
		t.Error("the port of the metrics takes as many as come")
	}
	l, err := ListenUnix(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if _, ok := l.(*room.Listener); !ok {
		t.Errorf("the socket takes as many as come: %+v", l)
	}
}
