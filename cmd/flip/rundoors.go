package main

import (
	"context"
	"net"
	"sync"
)

// doors hands the connections that other servers make for Raft to whoever takes part
// in it at the moment. Raft closes the listener that it is given, and may be opened
// again; the port stays. While nobody is there a connection is closed at once.
type doors struct {
	port net.Listener

	mu   sync.Mutex
	open *door
}

// door is the listener of one run of Raft.
type door struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newDoors(port net.Listener) *doors { return &doors{port: port} }

// next opens a door; the one before it is closed.
func (d *doors) next() *door {
	n := &door{addr: d.port.Addr(), conns: make(chan net.Conn), closed: make(chan struct{})}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open != nil {
		_ = d.open.Close()
	}
	d.open = n
	return n
}

// Run takes connections until ctx or the port is at its end.
func (d *doors) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = d.port.Close() })
	defer stop()
	for {
		conn, err := d.port.Accept()
		if err != nil {
			return nil //nolint:nilerr // the port itself says why it has ended
		}
		d.mu.Lock()
		to := d.open
		d.mu.Unlock()
		if to == nil || !to.hand(ctx, conn) {
			_ = conn.Close()
		}
	}
}

func (d *door) hand(ctx context.Context, c net.Conn) bool {
	select {
	case d.conns <- c:
		return true
	case <-d.closed:
	case <-ctx.Done():
	}
	return false
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.conns:
		return c, nil
	case <-d.closed:
		return nil, &net.OpError{Op: "accept", Net: d.addr.Network(), Addr: d.addr, Err: net.ErrClosed}
	}
}

// Close implements net.Listener.
func (d *door) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

// Addr implements net.Listener.
func (d *door) Addr() net.Addr { return d.addr }
