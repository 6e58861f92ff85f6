package secure

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/secure/room"
)

const (
	// handshakeTimeout bounds a handshake and the wait for somebody to accept its
	// result. A handshake takes 2 ms of computing; 5 s is a lost SYN, twice
	// resent.
	handshakeTimeout = 5 * time.Second
	// maxPending bounds the connections that are not handed over yet. When one
	// more comes, the oldest is dropped: whoever only opens connections and says
	// nothing delays nobody, unless he opens this many within the few
	// milliseconds of an honest handshake.
	maxPending = 256
	// logEvery bounds the log: one line per reason in this time.
	logEvery = 10 * time.Second
	// acceptPause is how long Accept rests after an error that passes, such as
	// too many open files.
	acceptPause = 50 * time.Millisecond
)

// OpenPort listens on a server's TCP address. A connection whose other side is gone
// without a word ends by itself: what is not acknowledged, and what nobody takes off
// a full buffer, would otherwise be waited for, for a quarter of an hour.
func OpenPort(ctx context.Context, addr string) (net.Listener, error) {
	config := net.ListenConfig{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: goneAfter / 2, Interval: goneAfter / 6, Count: 3},
		Control: func(_, _ string, raw syscall.RawConn) error {
			var failed error
			err := raw.Control(func(fd uintptr) { // those that are accepted inherit it
				failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(goneAfter.Milliseconds()))
			})
			return errors.Join(err, failed)
		},
	}
	return config.Listen(ctx, "tcp", addr)
}

// goneAfter is how long the other side of a connection may give no sign: as long as
// a stream waits for a watcher that does not read.
const goneAfter = 30 * time.Second

// Listener takes the connections of one TCP port, does the TLS handshakes and
// hands each connection to Raft, to the members' HTTP or to the operators' API.
type Listener struct {
	inner  net.Listener
	as     Credentials
	config *tls.Config // of as
	log    zerolog.Logger
	raft   *queue
	http   *queue
	api    *queue
	guests *room.Room // of api

	closing chan struct{}
	once    sync.Once

	mu      sync.Mutex
	pending []*watched // oldest first
	failed  map[Failure]*failure
}

// Listen is ListenAs with one configuration for good: Keys.Server, or another with the
// same protocols.
func Listen(inner net.Listener, config *tls.Config, log zerolog.Logger) *Listener {
	return ListenAs(inner, fixed{config}, log)
}

// ListenAs prepares to take the connections that come in on inner, which it then
// owns. Nothing is accepted before Run.
func ListenAs(inner net.Listener, as Credentials, log zerolog.Logger) *Listener {
	closing := make(chan struct{})
	return &Listener{
		inner: inner, as: as, config: as.Server(), log: log, closing: closing,
		raft:   newQueue(inner.Addr(), closing),
		http:   newQueue(inner.Addr(), closing),
		api:    newQueue(inner.Addr(), closing),
		guests: room.New(maxGuests, guestQuiet),
		failed: make(map[Failure]*failure),
	}
}

// Raft yields the connections that speak ProtoRaft; each is a *Conn.
// Closing it leaves HTTP alone.
func (l *Listener) Raft() net.Listener { return l.raft }

// HTTP yields the connections that speak ProtoHTTP; each is a *Conn.
// Closing it leaves Raft alone.
func (l *Listener) HTTP() net.Listener { return l.http }

// API yields the connections of operators, which speak ProtoAPI; OperatorOf says
// whose each is. Closing it leaves the others alone. At most 256 are open at one
// time: one more closes the one that has been quiet for longest.
func (l *Listener) API() net.Listener { return l.api }

// Addr is the address of the port.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Close stops taking connections, for all protocols, and drops those not
// handed over yet. Those handed over belong to whoever accepted them. Run ends.
func (l *Listener) Close() error {
	var err error
	l.once.Do(func() {
		close(l.closing)
		err = l.inner.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, w := range l.pending {
			_ = w.Close()
		}
	})
	if err != nil {
		return fmt.Errorf("close %s: %w", l.inner.Addr(), err)
	}
	return nil
}

