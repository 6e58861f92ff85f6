package ip

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/actions/netif"
	"github.com/flip-ha/flip/fsm"
)

func TestRealTakeover(t *testing.T) {
	lan := newLAN(t, 2)
	n, peer := newNode(lan[0]), lan[1]
	for _, a := range []string{"10.9.1.1", "fd00:9::1:1"} {
		peer.ip("neigh replace %s lladdr 02:00:00:00:00:77 nud reachable dev eth0", a)
	}
	job := asking("a", "10.9.1.1/32", "fd00:9::1:1/128")
	began := time.Now()
	must(t, n.d.Acquire(t.Context(), job))
	t.Logf("acquired in %v", time.Since(began))
	for _, a := range []string{"10.9.1.1", "fd00:9::1:1"} {
		waitFor(t, "the peer believes the announcement", func() bool { return peer.believes(a) == n.mac })
		if got, ok := n.plumbed(a); !ok || got.Mark != netif.AtMostOne || got.Valid > time.Minute || got.Valid < 50*time.Second {
			t.Errorf("%s: %+v", a, got)
		}
	}
	peer.run(func() error { return ping(peer, "10.9.1.1") })
	must(t, n.d.Release(t.Context(), job))
	if out := n.ip("addr show"); strings.Contains(out, "10.9.1.1") || strings.Contains(out, "fd00:9::1:1") {
		t.Errorf("still plumbed: %s", out)
	}
	if got := n.gate.Stats().Addrs; got != 0 {
		t.Errorf("%d addresses in the gate", got)
	}
}

// ping waits for one answer to an ARP request: the address is reachable.
func ping(h *box, addr string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var to unix.SockaddrInet4
	if _, err := fmt.Sscanf(addr, "%d.%d.%d.%d", &to.Addr[0], &to.Addr[1], &to.Addr[2], &to.Addr[3]); err != nil {
		return err
	}
	to.Port = 9
	timeout := unix.NsecToTimeval(patience.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return err
	}
	if err := unix.Connect(fd, &to); err != nil {
		return err
	}
	if _, err := unix.Write(fd, []byte("hello")); err != nil {
		return err
	}
	// Nobody listens there, which the host's kernel says by itself.
	if _, err := unix.Read(fd, make([]byte, 16)); !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("%s does not answer: %w", addr, err)
	}
	return nil
}

func TestRealRepair(t *testing.T) {
	n := newNode(newLAN(t, 1)[0])
	n.ip("link add dum type veth peer name dee")
	n.ip("link set dum up")
	n.ip("link set dee up")
	job := gatedJob("a", "10.9.1.1/32", "fd00:9::1:1/128")
	must(t, n.d.Acquire(t.Context(), job))
	whole := func() bool {
		for _, a := range []string{"10.9.1.1", "fd00:9::1:1"} {
			got, ok := n.plumbed(a)
			if !ok || got.Mark != netif.AtMostOne || got.Valid == 0 || got.Valid > 62*time.Second {
				return false
			}
		}
		// Whole addresses: a piece of one may stand in the MAC that the kernel drew.
		dum := n.ip("addr show dev dum")
		return !strings.Contains(dum, "fd00:9::1:1/") && !strings.Contains(dum, "10.9.1.1/")
	}
	for _, c := range []struct{ what, do string }{
		{"removed", "addr del 10.9.1.1/32 dev eth0"},
		{"removed, IPv6", "addr del fd00:9::1:1/128 dev eth0"},
		{"made permanent", "addr replace 10.9.1.1/32 dev eth0"},
		{"made permanent, IPv6", "addr replace fd00:9::1:1/128 dev eth0"},
		{"flushed", "-6 addr flush dev eth0 scope global"},
		{"plumbed twice", "addr add 10.9.1.1/32 dev dum"},
	} {
		before := n.d.Stats().Repairs
		n.ip("%s", c.do)
		took := waitFor(t, c.what+" is put right", func() bool { return n.d.Stats().Repairs > before && whole() })
		t.Logf("%s: right again after %v", c.what, took)
		if took > 200*time.Millisecond {
			t.Errorf("%s: right again after %v only", c.what, took)
		}
	}
	if got := n.log.count("somebody altered an address"); got == 0 {
		t.Error("nothing was logged")
	}
}

