package wire

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// patience bounds every wait for what must happen.
const patience = 5 * time.Second

// Every call ends what it started: nothing runs on when the tests are over.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A host is a network namespace. Its thread ends with the test, and the namespace
// with it.
type host struct {
	jobs chan func()
	tid  int
	link Link
	wire *Wire
}

// run does job on a thread in the host's namespace.
func (h *host) run(t testing.TB, job func() error) {
	t.Helper()
	done := make(chan error)
	h.jobs <- func() { done <- job() }
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// ip runs the program of that name in the host's namespace.
func (h *host) ip(t testing.TB, arguments string) string {
	t.Helper()
	var out []byte
	h.run(t, func() (err error) {
		out, err = exec.Command("ip", strings.Fields(arguments)...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("ip %s: %w: %s", arguments, err, out)
		}
		return err
	})
	return string(out)
}

// newHost makes an empty namespace, or skips the test where the kernel refuses.
func newHost(t testing.TB) *host {
	t.Helper()
	h := &host{jobs: make(chan func())}
	ready := make(chan error)
	ended := make(chan struct{})
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
		t.Skipf("no network namespace of its own, so nothing of this was tested: %v", err)
	}
	return h
}

// newLAN makes n hosts on one bridge: host i (from 1) is 10.9.0.i and fd00:9::i
// on "eth0", with the MAC 02:00:00:00:00:0i.
func newLAN(t testing.TB, n int) []*host {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("no ip program, so nothing of this was tested")
	}
	middle := newHost(t)
	middle.ip(t, "link add br0 type bridge stp_state 0 mcast_snooping 0")
	middle.ip(t, "link set br0 up")
	hosts := make([]*host, n)
	for i := range hosts {
		hosts[i] = newHost(t)
		hosts[i].plug(t, middle, i+1)
	}
	return hosts
}

// plug connects the host's eth0 to the bridge of middle.
func (h *host) plug(t testing.TB, middle *host, number int) {
	t.Helper()
	h.link.Name = "eth0"
	h.link.MAC = net.HardwareAddr{2, 0, 0, 0, 0, byte(number)}
	middle.ip(t, fmt.Sprintf("link add p%d type veth peer name eth0 address %s netns %d", number, h.link.MAC, h.tid))
	middle.ip(t, fmt.Sprintf("link set p%d master br0 up", number))
	h.ip(t, "link set lo up")
	h.ip(t, "link set eth0 addrgenmode none up")
	h.ip(t, fmt.Sprintf("addr add 10.9.0.%d/24 dev eth0", number))
	h.ip(t, fmt.Sprintf("addr add fd00:9::%d/64 dev eth0 nodad", number))
	waitFor(t, "eth0 has carrier", func() bool {
		return strings.Contains(h.ip(t, "-o link show eth0"), "state UP") && strings.Contains(middle.ip(t, fmt.Sprintf("-d -o link show p%d", number)), "state forwarding")
	})
	h.run(t, func() error {
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		h.link.Index = eth0.Index
		h.wire = New(zerolog.Nop())
		return nil
	})
	t.Cleanup(func() {
		if err := h.wire.Close(); err != nil {
			t.Error(err)
		}
	})
}

// waitFor asks until it is so.
func waitFor(t testing.TB, what string, isSo func() bool) {
	t.Helper()
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
}

// believe makes the host hold mac for addr, as young as an entry can be.
func (h *host) believe(t testing.TB, addr netip.Addr, mac string) {
	t.Helper()
	h.ip(t, fmt.Sprintf("neigh replace %s lladdr %s nud reachable dev eth0", addr, mac))
}

// believes is the MAC that the host holds for addr.
func (h *host) believes(t testing.TB, addr netip.Addr) string {
	t.Helper()
	words := strings.Fields(h.ip(t, "neigh show to "+addr.String()+" dev eth0"))
	for i, word := range words {
		if word == "lladdr" {
			return words[i+1]
		}
	}
	return ""
}

// A sniffer sees all that reaches a host's eth0.
type sniffer struct {
	t  testing.TB
	fd int
}

func (h *host) sniff(t testing.TB) *sniffer {
	t.Helper()
	s := &sniffer{t: t, fd: -1}
	h.run(t, func() (err error) {
		s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		timeout := unix.NsecToTimeval(patience.Nanoseconds())
		if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
			return err
		}
		return unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: network(unix.ETH_P_ALL), Ifindex: h.link.Index})
	})
	t.Cleanup(func() { _ = unix.Close(s.fd) })
	return s
}

// A seen frame is what a sniffer caught: exactly one of arp and nd is set.
type seen struct {
	to, from net.HardwareAddr
	arp      *ARP
	nd       *ND
}

// next is the next frame from the given MAC that is ARP or ND.
func (s *sniffer) next(from net.HardwareAddr) seen {
	s.t.Helper()
	buffer := make([]byte, largestFrame)
	for {
		n, _, err := unix.Recvfrom(s.fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			s.t.Fatalf("the sniffer waited in vain: %v", err)
		}
		frame := bytes.Clone(buffer[:n])
		if n < 14 || !bytes.Equal(frame[6:12], from) {
			continue
		}
		one := seen{to: frame[:6], from: frame[6:12]}
		if arp, err := ParseARP(frame[14:]); err == nil && frame[12] == 0x08 && frame[13] == 0x06 {
			one.arp = &arp
			return one
		}
		if nd, err := ParseND(frame[14:]); err == nil && frame[12] == 0x86 && frame[13] == 0xdd {
			one.nd = &nd
			return one
		}
	}
}

// inject sends a frame, Ethernet header and all, from the host's eth0.
func (h *host) inject(t testing.TB, frame []byte) {
	t.Helper()
	h.run(t, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: h.link.Index})
	})
}

// frameOf puts an Ethernet header before payload; tag, if any, is a VLAN's.
func frameOf(to, from net.HardwareAddr, kind uint16, tag []byte, payload []byte) []byte {
	frame := append(bytes.Clone(to), from...)
	frame = append(frame, tag...)
	frame = append(frame, byte(kind>>8), byte(kind))
	return append(frame, payload...)
}

func always(netip.Addr) error { return nil }

func addrOf(s string) netip.Addr { return netip.MustParseAddr(s) }

// openFiles counts the descriptors of this process.
func openFiles(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(all)
}
