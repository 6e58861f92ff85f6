// Package server answers flip's control API over HTTP: on a unix socket, which
// file permissions guard, and for members only on a server's own TLS port. It
// reaches the node through the small interfaces declared here.
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure/room"
)

const (
	// A client that has not sent its header by then is not one of ours; it must
	// not hold a connection for ever.
	readHeaderTimeout = 5 * time.Second
	// The largest body, a proposal of 8 MiB, takes 1 s on a link of 64 Mbit/s.
	readTimeout = 30 * time.Second
	// Above client.idleTimeout, so that the client is the side that closes: a
	// request on a connection the server has just closed would fail.
	idleTimeout = 2 * time.Minute
	// How long requests under way may take to end when the server stops.
	drainTimeout   = 2 * time.Second
	maxHeaderBytes = 64 << 10
)

// socketRoom is for as many watchers as are let in, and as many others. The slowest
// request, a write while there is no leader, is silent for 10 s; a stream that is as
// quiet is closed too, and who reads it goes on where it was.
func socketRoom() *room.Room { return room.New(2*maxWatchers, 12*time.Second) }

// metricsRoom is for a port where anybody may come: an answer takes milliseconds.
func metricsRoom() *room.Room { return room.New(64, time.Second) }

// Node is what the server reads of a node.
type Node interface {
	View() (*fsm.State, fsm.Index)
	Leader() (name fsm.MemberID, addr string)
}

// StatusSource gives the status of this node; Compose makes one. It is called for
// each request, from its goroutine, and must not block.
type StatusSource interface{ Status() api.Status }

// Verifier asks the leader: Verify returns once View holds everything that was
// committed when it was called. Its error is an *api.Error with CodeNoLeader
// when there is nobody to ask.
type Verifier interface{ Verify(context.Context) error }

// Proposer has a command agreed on, wherever the leader is, and returns once View
// shows it. Its error is an *api.Error with CodeNoLeader when nobody can commit,
// with CodeUncertain when it is not known whether somebody has.
type Proposer interface {
	Propose(context.Context, fsm.Command) (fsm.Result, error)
}

// PeerNode answers other members. ProposeBytes commits on the leader; anywhere
// else its error wraps an *api.Error made by api.NotLeader.
type PeerNode interface {
	Hello(api.Hello) api.Hello
	ProposeBytes(context.Context, []byte) (fsm.Result, error)
}

// Server is an HTTP server for one of the two sides.
type Server struct {
	http *http.Server
	log  zerolog.Logger
	room *room.Room // nil: whoever made the listener sees to it
}

func newServer(h http.Handler, log zerolog.Logger) *Server {
	return &Server{
		log: log,
		http: &http.Server{
			Handler:           h,
			ReadHeaderTimeout: readHeaderTimeout,
			ReadTimeout:       readTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          stdLog(log),
			ConnContext:       keepConn,
		},
	}
}

// Run serves until ctx ends or l fails, and returns when every request has
// ended. It closes l. A Server runs once.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	base, cancel := context.WithCancel(ctx)
	defer cancel()
	s.http.BaseContext = func(net.Listener) context.Context { return base }
	served := make(chan error, 1)
	if s.room != nil {
		l = room.Listen(l, s.room)
	}
	go func() { served <- s.http.Serve(hideTLS{l}) }()
	select {
	case err := <-served:
		_ = s.http.Close()
		return stopped(ctx, l, err)
	case <-ctx.Done():
	}
	// base has ended with ctx: a request that waits for something gives up now.
	drain, stop := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer stop()
	if err := s.http.Shutdown(drain); err != nil {
		s.log.Warn().Err(err).Msg("requests cut off")
		_ = s.http.Close()
	}
	return stopped(ctx, l, <-served)
}

// stopped is why serving has ended. When all ends, whoever made the listener may
// close it before this server is told to stop: that is no failure.
func stopped(ctx context.Context, l net.Listener, err error) error {
	if errors.Is(err, http.ErrServerClosed) || ctx.Err() != nil && errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("serve %s: %w", l.Addr(), err)
}

// hideTLS hides from net/http that a connection is TLS: it would close one
// whose ALPN name is not HTTP's own, and the port has made the handshake
// already.
type hideTLS struct{ net.Listener }

type plainConn struct{ net.Conn }

// CloseWrite lets net/http end an answer to a body it did not read without a
// reset that would overtake it.
func (c plainConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Accept implements net.Listener.
func (h hideTLS) Accept() (net.Conn, error) {
	c, err := h.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return plainConn{c}, nil
}

type connKey struct{}

func keepConn(ctx context.Context, c net.Conn) context.Context {
	if p, ok := c.(plainConn); ok {
		c = p.Conn
	}
	return context.WithValue(ctx, connKey{}, c)
}

// connOf is the connection as the listener gave it.
func connOf(r *http.Request) net.Conn {
	c, _ := r.Context().Value(connKey{}).(net.Conn)
	return c
}
