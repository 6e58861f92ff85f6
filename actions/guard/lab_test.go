package guard_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	rolesRole   = "FLIP_GUARD_TEST_ROLE"
	rolesOrders = "FLIP_GUARD_TEST_ORDERS"
	stays       = "10.77.0.1" // an at-least-one address
	patience    = 10 * time.Second
)

// The test's own program plays every part.
func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(rolesRole) {
	case "guard":
		err = serve(context.Background())
	case "sockets":
		err = holdSockets()
	case "daemon":
		err = labDaemon()
	default:
		os.Exit(m.Run()) //nolint:forbidigo // a TestMain ends the process
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // a TestMain ends the process
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lonely moves the test into a network namespace of its own.
func lonely(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces and nf_tables")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("the kernel refuses a network namespace: %v", err)
	}
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
	// The scheduling of the daemon's unit, for this thread, which dies with the
	// test, and for what it starts. Where it is refused, figures are those of
	// whatever else the machine does.
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}, 0); err != nil {
		t.Logf("without real-time scheduling: %v", err)
	}
}

// daemon is a running lab daemon.
type daemon struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	guard int // pid
	dir   string
	log   *syncBuffer
	gone  chan struct{}
}

// start starts a daemon in the test's namespace and waits until it holds all.
func start(t testing.TB, o orders) *daemon {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Lease == 0 {
		o.Lease = 10 * time.Second
	}
	data, err := json.Marshal(o)
	must(t, err)
	d := &daemon{t: t, dir: o.Dir, lines: make(chan string, 16), log: &syncBuffer{}, gone: make(chan struct{})}
	d.cmd = exec.Command("/proc/self/exe")
	d.cmd.Env = append(os.Environ(), rolesRole+"=daemon", rolesOrders+"="+string(data))
	read, write, err := os.Pipe() // of its own: the guard holds it open as well
	must(t, err)
	d.cmd.Stderr = write
	go func() { _, _ = io.Copy(d.log, read) }()
	out, err := d.cmd.StdoutPipe()
	must(t, err)
	d.in, err = d.cmd.StdinPipe()
	must(t, err)
	must(t, d.cmd.Start())
	_ = write.Close()
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			d.lines <- s.Text()
		}
		_ = d.cmd.Wait()
		close(d.gone)
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		<-d.gone
		if d.guard > 0 {
			_ = unix.Kill(d.guard, unix.SIGKILL)
		}
		_ = read.Close()
		if t.Failed() {
			t.Log(d.log)
		}
	})
	d.guard = d.number("ready")
	return d
}

// number waits for a line that begins so and has a number.
func (d *daemon) number(word string) (n int) {
	d.t.Helper()
	line := d.line(word)
	_, err := fmt.Sscan(strings.TrimPrefix(line, word), &n)
	must(d.t, err)
	return n
}

func (d *daemon) line(word string) string {
	d.t.Helper()
	late := time.After(patience)
	for {
		select {
		case l := <-d.lines:
			if strings.HasPrefix(l, word) {
				return l
			}
		case <-d.gone:
			d.t.Fatalf("the daemon has ended before it said %q: %v", word, d.log)
		case <-late:
			d.t.Fatalf("the daemon did not say %q: %v", word, d.log)
		}
	}
}

// tell has the daemon do something.
func (d *daemon) tell(word string) {
	d.t.Helper()
	_, err := io.WriteString(d.in, word+"\n")
	must(d.t, err)
}

// addrs is which of the lab's addresses are there.
func addrs(t testing.TB) map[string]bool {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	list, err := netlink.AddrList(lo, unix.AF_INET)
	must(t, err)
	all := map[string]bool{}
	for _, a := range list {
		if !a.IP.IsLoopback() {
			all[a.IP.String()] = true
		}
	}
	return all
}

// watch hears of removals in the test's namespace. It is for before the act.
func watch(t testing.TB) *removals {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	must(t, err)
	must(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20))
	must(t, unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_IPV4_IFADDR}))
	t.Cleanup(func() { _ = unix.Close(fd) })
	return &removals{t: t, fd: fd}
}

type removals struct {
	t  testing.TB
	fd int
}

// wait returns when n addresses were removed; false: not within the time. It
// looks every 50 us: to be woken for each of them would slow the removal down.
func (r *removals) wait(n int, limit time.Duration) (time.Time, bool) {
	r.t.Helper()
	buf := make([]byte, 64<<10)
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		size, err := unix.Read(r.fd, buf)
		if err != nil {
			pause := unix.NsecToTimespec(50_000)
			_ = unix.Nanosleep(&pause, nil)
			continue
		}
		for b := buf[:size]; len(b) >= unix.NLMSG_HDRLEN; {
			l := int(nativeUint32(b))
			if nativeUint16(b[4:]) == unix.RTM_DELADDR {
				n--
			}
			b = b[min(len(b), (l+3)&^3):]
		}
		if n <= 0 {
			return time.Now(), true
		}
	}
	return time.Time{}, false
}

// some are n addresses for the lab.
func some(n int) []string {
	a := netip.MustParseAddr("10.66.1.0")
	var all []string
	for range n {
		all = append(all, a.String())
		a = a.Next()
	}
	return all
}

// ended waits for the end of the guard that has no more to do.
func (d *daemon) ended() {
	d.t.Helper()
	<-d.gone
	fd, err := unix.PidfdOpen(d.guard, 0)
	if err != nil {
		return // it has
	}
	defer func() { _ = unix.Close(fd) }()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds())); n != 1 {
		d.t.Fatalf("the guard does not end: %v\n%v", err, d.log)
	}
}

// cleanAddrs takes away what a lab has left.
func cleanAddrs(t testing.TB) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	list, err := netlink.AddrList(lo, unix.AF_INET)
	must(t, err)
	for _, a := range list {
		if !a.IP.IsLoopback() {
			must(t, netlink.AddrDel(lo, &a))
		}
	}
}

// dead reports whether the daemon has ended.
func (d *daemon) dead() bool {
	select {
	case <-d.gone:
		return true
	default:
		return false
	}
}