func TestRealStranger(t *testing.T) {
	lan := newLAN(t, 3)
	n, stranger, member := newNode(lan[0], "02:00:00:00:00:03"), lan[1], lan[2]
	for _, a := range []string{"10.9.1.1", "fd00:9::1:1"} {
		// From the cold: the first question of a pair of hosts takes longer.
		bits := map[bool]string{true: "/32", false: "/128 nodad"}[strings.Contains(a, ".")]
		stranger.ip("addr add %s%s dev eth0", a, bits)
		job := asking("a", a)
		err := n.d.Acquire(t.Context(), job)
		if err == nil {
			waitFor(t, "the stranger is found after plumbing", func() bool { return n.d.Unfit(&job) != "" })
			err = errors.New(n.d.Unfit(&job))
			must(t, n.d.Release(t.Context(), job))
		}
		if !strings.Contains(err.Error(), a+" is answered by "+stranger.mac) {
			t.Errorf("%v", err)
		}
		if _, ok := n.plumbed(a); ok {
			t.Errorf("%s is plumbed", a)
		}
		if !strings.Contains(n.d.Unfit(&job), stranger.mac) || n.rechecks.Load() == 0 {
			t.Errorf("unfit: %q", n.d.Unfit(&job))
		}
		stranger.ip("addr del %s dev eth0", strings.Fields(a + bits)[0])
	}
	member.ip("addr add 10.9.1.2/32 dev eth0")
	must(t, n.d.Acquire(t.Context(), asking("b", "10.9.1.2/32")))
}

func TestRealLinkLostAndMadeAnew(t *testing.T) {
	lan := newLAN(t, 1)
	n := newNode(lan[0])
	n.ip("link add va type veth peer name vb")
	n.ip("link set va up")
	n.ip("link set vb up")
	job := gatedJob("a", "192.0.2.1/32", "2001:db8::1/128")
	job.Interface = "va"
	waitFor(t, "va carries", func() bool { return n.d.Unfit(&job) == "" })
	must(t, n.d.Acquire(t.Context(), job))

	for _, c := range []struct{ what, do, words string }{
		{"its cable is cut", "link set vb down", "interface va has no carrier"},
		{"it is set down", "link set va down", "interface va is down"},
		{"it is deleted", "link del va", "no such interface"},
	} {
		before := n.rechecks.Load()
		n.ip("%s", c.do)
		took := waitFor(t, c.what, func() bool { return n.rechecks.Load() > before && strings.Contains(n.d.Unfit(&job), c.words) })
		t.Logf("%s: known after %v", c.what, took)
	}
	must(t, n.d.Release(t.Context(), job))
	n.ip("link add va type veth peer name vb")
	n.ip("link set vb up")
	n.ip("link set va up")
	waitFor(t, "va is there again", func() bool { return n.d.Unfit(&job) == "" })
	must(t, n.d.Acquire(t.Context(), job))
	got, _ := n.plumbed("192.0.2.1")
	if l, ok := n.net.LinkByIndex(got.Link); !ok || l.Name != "va" {
		t.Errorf("%+v", got)
	}
}

func TestRealSweep(t *testing.T) {
	lan := newLAN(t, 1)
	n := newNode(lan[0])
	most, least := gatedJob("a", "10.9.1.1/32"), gatedJob("b", "fd00:9::1:1/128")
	least.AtMostOne, least.Gated = false, false
	must(t, n.d.Acquire(t.Context(), most))
	must(t, n.d.Acquire(t.Context(), least))
	// The next process.
	next := New(n.d.cfg)
	must(t, next.Sweep())
	if _, ok := n.plumbed("10.9.1.1"); ok {
		t.Error("at-most-one: still there")
	}
	if _, ok := n.plumbed("fd00:9::1:1"); !ok {
		t.Error("at-least-one: gone")
	}
	if st := next.Status(); len(st) != 1 || !st[0].Left {
		t.Errorf("%+v", st)
	}
	if got := n.gate.Stats().Addrs; got != 0 {
		t.Errorf("%d addresses in the gate", got)
	}
}

