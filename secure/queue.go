package secure

import (
	"context"
	"net"
	"sync"
)

// queue is the net.Listener of one protocol.
type queue struct {
	addr    net.Addr
	conns   chan net.Conn // unbuffered: what is sent has been accepted
	port    <-chan struct{}
	closing chan struct{}
	once    sync.Once
}

func newQueue(addr net.Addr, port <-chan struct{}) *queue {
	return &queue{addr: addr, conns: make(chan net.Conn), port: port, closing: make(chan struct{})}
}

// Accept implements net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case <-q.closing:
	case <-q.port:
	default:
		select {
		case c := <-q.conns:
			return c, nil
		case <-q.closing:
		case <-q.port:
		}
	}
	return nil, &net.OpError{Op: "accept", Net: q.addr.Network(), Addr: q.addr, Err: net.ErrClosed}
}

// Close implements net.Listener.
func (q *queue) Close() error {
	q.once.Do(func() { close(q.closing) })
	return nil
}

// Addr implements net.Listener.
func (q *queue) Addr() net.Addr { return q.addr }

// hand waits until somebody accepts the connection; false: nobody will.
func (q *queue) hand(ctx context.Context, c net.Conn) bool {
	select {
	case q.conns <- c:
		return true
	case <-q.closing:
	case <-q.port:
	case <-ctx.Done():
	}
	return false
}
