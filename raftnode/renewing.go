package raftnode

import (
	"context"
	"net"
	"sync"
	"time"
)

// outdated is a connection that knows that a new one would be by other credentials.
type outdated interface {
	net.Conn
	Outdated() bool
}

// renewing replaces a connection that has become outdated between two requests, so
// that none of them fails when the cluster's key is rotated: with short timings a
// single heartbeat that fails may cost a leader its lead.
//
// Raft asks and waits for the answer, one request at a time: what is written after
// something was read begins a new request, and nothing is on its way then.
type renewing struct {
	dial func(context.Context) (net.Conn, error)

	mu       sync.Mutex
	conn     net.Conn
	answered bool // since the last Write
	deadline time.Time
	closed   bool
}

// renew makes a connection one that renews itself, if it can become outdated.
func renew(conn net.Conn, dial func(context.Context) (net.Conn, error)) net.Conn {
	if _, can := conn.(outdated); !can {
		return conn
	}
	return &renewing{conn: conn, dial: dial}
}

// now is the connection of this moment.
func (r *renewing) now() net.Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conn
}

// Write implements net.Conn.
func (r *renewing) Write(b []byte) (int, error) {
	r.mu.Lock()
	old, can := r.conn.(outdated)
	due := r.answered && can && old.Outdated() && !r.closed
	r.answered = false
	until := r.deadline
	r.mu.Unlock()
	if due {
		r.replace(until)
	}
	return r.now().Write(b)
}

// replace puts a new connection in the place of the old one. If it cannot be had the
// old one goes on: it still counts, or whoever uses it finds out.
func (r *renewing) replace(until time.Time) {
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if !until.IsZero() {
		ctx, cancel = context.WithDeadline(ctx, until)
	}
	defer cancel()
	fresh, err := r.dial(ctx)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.conn
	if err := fresh.SetDeadline(r.deadline); err != nil || r.closed {
		last = fresh
	} else {
		r.conn = fresh
	}
	_ = last.Close()
}

// Read implements net.Conn.
func (r *renewing) Read(b []byte) (int, error) {
	n, err := r.now().Read(b)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answered = r.answered || n > 0
	return n, err
}

// Close implements net.Conn.
func (r *renewing) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.conn.Close()
}

// SetDeadline implements net.Conn.
func (r *renewing) SetDeadline(t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadline = t
	return r.conn.SetDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (r *renewing) SetReadDeadline(t time.Time) error { return r.now().SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (r *renewing) SetWriteDeadline(t time.Time) error { return r.now().SetWriteDeadline(t) }

// LocalAddr implements net.Conn.
func (r *renewing) LocalAddr() net.Addr { return r.now().LocalAddr() }

// RemoteAddr implements net.Conn.
func (r *renewing) RemoteAddr() net.Addr { return r.now().RemoteAddr() }
