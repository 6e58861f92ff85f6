package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/secure"
)

// unitPolicy is what the packaged unit gives a daemon.
func unitPolicy() *unix.SchedAttr {
	return &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: unitPriority}
}

// mayRaise reports whether this user may give that.
func mayRaise() bool {
	may := make(chan bool)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		may <- unix.SchedSetAttr(0, unitPolicy(), 0) == nil
	}()
	return <-may
}

// raise gives a process, all of its threads, what the packaged unit gives.
func raise(pid int) {
	for range 2 { // a thread inherits it from the one that starts it
		tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		for _, task := range tasks {
			tid, _ := strconv.Atoi(task.Name())
			_ = unix.SchedSetAttr(tid, unitPolicy(), 0) // it may have ended
		}
	}
}

// testFlood opens thousands of connections to every port of the leader, that say
// nothing, nonsense, half of something, or have another key, and leaves them open,
// beside hundreds of operators that are idle and some that never read; and sends it
// datagrams of the same kind.
func (tr *trio) testFlood(t *testing.T, leader int) {
	n := 10_000
	if testing.Short() {
		n = 2_000
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if most := int(min(limit.Cur, 1<<20)) - 500; n > most {
		t.Logf("this process may open %d files: %d connections instead of %d", limit.Cur, most, n)
		n = most
	}
	before, lapsed := tr.settled(t), tr.lapses(t)
	other, err := secure.Derive([]byte("the key of another cluster"))
	if err != nil {
		t.Fatal(err)
	}
	f := &flood{
		addr: tr.addrs[leader], metrics: tr.metrics[leader], socket: filepath.Join(tr.dir, fmt.Sprintf("n%d.sock", leader+1)),
		other: other.Operator("stranger"), own: tr.keys.Operator("idle"), release: make(chan struct{}),
	}
	defer f.end()
	placed := make(chan struct{})
	go func() { defer close(placed); f.open(n) }()
	cl := tr.ask(f.addr)
	defer cl.Close()
	began := tr.usage(t, leader)
	most, answered, asked := began, 0, 0
	for done := false; !done; {
		select {
		case <-placed:
			done = true
		default:
		}
		most = most.max(tr.usage(t, leader))
		ctx, cancel := context.WithTimeout(t.Context(), answerTimeout)
		asked++
		if _, err := cl.Status(ctx, false); err == nil {
			answered++
		}
		cancel()
	}
	t.Logf("%d connections, %d refused by the kernel; %d of %d questions answered meanwhile; %d descriptors and %d MiB at most, %d and %d before",
		n, f.refused.Load(), answered, asked, most.descriptors, most.memory>>20, began.descriptors, began.memory>>20)
	if answered == 0 {
		t.Error("no operator was let in")
	}
	// On the port 256 on their way in and 256 operators, on the socket 512, on that of
	// the metrics 64; the rest is the daemon's own and what is being closed.
	if most.descriptors > 1300 {
		t.Errorf("the daemon had %d descriptors open", most.descriptors)
	}
	// Some 50 kB for each of those 1,088, and what the collector lets lie; several times
	// that under the race detector, with which a daemon has much from the beginning.
	if grown := most.memory - began.memory; grown > max(128<<20, began.memory) {
		t.Errorf("the daemon took %d MiB more", grown>>20)
	}
	after := tr.settled(t)
	if got := tr.lapses(t); got != lapsed {
		t.Errorf("%d leases have ended", got-lapsed)
	}
	if !slices.EqualFunc(after.Members, before.Members, func(a, b api.Member) bool { return a.Epoch == b.Epoch }) {
		t.Errorf("before %+v, after %+v", before.Members, after.Members)
	}
	if after.Cluster.Leader != before.Cluster.Leader {
		// Leases hide an election; with the short timing a busy disk is enough for one.
		t.Logf("%s led before, %s leads now", before.Cluster.Leader, after.Cluster.Leader)
	}
}

// usage is what a process has of the machine.
type usage struct{ descriptors, memory int }

func (u usage) max(v usage) usage {
	return usage{max(u.descriptors, v.descriptors), max(u.memory, v.memory)}
}

var resident = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)

func (tr *trio) usage(t *testing.T, i int) usage {
	t.Helper()
	pid := tr.procs[i].Process.Pid
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	m := resident.FindSubmatch(status)
	if err != nil || m == nil {
		t.Fatalf("no memory in %s: %v", status, err)
	}
	kb, _ := strconv.Atoi(string(m[1]))
	return usage{len(fds), kb << 10}
}

// flood is connections that want nothing good.
type flood struct {
	addr, metrics, socket string
	other, own            *tls.Config
	release               chan struct{}
	held                  sync.WaitGroup
	refused               atomic.Int64
}

// open opens n connections, 64 at one time, and leaves them to themselves.
func (f *flood) open(n int) {
	var dialling sync.WaitGroup
	turn := make(chan struct{}, 64)
	for i := range n {
		turn <- struct{}{}
		dialling.Go(func() {
			defer func() { <-turn }()
			f.one(i)
		})
	}
	dialling.Wait()
}

// one opens the i-th connection: of ten, six to the servers' port, two each to the
// others. With each goes a datagram.
func (f *flood) one(i int) {
	f.datagram()
	network, addr := "tcp", f.addr
	switch i % 10 {
	case 6, 7:
		addr = f.metrics
	case 8, 9:
		network, addr = "unix", f.socket
	}
	conn, err := net.DialTimeout(network, addr, 10*time.Second)
	if err != nil {
		f.refused.Add(1)
		return
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if addr == f.addr {
		conn = f.shake(i/10, conn)
	} else {
		f.disturb(i/10, conn)
	}
	f.held.Go(func() {
		<-f.release
		_ = conn.Close()
	})
}

// shake disturbs the servers' port.
func (f *flood) shake(i int, conn net.Conn) net.Conn {
	switch {
	case i%25 == 0: // idle, or never reads what it asks for
		conn = tls.Client(conn, f.own)
		if _ = conn.(*tls.Conn).Handshake(); i%50 == 0 {
			f.disturb(4, conn)
		}
	case i%4 == 0:
		conn = tls.Client(conn, f.other)
		_ = conn.(*tls.Conn).Handshake()
	case i%4 == 1: // the beginning of a TLS record, and no more
		_, _ = conn.Write([]byte{0x16, 0x03, 0x01, 0x02})
	default:
		f.disturb(i%4-2, conn)
	}
	return conn
}

// disturb says something to a server of HTTP.
func (f *flood) disturb(i int, conn net.Conn) {
	if i%5 == 4 && i%50 != 4 {
		i = 0 // a few are enough
	}
	switch i % 5 {
	case 0: // nothing
	case 1:
		var nonsense [200]byte
		_, _ = rand.Read(nonsense[:])
		_, _ = conn.Write(nonsense[:])
	case 2: // half a question
		_, _ = conn.Write([]byte("GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: "))
	case 3: // a body that never comes
		_, _ = conn.Write([]byte("POST /v1/maintenance HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\n\r\n{"))
	case 4: // questions without end, and not one answer read
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		for err := error(nil); err == nil; {
			_, err = conn.Write([]byte("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"))
		}
	}
}

// datagram sends the heartbeats' port something.
func (f *flood) datagram() {
	conn, err := net.Dial("udp", f.addr)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	junk := make([]byte, 300)
	_, _ = rand.Read(junk)
	copy(junk, "flp\x01")
	_, _ = conn.Write(junk)
}

func (f *flood) end() {
	close(f.release)
	f.held.Wait()
}
