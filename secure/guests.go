package secure

import (
	"crypto/tls"
	"net"
	"time"

	"github.com/flip-ha/flip/secure/room"
)

const (
	// maxGuests bounds the operators' connections: members have to get through
	// whatever operators do.
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

// guest is one connection of an operator.
type guest struct {
	*room.Conn
	secured *Conn
}

// invite takes an operator's connection in; nil: there is no room.
func (l *Listener) invite(conn *Conn, w *watched) *guest {
	if tcp, ok := w.Conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(guestBuffer) // a hint: without it the kernel decides
	}
	// Cut, and not closed by way of TLS, which would wait to say goodbye to whoever
	// does not read.
	in := l.guests.Admit(conn, conn.cut)
	if in == nil {
		return nil
	}
	return &guest{in, conn}
}

// ConnectionState tells who the operator is.
func (g *guest) ConnectionState() tls.ConnectionState { return g.secured.ConnectionState() }