func TestRealRefusals(t *testing.T) {
	lan := newLAN(t, 1)
	n := newNode(lan[0])
	n.ip("link add va type veth peer name vb")
	n.ip("link set va up")
	n.ip("link set vb up")
	n.run(func() error { return writeFile("/proc/sys/net/ipv6/conf/va/disable_ipv6", "1") })
	six := gatedJob("six", "192.0.2.1/32", "2001:db8::1/128")
	six.Interface = "va"
	if err := n.d.Acquire(t.Context(), six); err == nil || !strings.Contains(err.Error(), "disable_ipv6") {
		t.Errorf("IPv6 is off: %v", err)
	}
	if _, ok := n.plumbed("192.0.2.1"); ok {
		t.Error("half a group is plumbed")
	}
	for _, c := range []struct{ addr, want string }{
		{"203.0.113.9/32", "name an interface"},
		{"10.9.0.1/32", "this host's own"},
	} {
		job := gatedJob("x", c.addr)
		if c.addr == "10.9.0.1/32" {
			job.Interface = "eth0"
		}
		if err := n.d.Acquire(t.Context(), job); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.addr, err)
		}
	}
	ungated := gatedJob("u", "10.9.1.1/32")
	ungated.Gated = false
	n.run(func() error { // last: this thread has lost it for good
		if err := dropCapability(unix.CAP_NET_ADMIN); err != nil {
			return err
		}
		if err := n.d.Acquire(t.Context(), ungated); !errors.Is(err, netif.ErrForbidden) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
			t.Errorf("without CAP_NET_ADMIN: %v", err)
		}
		return nil
	})
}

// thousand acquires or releases as many items at the same time.
func thousand(t testing.TB, n *node, count int, name string, do func(i int) fsm.Job, release bool) time.Duration {
	t.Helper()
	began := time.Now()
	var wg sync.WaitGroup
	for i := range count {
		wg.Go(func() {
			job := do(i)
			act := n.d.Acquire
			if release {
				act = n.d.Release
			}
			if err := act(t.Context(), job); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
	return time.Since(began)
}

func four(i int) fsm.Job {
	return asking(fmt.Sprintf("four%d", i), fmt.Sprintf("10.9.%d.%d/32", 4+i/250, 1+i%250))
}

func six(i int) fsm.Job { return asking(fmt.Sprintf("six%d", i), fmt.Sprintf("fd00:9::2:%x/128", i+1)) }

func TestRealThousand(t *testing.T) {
	lan := newLAN(t, 2)
	n, peer := newNode(lan[0]), lan[1]
	took := thousand(t, n, 1000, "acquire", four, false)
	st := n.d.Stats()
	t.Logf("1,000 IPv4 addresses acquired in %v, in %d batches; one takes 5 ms of asking", took, st.Batches)
	if st.Items != 1000 || st.Announced < 1000 {
		t.Errorf("%+v", st)
	}
	// Generous: a loaded machine, the race detector. What it costs is in DESIGN.md.
	if took > time.Second {
		t.Errorf("it took %v", took)
	}
	if got := n.gate.Stats().Addrs; got != 1000 {
		t.Errorf("%d addresses in the gate", got)
	}
	peer.run(func() error { return ping(peer, "10.9.7.250") })
	took = thousand(t, n, 1000, "release", four, true)
	t.Logf("released in %v", took)
	if out := n.ip("-o -4 addr show dev eth0"); strings.Count(out, "\n") != 1 {
		t.Errorf("something is left: %s", out[:min(len(out), 500)])
	}
	if testing.Short() {
		return
	}
	t.Logf("1,000 IPv6 addresses acquired in %v", thousand(t, n, 1000, "acquire", six, false))
	t.Logf("released in %v", thousand(t, n, 1000, "release", six, true))
}