// Run takes connections until ctx or the Listener is at its end; it then closes
// the Listener and returns when all it started has ended. The error is nil
// unless the port itself failed.
func (l *Listener) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var handshakes sync.WaitGroup
	defer handshakes.Wait()
	defer func() { _ = l.Close() }() // before the wait: it ends them
	for {
		conn, err := l.inner.Accept()
		switch {
		case err == nil:
			w := l.admit(conn)
			handshakes.Go(func() {
				defer l.dismiss(w)
				l.welcome(ctx, w)
			})
		case l.isClosing():
			return nil
		case errors.Is(err, net.ErrClosed): // by somebody else
			return fmt.Errorf("accept on %s: %w", l.inner.Addr(), err)
		default:
			l.count(FailAccept, nil, err)
			l.rest()
		}
	}
}

func (l *Listener) isClosing() bool {
	select {
	case <-l.closing:
		return true
	default:
		return false
	}
}

// rest waits out an error of Accept, or the end.
func (l *Listener) rest() {
	pause := time.NewTimer(acceptPause)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-l.closing:
	}
}

// watched is a connection on its way through the handshake.
type watched struct {
	net.Conn
	otherKey atomic.Bool // its hello names another key
	oldKey   atomic.Bool // … one that was rotated away
	own      atomic.Bool // it is judged by Certificates
	evicted  atomic.Bool // dropped for a newer one
}

// admit makes room for a new connection, at the expense of the oldest.
func (l *Listener) admit(conn net.Conn) *watched {
	w := &watched{Conn: conn}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) >= maxPending {
		oldest := l.pending[0]
		l.pending = l.pending[1:]
		oldest.evicted.Store(true)
		_ = oldest.Close()
	}
	l.pending = append(l.pending, w)
	if l.isClosing() {
		_ = conn.Close()
	}
	return w
}

// dismiss takes a connection from the pending ones: handed over, or failed.
func (l *Listener) dismiss(w *watched) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, p := range l.pending {
		if p == w {
			l.pending = append(l.pending[:i], l.pending[i+1:]...)
			return
		}
	}
}

// welcome does the handshake of one connection and hands it over.
func (l *Listener) welcome(ctx context.Context, w *watched) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn := &Conn{Conn: tls.Server(w, l.config), raw: w}
	err := conn.HandshakeContext(ctx)
	if err == nil {
		err = l.as.Meet(ctx, conn, Identity{})
	}
	if err != nil {
		reason := l.reason(w, err)
		switch reason {
		case FailOtherKey:
			err = fmt.Errorf("%w: %w", ErrOtherKey, err)
		case FailOldKey:
			err = fmt.Errorf("%w: %w", ErrPeerRotatedAway, err)
		case FailCertificate:
			err = CertificateProblem(err)
		default:
		}
		l.count(reason, w.RemoteAddr(), err)
		_ = w.Close()
		return
	}
	l.pass(ctx, w, conn)
}

// pass hands a connection to whoever takes its protocol.
func (l *Listener) pass(ctx context.Context, w *watched, conn *Conn) {
	var to *queue
	var through net.Conn = conn
	switch proto := conn.ConnectionState().NegotiatedProtocol; proto {
	case ProtoRaft:
		to = l.raft
	case ProtoHTTP:
		to = l.http
	case ProtoAPI:
		guest := l.invite(conn, w)
		if guest == nil {
			l.count(FailBusy, w.RemoteAddr(), nil)
			_ = conn.Close()
			return
		}
		to, through = l.api, guest
	default:
		l.count(FailProtocol, w.RemoteAddr(), fmt.Errorf("%w: %q", ErrProtocol, proto))
		_ = conn.Close()
		return
	}
	if !to.hand(ctx, through) {
		l.count(FailNotAccepted, w.RemoteAddr(), nil)
		_ = through.Close()
	}
}

// reason sorts the failure of a handshake.
func (l *Listener) reason(w *watched, err error) Failure {
	var record tls.RecordHeaderError
	switch {
	case l.isClosing():
		return FailClosing
	case w.evicted.Load():
		return FailCrowded
	case w.own.Load() && CertificateProblem(err) != nil:
		return FailCertificate
	case w.oldKey.Load() || IsRotatedAway(err):
		return FailOldKey
	case w.otherKey.Load() || IsKeyMismatch(err):
		return FailOtherKey
	case errors.Is(err, context.DeadlineExceeded):
		return FailSlow
	case errors.As(err, &record):
		return FailNotTLS
	case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET):
		return FailHungUp
	default:
		return FailHandshake
	}
}
