package netif

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connected dials a listener and hands back both ends.
func connected(t *testing.T, l net.Listener, to string) (client, server net.Conn) {
	t.Helper()
	client, err := net.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client, server
}

// ended reports whether a read fails at once, or nothing comes for a moment.
func ended(t *testing.T, c net.Conn) bool {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, err := c.Read(make([]byte, 1))
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		return false
	}
	return err != nil && !errors.Is(err, io.EOF)
}

func TestDestroySockets(t *testing.T) {
	namespace(t)
	n := open(t)
	lo := index(t, n, "lo")
	all := []Address{
		address(lo, "10.0.0.50/32", AtMostOne, time.Minute), address(lo, "2001:db8::50/128", AtMostOne, time.Minute),
		address(lo, "10.0.0.51/32", AtMostOne, time.Minute),
	}
	fine(t, n.Add(all))
	both, err := net.Listen("tcp", "[::]:0") // IPv4 connections are IPv6 ones here
	if err != nil {
		t.Fatal(err)
	}
	only, err := net.Listen("tcp4", "10.0.0.50:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = both.Close(), only.Close() })
	_, port, _ := net.SplitHostPort(both.Addr().String())
	var clients, servers []net.Conn
	add := func(c, s net.Conn) { clients, servers = append(clients, c), append(servers, s) }
	add(connected(t, both, "10.0.0.50:"+port))
	add(connected(t, both, "[2001:db8::50]:"+port))
	add(connected(t, only, only.Addr().String()))
	_, kept := connected(t, both, "10.0.0.51:"+port)

	fine(t, n.Remove(all[:2]))
	for i := range servers { // the trap: without DestroySockets they live on
		if ended(t, servers[i]) {
			t.Errorf("connection %d has ended with its address", i)
		}
	}
	count, err := n.DestroySockets([]netip.Addr{all[0].Prefix.Addr(), all[1].Prefix.Addr()})
	// Both ends are on this host; that of the client has the address too, since
	// the kernel talks to itself by it.
	if err != nil || count < len(servers) {
		t.Fatalf("%d ended, %v", count, err)
	}
	for i := range servers {
		if !ended(t, servers[i]) {
			t.Errorf("connection %d lives on", i)
		}
	}
	if ended(t, kept) {
		t.Error("a connection of another address has ended")
	}
	// Listeners stay, and serve the address when it comes back.
	fine(t, n.Add(all))
	connected(t, both, "10.0.0.50:"+port)
	connected(t, only, only.Addr().String())

	if count, err := n.DestroySockets(nil); count != 0 || err != nil {
		t.Errorf("nothing: %d, %v", count, err)
	}
	drop(t, unix.CAP_NET_ADMIN)
	if _, err := n.DestroySockets([]netip.Addr{all[0].Prefix.Addr()}); !errors.Is(err, ErrForbidden) {
		t.Errorf("without the capability: %v", err)
	}
}
