package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/e2e/swarm"
	"github.com/flip-ha/flip/secure"
)

// traffic counts the bytes to and from one voter.
type traffic struct{ toUDP, fromUDP, toTCP, fromTCP atomic.Uint64 }

func (t *traffic) read() swarm.Traffic {
	return swarm.Traffic{ToUDP: t.toUDP.Load(), FromUDP: t.fromUDP.Load(), ToTCP: t.toTCP.Load(), FromTCP: t.fromTCP.Load()}
}

// counted is a socket whose datagrams are counted.
type counted struct {
	*net.UDPConn
	voters map[netip.AddrPort]*traffic
}

// WriteTo implements net.PacketConn.
func (c *counted) WriteTo(b []byte, to net.Addr) (int, error) {
	n, err := c.UDPConn.WriteTo(b, to)
	if u, ok := to.(*net.UDPAddr); ok && err == nil {
		if t := c.voters[u.AddrPort()]; t != nil {
			t.toUDP.Add(uint64(n))
		}
	}
	return n, err
}

// ReadFrom implements net.PacketConn.
func (c *counted) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.UDPConn.ReadFrom(b)
	if u, ok := from.(*net.UDPAddr); ok && err == nil {
		c.came(u.AddrPort(), n)
	}
	return n, from, err
}

func (c *counted) came(from netip.AddrPort, n int) {
	if t := c.voters[netip.AddrPortFrom(from.Addr().Unmap(), from.Port())]; t != nil {
		t.fromUDP.Add(uint64(n))
	}
}

// SyscallConn implements syscall.Conn: what the Endpoint reads past Go is counted too.
func (c *counted) SyscallConn() (syscall.RawConn, error) {
	raw, err := c.UDPConn.SyscallConn()
	return &countedRaw{raw, c}, err
}

type countedRaw struct {
	syscall.RawConn
	of *counted
}

// Control implements syscall.RawConn. The one who calls it reads a datagram: it is
// looked at before.
func (c *countedRaw) Control(f func(fd uintptr)) error {
	return c.RawConn.Control(func(fd uintptr) {
		var first [1]byte
		n, from, err := unix.Recvfrom(int(fd), first[:], unix.MSG_PEEK|unix.MSG_TRUNC|unix.MSG_DONTWAIT)
		if v4, ok := from.(*unix.SockaddrInet4); ok && err == nil {
			c.of.came(netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), uint16(v4.Port)), n)
		}
		f(fd)
	})
}

// countedStream is a TCP connection whose bytes are counted.
type countedStream struct {
	net.Conn
	of *traffic
}

// Read implements net.Conn.
func (c countedStream) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.of.fromTCP.Add(uint64(n))
	return n, err
}

// Write implements net.Conn.
func (c countedStream) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.of.toTCP.Add(uint64(n))
	return n, err
}

// connectLimit is that of flip's own client.
const connectLimit = 5 * time.Second

// connect makes one agent's connections to members' ports.
func (h *herd) connect(self secure.Identity) func(context.Context, client.Target) (net.Conn, error) {
	return func(ctx context.Context, to client.Target) (net.Conn, error) {
		d := net.Dialer{Timeout: connectLimit}
		conn, err := d.DialContext(ctx, "tcp", to.Addr)
		if err != nil {
			return nil, err
		}
		through := conn
		if addr, err := netip.ParseAddrPort(to.Addr); err == nil && h.traffic[addr] != nil {
			through = countedStream{conn, h.traffic[addr]}
		}
		want := secure.Identity{Name: to.Name, Instance: to.Instance}
		secured := tls.Client(through, h.keys.Client(self, want, secure.ProtoHTTP))
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return secured, nil
	}
}
