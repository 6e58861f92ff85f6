// Package room bounds how many connections are open on a port or a socket: each is a
// descriptor and a goroutine that heartbeats and Raft have to do without.
package room

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Room is for a limited number of connections. Whoever comes when it is full takes the
// place of the one that has been quiet for longest, if that is long enough: what one
// client has left open shuts no other one out.
type Room struct {
	most  int
	quiet time.Duration

	mu   sync.Mutex
	open []*Conn
}

// New makes a room for so many connections. One that has carried something for less
// than quiet is not closed for another.
func New(most int, quiet time.Duration) *Room { return &Room{most: most, quiet: quiet} }

// Conn is a connection in a Room, which remembers when it last carried anything.
type Conn struct {
	net.Conn
	cut  func()
	of   *Room
	last atomic.Pointer[time.Time]
}

// Admit takes a connection in; nil: there is no room. It is ended by cut if another
// takes its place; who reads from it finds it closed.
func (r *Room) Admit(conn net.Conn, cut func()) *Conn {
	in := &Conn{Conn: conn, cut: cut, of: r}
	in.touch()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.open) >= r.most {
		quietest := 0
		for i, c := range r.open {
			if c.last.Load().Before(*r.open[quietest].last.Load()) {
				quietest = i
			}
		}
		out := r.open[quietest]
		if in.last.Load().Sub(*out.last.Load()) < r.quiet {
			return nil
		}
		r.open = append(r.open[:quietest], r.open[quietest+1:]...)
		out.cut()
	}
	r.open = append(r.open, in)
	return in
}

// Open are the connections in the room.
func (r *Room) Open() []*Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*Conn(nil), r.open...)
}

func (r *Room) forget(out *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, c := range r.open {
		if c == out {
			r.open = append(r.open[:i], r.open[i+1:]...)
			return
		}
	}
}

func (c *Conn) touch() {
	at := time.Now()
	c.last.Store(&at)
}

// Bare is the connection itself, for who asks the kernel about it.
func (c *Conn) Bare() net.Conn { return c.Conn }

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.touch()
	}
	return n, err
}

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if n > 0 {
		c.touch()
	}
	return n, err
}

// CloseWrite is that of the connection: net/http ends an answer by it.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	c.of.forget(c)
	return c.Conn.Close()
}

// Listener is a listener whose connections are in a Room.
type Listener struct {
	net.Listener
	room *Room
}

// Listen takes a listener's connections into a room.
func Listen(l net.Listener, r *Room) *Listener { return &Listener{l, r} }

// Accept implements net.Listener. Connections for which there is no room are closed.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if in := l.room.Admit(conn, func() { _ = conn.Close() }); in != nil {
			return in, nil
		}
		_ = conn.Close()
	}
}
