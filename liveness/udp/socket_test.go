package udp

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
	"github.com/flip-ha/flip/secure"
)

const patience = 10 * time.Second

// listen opens a socket on loopback, or skips what the machine does not have.
func listen(t *testing.T, address string) *net.UDPConn {
	t.Helper()
	addr, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp", addr)
	if err != nil && addr.IP.To4() == nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// socketEndpoint is an endpoint on a real socket.
func socketEndpoint(self fsm.MemberID, process byte, conn Conn, addrs map[fsm.MemberID]net.Addr) *Endpoint {
	p := liveness.New(liveness.Config{
		Self: self, Instance: "i", Process: fsm.Nonce{process}, Started: Boottime(), Voter: true,
		NewNonce: func() fsm.Nonce { return fsm.Nonce{process, 1} },
	})
	return New(Config{
		Self: self, Clock: Boottime, Log: zerolog.Nop(),
		Cluster: func() string { return "c1" },
		Resolve: func(to fsm.MemberID) (net.Addr, bool) { a, ok := addrs[to]; return a, ok },
		Servers: func() []fsm.MemberID { return two },
	}, conn, keys().Box(secure.Sender{Name: self, Instance: "i", Process: fsm.Nonce{process}}), p)
}

func TestRealSockets(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			one, other := listen(t, address), listen(t, address)
			addrs := map[fsm.MemberID]net.Addr{"n1": one.LocalAddr(), "n2": other.LocalAddr()}
			nodes := map[fsm.MemberID]*Endpoint{
				"n1": socketEndpoint("n1", 1, one, addrs),
				"n2": socketEndpoint("n2", 2, other, addrs),
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 2)
			for _, n := range nodes {
				go func() { ended <- n.Run(ctx) }()
			}
			// Garbage, to be mapped to the server whose address it comes from.
			if _, err := other.WriteTo([]byte("garbage"), one.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			heard := func() bool {
				a, b := nodes["n1"].Peers(), nodes["n2"].Peers()
				return a[0].Heard >= 0 && b[0].Heard >= 0 && a[0].Drops[DropForeign] == 1
			}
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for deadline := time.After(patience); !heard(); {
				select {
				case <-tick.C:
				case <-deadline:
					t.Fatalf("n1 knows %+v, n2 knows %+v", nodes["n1"].Peers(), nodes["n2"].Peers())
				}
			}
			cancel()
			for range nodes {
				if err := <-ended; err != nil {
					t.Errorf("Run: %v", err)
				}
			}
		})
	}
}

// What has arrived is taken in before the tick, however late the tick is: Go
// itself no longer reads a socket whose deadline has passed.
func TestArrivedComesBeforeTheTick(t *testing.T) {
	one, other := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	addrs := map[fsm.MemberID]net.Addr{"n1": one.LocalAddr(), "n2": other.LocalAddr()}
	e := socketEndpoint("n1", 1, one, addrs)
	const count = 50
	box := keys().Box(secure.Sender{Name: "n2", Instance: "i", Process: fsm.Nonce{2}})
	for range count {
		sealed := box.Seal(mustEncode(t, packet{cluster: "c1", to: "n1", kind: kindHail}))
		if _, err := other.WriteTo(sealed, one.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var before uint64
	asked := 0
	e.cfg.Servers = func() []fsm.MemberID { // at the start, then by the first tick, under the lock
		if asked++; asked == 2 {
			if p := e.stats.peers["n2"]; p != nil {
				before = p.Received
			}
			cancel()
		}
		return two
	}
	e.wake() // the deadline has passed long ago
	if err := e.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if before != count {
		t.Errorf("%d of %d were taken in before the tick", before, count)
	}
}

func TestWaitingReadsPastTheDeadline(t *testing.T) {
	one, other := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	w, buf := newWaiting(one), make([]byte, 64)
	if _, _, ok := w.read(buf); ok {
		t.Fatal("something in an empty socket")
	}
	if err := one.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := other.WriteTo([]byte("flip"), one.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := one.ReadFrom(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Go has read a socket past its deadline: %v", err)
	}
	n, from, ok := w.read(buf)
	if !ok || string(buf[:n]) != "flip" || from != keyOf(other.LocalAddr()) {
		t.Errorf("read %q from %v, %v", buf[:n], from, ok)
	}
}

// A socket for both families tells IPv4 sources as IPv4, whichever way it is read.
func TestBothFamiliesOnOneSocket(t *testing.T) {
	both, other := listen(t, "[::]:0"), listen(t, "127.0.0.1:0")
	port := both.LocalAddr().(*net.UDPAddr).Port
	to := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
	buf := make([]byte, 64)
	for range 2 {
		if _, err := other.WriteTo([]byte("flip"), to); err != nil {
			t.Skipf("the socket takes no IPv4: %v", err)
		}
	}
	if _, from, ok := newWaiting(both).read(buf); !ok || from != keyOf(other.LocalAddr()) {
		t.Errorf("read without waiting: from %v, %v", from, ok)
	}
	if err := both.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, from, err := both.ReadFrom(buf); err != nil || keyOf(from) != keyOf(other.LocalAddr()) {
		t.Errorf("read: from %v, %v", from, err)
	}
}

func TestBoottimeMovesForward(t *testing.T) {
	a := Boottime()
	b := Boottime()
	if a <= 0 || b < a {
		t.Errorf("%v, then %v", a, b)
	}
}

func TestKeyOf(t *testing.T) {
	mapped := &net.UDPAddr{IP: net.ParseIP("::ffff:10.0.0.1"), Port: 1}
	plain := &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1).To4(), Port: 1}
	if keyOf(mapped) != keyOf(plain) || !keyOf(plain).IsValid() {
		t.Errorf("%v and %v", keyOf(mapped), keyOf(plain))
	}
	if keyOf(&net.UnixAddr{Name: "x"}).IsValid() || keyOf(nil).IsValid() {
		t.Error("what has no port has a key")
	}
}

// What a thousand members send while the process has no processor waits for it.
func TestStalledProcessLosesNothing(t *testing.T) {
	conn, other := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	w := newWaiting(conn)
	w.widen()
	size := 0
	if err := w.raw.Control(func(fd uintptr) { size, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF) }); err != nil {
		t.Fatal(err)
	}
	most, err := os.ReadFile("/proc/sys/net/core/rmem_max")
	if err != nil {
		t.Fatal(err)
	}
	if allowed, _ := strconv.Atoi(strings.TrimSpace(string(most))); os.Geteuid() != 0 && allowed < roomFor {
		t.Skipf("the kernel gives %d bytes", allowed)
	}
	if size < roomFor {
		t.Errorf("the buffer has %d bytes", size)
	}
	const beats = 3000
	for range beats {
		if _, err := other.WriteTo(make([]byte, 300), conn.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, readSize)
	for n := range beats {
		if _, _, ok := w.read(buf); !ok {
			t.Fatalf("%d of %d are there", n, beats)
		}
	}
}
