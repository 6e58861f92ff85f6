package ip

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/actions/gate"
	"github.com/flip-ha/flip/actions/netif"
	"github.com/flip-ha/flip/actions/wire"
)

// patience bounds every wait for what must happen.
const patience = 5 * time.Second

// box is a network namespace. Its thread ends with the test, and the namespace
// with it.
type box struct {
	t    testing.TB
	jobs chan func()
	tid  int
	mac  string
}

// newHost makes an empty namespace, or skips the test where the kernel refuses.
func newHost(t testing.TB) *box {
	t.Helper()
	h := &box{t: t, jobs: make(chan func())}
	ready, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // never unlocked
		h.tid = unix.Gettid()
		err := unix.Unshare(unix.CLONE_NEWNET)
		ready <- err
		for job := range h.jobs {
			job()
		}
	}()
	err := <-ready
	t.Cleanup(func() { close(h.jobs); <-ended })
	if err != nil {
		t.Skipf("no network namespace can be made here (root?), so nothing of this was tested: %v", err)
	}
	return h
}

// run does job on a thread in the host's namespace.
func (h *box) run(job func() error) {
	h.t.Helper()
	done := make(chan error)
	h.jobs <- func() { done <- job() }
	if err := <-done; err != nil {
		h.t.Fatal(err)
	}
}

// ip runs the program of that name in the host's namespace.
func (h *box) ip(format string, args ...any) string {
	h.t.Helper()
	var out []byte
	line := fmt.Sprintf(format, args...)
	h.run(func() (err error) {
		out, err = exec.Command("ip", strings.Fields(line)...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
		return err
	})
	return string(out)
}

// newLAN makes hosts on one bridge: host i (from 1) is 10.9.0.i/16 and fd00:9::i/64
// on "eth0", with the MAC 02:00:00:00:00:0i.
func newLAN(t testing.TB, n int) []*box {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("no ip program, so nothing of this was tested")
	}
	middle := newHost(t)
	middle.ip("link add br0 type bridge stp_state 0 mcast_snooping 0")
	middle.ip("link set br0 up")
	hosts := make([]*box, n)
	for i := range hosts {
		h := newHost(t)
		hosts[i] = h
		h.mac = fmt.Sprintf("02:00:00:00:00:%02x", i+1)
		middle.ip("link add p%d type veth peer name eth0 address %s netns %d", i+1, h.mac, h.tid)
		middle.ip("link set p%d master br0 up", i+1)
		h.ip("link set lo up")
		h.up(i + 1)
	}
	for i := range hosts {
		waitFor(t, "the bridge forwards", func() bool {
			return strings.Contains(middle.ip("-d -o link show p%d", i+1), "state forwarding")
		})
	}
	return hosts
}

func (h *box) up(number int) {
	h.t.Helper()
	h.ip("link set eth0 addrgenmode none up")
	h.ip("addr add 10.9.0.%d/16 dev eth0", number)
	h.ip("addr add fd00:9::%d/64 dev eth0 nodad", number)
	waitFor(h.t, "eth0 has carrier", func() bool { return strings.Contains(h.ip("-o link show eth0"), "state UP") })
}

// waitFor asks until it is so, and answers how long that took.
func waitFor(t testing.TB, what string, isSo func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	end := time.NewTimer(patience)
	defer end.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !isSo() {
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatalf("never came true: %s", what)
		}
	}
	return time.Since(began)
}

// believes is the MAC that the host holds for addr.
func (h *box) believes(addr string) string {
	h.t.Helper()
	words := strings.Fields(h.ip("neigh show to %s dev eth0", addr))
	for i, word := range words {
		if word == "lladdr" {
			return words[i+1]
		}
	}
	return ""
}

// node is a driver with the real leaves.
type node struct {
	*box
	net      *netif.Net
	wire     *wire.Wire
	gate     *gate.Gate
	d        *Driver
	log      lines
	rechecks atomic.Int64
}

// newNode runs a driver on a host; its gate is open for a minute.
func newNode(h *box, members ...string) *node {
	h.t.Helper()
	n := &node{box: h}
	log := zerolog.New(&n.log)
	h.run(func() (err error) {
		if n.net, err = netif.Open(log); err != nil {
			return err
		}
		n.wire = wire.New(log)
		if n.gate, err = gate.Open(gate.Config{Name: "flip-test", Log: log}, nil); err != nil {
			return err
		}
		return n.gate.Renew(func() (time.Duration, bool) { return time.Minute, true })
	})
	n.d = New(Config{
		Self: "n1", Links: n.net, Addresses: n.net, Wire: n.wire, Gate: n.gate,
		TTL: func() time.Duration { return 300 * time.Millisecond },
		Member: func(m net.HardwareAddr) bool {
			for _, one := range members {
				if m.String() == one {
					return true
				}
			}
			return false
		},
		Recheck: func() { n.rechecks.Add(1) }, Log: log,
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 3)
	go func() { ended <- n.d.Run(ctx) }()
	go func() { ended <- n.net.Run(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				h.t.Error(err)
			}
		}
		_ = n.gate.Close()
		_ = n.wire.Close()
		_ = n.net.Close()
	})
	return n
}

func (n *node) plumbed(addr string) (netif.Address, bool) {
	want := netip.MustParseAddr(addr)
	for _, a := range n.net.Addresses() {
		if a.Prefix.Addr() == want {
			return a, true
		}
	}
	return netif.Address{}, false
}
