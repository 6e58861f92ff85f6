package secure

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxGuests bounds the operators' connections: each is a descriptor and a
	// goroutine that heartbeats and Raft have to do without.
	maxGuests = 256
	// guestQuiet is how long a connection of an operator has carried nothing
	// before it may be closed for another: above what the slowest request, a
	// write while there is no leader, takes without a word (10 s). A stream that
	// is as quiet is closed too: who reads it goes on where it was.
	guestQuiet = 12 * time.Second
	// guestBuffer bounds what the kernel keeps for an operator that does not read,
	// where it would let it grow to 4 MB; it takes twice as much as it is told.
	guestBuffer = 128 << 10
)

// guests are the operators' connections that are open. Members have to get
// through whatever operators do, and one operator whatever another has left
// open.
type guests struct {
	mu   sync.Mutex
	open []*guest
}

// guest is one connection of an operator; it remembers when it last carried
// anything.
type guest struct {
	*Conn
	raw  net.Conn
	of   *guests
	last atomic.Pointer[time.Time]
}

// admit takes a connection in, in place of the one that has been quiet for
// longest if there is no room; nil: none has been quiet for long enough.
func (g *guests) admit(conn *Conn, raw net.Conn) *guest {
	if w, ok := raw.(*watched); ok {
		if tcp, ok := w.Conn.(*net.TCPConn); ok {
			_ = tcp.SetWriteBuffer(guestBuffer) // a hint: without it the kernel decides
		}
	}
	in := &guest{Conn: conn, raw: raw, of: g}
	in.touch()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.open) >= maxGuests {
		oldest := 0
		for i, o := range g.open {
			if o.last.Load().Before(*g.open[oldest].last.Load()) {
				oldest = i
			}
		}
		out := g.open[oldest]
		if in.last.Load().Sub(*out.last.Load()) < guestQuiet {
			return nil
		}
		g.open = append(g.open[:oldest], g.open[oldest+1:]...)
		// Not by way of TLS, which would wait to say goodbye to whoever does not
		// read. Who has accepted it finds it closed.
		_ = out.raw.Close()
	}
	g.open = append(g.open, in)
	return in
}

func (g *guests) forget(out *guest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, o := range g.open {
		if o == out {
			g.open = append(g.open[:i], g.open[i+1:]...)
			return
		}
	}
}

func (c *guest) touch() {
	at := time.Now()
	c.last.Store(&at)
}

// Read implements net.Conn.
func (c *guest) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.touch()
	}
	return n, err
}

// Write implements net.Conn.
func (c *guest) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if n > 0 {
		c.touch()
	}
	return n, err
}

// Close implements net.Conn.
func (c *guest) Close() error {
	c.of.forget(c)
	return c.Conn.Close()
}
