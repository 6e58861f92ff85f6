package secure

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Credentials is what one process shows on its TLS connections, and what it demands
// of the other side. It is all that whoever dials or listens knows of keys and
// certificates; what changes while the process runs (a key that is rotated, a
// certificate that is renewed) counts for every handshake that begins afterwards.
type Credentials interface {
	// Server is the configuration of the listening side, asked for once.
	Server() *tls.Config
	// Client is that of the calling side, asked for anew for each connection. It
	// speaks proto and refuses, with a *WrongPeerError, whom it can tell from the
	// one wanted; an empty Instance takes any, an empty Name any node.
	Client(want Identity, proto string) *tls.Config
	// Meet is called on either side once a handshake is done and before anything
	// else is sent or read: it finds out who the other one is, for Conn.Peer, and
	// refuses whom it does not want. Listening sides want the zero Identity. An
	// operator is nobody's Peer.
	Meet(ctx context.Context, c *Conn, want Identity) error
	// Explain makes of a failed handshake's error one of this package's, if it is.
	Explain(err error) error
}

// Conn is a connection whose handshake is done and whose other side is known.
type Conn struct {
	*tls.Conn
	raw      net.Conn
	peer     Identity
	outdated atomic.Bool
	once     sync.Once
	closed   func() // nil: nobody wants to know
}

// Peer is the member at the other end; the zero Identity: an operator.
func (c *Conn) Peer() Identity { return c.peer }

// Outdated reports whether a new connection to the same place would be by other
// credentials: this one ought to be replaced when it suits.
func (c *Conn) Outdated() bool { return c.outdated.Load() }

// Close implements net.Conn.
func (c *Conn) Close() error {
	c.once.Do(func() {
		if c.closed != nil {
			c.closed()
		}
	})
	return c.Conn.Close()
}

// cut ends the connection under whoever uses it, and waits for nobody: TLS would
// take leave of the other side first.
func (c *Conn) cut() { _ = c.raw.Close() }

// dialTimeout bounds connecting and the handshake: three lost SYNs take 3 s.
const dialTimeout = 5 * time.Second

// Dial connects to another member.
func Dial(ctx context.Context, addr string, as Credentials, want Identity, proto string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return Call(ctx, raw, as, want, proto)
}

// Call does the handshake of the calling side on a connection, which it then owns.
func Call(ctx context.Context, raw net.Conn, as Credentials, want Identity, proto string) (*Conn, error) {
	c := &Conn{Conn: tls.Client(raw, as.Client(want, proto)), raw: raw}
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, as.Explain(err)
	}
	if err := as.Meet(ctx, c, want); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// fixed are Credentials that are one configuration of the listening side.
type fixed struct{ config *tls.Config }

// Server implements Credentials.
func (f fixed) Server() *tls.Config { return f.config }

// Client implements Credentials; nobody calls with these.
func (f fixed) Client(Identity, string) *tls.Config { return f.config }

// Meet implements Credentials.
func (f fixed) Meet(_ context.Context, c *Conn, _ Identity) error { return c.introduce() }

// Explain implements Credentials.
func (f fixed) Explain(err error) error { return err }

// introduce takes who the other side is from its certificate.
func (c *Conn) introduce() (err error) {
	if cs := c.ConnectionState(); cs.NegotiatedProtocol != ProtoAPI {
		c.peer, err = PeerOfState(cs)
	}
	return err
}
