package server

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// bounded is a listener with a limited number of connections open: each is a
// descriptor, of which heartbeats and Raft need some too. Whoever opens more than
// there is room for closes those that have been quiet for longest.
type bounded struct {
	net.Listener
	most  int
	quiet time.Duration // what has carried something since is not closed for another

	mu   sync.Mutex
	open []*boundedConn
}

// bound limits a listener. With no connection that was quiet for as long as quiet, a
// new one is turned away.
func bound(l net.Listener, most int, quiet time.Duration) net.Listener {
	return &bounded{Listener: l, most: most, quiet: quiet}
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if in := b.admit(conn); in != nil {
			return in, nil
		}
		_ = conn.Close()
	}
}

// admit makes room for a connection; nil: there is none.
func (b *bounded) admit(conn net.Conn) *boundedConn {
	in := &boundedConn{Conn: conn, of: b}
	in.touch()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.open) >= b.most {
		oldest := 0
		for i, c := range b.open {
			if c.last.Load().Before(*b.open[oldest].last.Load()) {
				oldest = i
			}
		}
		out := b.open[oldest]
		if in.last.Load().Sub(*out.last.Load()) < b.quiet {
			return nil
		}
		b.open = append(b.open[:oldest], b.open[oldest+1:]...)
		_ = out.Conn.Close() // who serves it finds it closed
	}
	b.open = append(b.open, in)
	return in
}

func (b *bounded) forget(out *boundedConn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, c := range b.open {
		if c == out {
			b.open = append(b.open[:i], b.open[i+1:]...)
			return
		}
	}
}

// boundedConn remembers when it last carried anything.
type boundedConn struct {
	net.Conn
	of   *bounded
	last atomic.Pointer[time.Time]
}

func (c *boundedConn) touch() {
	at := time.Now()
	c.last.Store(&at)
}

// Read implements net.Conn.
func (c *boundedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.touch()
	}
	return n, err
}

// Write implements net.Conn.
func (c *boundedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if n > 0 {
		c.touch()
	}
	return n, err
}

// CloseWrite is that of the connection: net/http ends an answer by it.
func (c *boundedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close implements net.Conn.
func (c *boundedConn) Close() error {
	c.of.forget(c)
	return c.Conn.Close()
}
