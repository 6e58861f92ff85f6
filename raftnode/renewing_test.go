package raftnode

import (
	"bytes"
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

// toy is a connection that notes what it is asked for.
type toy struct {
	net.Conn
	name    string
	old     bool
	written bytes.Buffer
	until   time.Time
	closed  bool
}

func (c *toy) Outdated() bool                { return c.old }
func (c *toy) Write(b []byte) (int, error)   { return c.written.Write(b) }
func (c *toy) Read(b []byte) (int, error)    { return copy(b, "answer"), nil }
func (c *toy) Close() error                  { c.closed = true; return nil }
func (c *toy) SetDeadline(t time.Time) error { c.until = t; return nil }

func TestRenewingBetweenRequests(t *testing.T) {
	first, second := &toy{name: "first"}, &toy{name: "second"}
	var dialled []time.Time
	fail := false
	conn := renew(first, func(ctx context.Context) (net.Conn, error) {
		until, _ := ctx.Deadline()
		dialled = append(dialled, until)
		if fail {
			return nil, errors.New("nobody there")
		}
		return second, nil
	})
	write := func(text string) {
		t.Helper()
		if _, err := conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	read := func() {
		t.Helper()
		if _, err := conn.Read(make([]byte, 16)); err != nil {
			t.Fatal(err)
		}
	}
	write("a")
	first.old = true
	write("b") // in the midst of a request
	read()
	read()
	fail = true
	limit := time.Now().Add(time.Minute)
	if err := conn.SetDeadline(limit); err != nil {
		t.Fatal(err)
	}
	write("c")
	if first.written.String() != "abc" || len(dialled) != 1 || !dialled[0].Equal(limit) || first.closed {
		t.Fatalf("%q, dialled %v", first.written.String(), dialled)
	}
	fail = false
	read()
	write("d")
	if first.written.String() != "abc" || second.written.String() != "d" || !first.closed || !second.until.Equal(limit) {
		t.Fatalf("%q, then %q, deadline %v", first.written.String(), second.written.String(), second.until)
	}
	read()
	write("e")
	if len(dialled) != 2 {
		t.Errorf("dialled %d times", len(dialled))
	}
	if err := conn.Close(); err != nil || !second.closed {
		t.Errorf("%v", err)
	}
	plain, _ := net.Pipe()
	defer func() { _ = plain.Close() }()
	if renew(plain, nil) != plain {
		t.Error("a connection that cannot be outdated is wrapped")
	}
}
