package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure"
)

// trio is three daemons on loopback, each a process of its own.
type trio struct {
	dir   string
	addrs []string
	procs []*exec.Cmd
	keys  *secure.Keys
}

const trioConfig = `{
  "timing": "wan", "key_file": "key",
  "servers": {
    "n1": {"ip": "127.0.0.1", "port": %d, "systems": ["s"]},
    "n2": {"ip": "127.0.0.1", "port": %d, "systems": ["s"]},
    "n3": {"ip": "127.0.0.1", "port": %d, "systems": ["s"]}
  },
  "cluster": {"system": {"s": {
    "type": "shard", "guarantee": "at-most-one", "alive": "/bin/true", "down": "/bin/true", "takeover_after": "60s", "data": ["a", "b", "c"]
  }}}
}`

func startTrio(t *testing.T) *trio {
	t.Helper()
	ports, err := somePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	tr := &trio{dir: t.TempDir()}
	key := secure.NewKey()
	if tr.keys, err = secure.Derive([]byte(key)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(tr.dir, "flip.json")
	for name, text := range map[string]string{file: fmt.Sprintf(trioConfig, ports[0], ports[1], ports[2]), tr.keyFile(): key + "\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mark := traceEnv + "=" + tr.dir
	t.Cleanup(func() {
		for _, p := range tr.procs {
			_ = p.Process.Kill()
			_ = p.Wait()
		}
		if err := killMarked(mark); err != nil {
			t.Error(err)
		}
	})
	for i, port := range ports {
		id := "n" + strconv.Itoa(i+1)
		tr.addrs = append(tr.addrs, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		log, err := os.Create(filepath.Join(tr.dir, id+".log"))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "run", "--id", id, "--dir", tr.dir, file)
		cmd.Env = append(os.Environ(), asFlip+"=1", mark)
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		err = cmd.Start()
		_ = log.Close()
		if err != nil {
			t.Fatal(err)
		}
		tr.procs = append(tr.procs, cmd)
	}
	return tr
}

func (tr *trio) keyFile() string { return filepath.Join(tr.dir, "key") }

func (tr *trio) ask(addrs ...string) *client.Client {
	return client.NewRemote(addrs, tr.keys.Operator("test"), secure.IsKeyMismatch)
}

// settled waits until all is as it should be, and is the status by then.
func (tr *trio) settled(t *testing.T) api.Status {
	t.Helper()
	cl := tr.ask(tr.addrs...)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), settleLimit)
	defer cancel()
	again := time.NewTicker(lookEvery)
	defer again.Stop()
	var last []string
	for {
		st, err := cl.Status(ctx, false)
		code, reasons := st.Check()
		switch {
		case err == nil && code == api.CheckOK && len(st.Members) == 3:
			return st
		case err == nil:
			last = reasons
		case ctx.Err() != nil:
			log, _ := os.ReadFile(filepath.Join(tr.dir, "n1.log"))
			t.Fatalf("never settled: %v, %v\n%s", err, last, log)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
		}
	}
}

// index is which of the three a member is.
func index(id fsm.MemberID) int { return int(id[1] - '1') }

// lapses is how often the leases of all three have ended, as their metrics say.
func (tr *trio) lapses(t *testing.T) (n int) {
	t.Helper()
	line := regexp.MustCompile(`(?m)^flip_lease_lapses_total (\d+)$`)
	for i := range tr.procs {
		socket := filepath.Join(tr.dir, fmt.Sprintf("n%d.sock", i+1))
		web := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}}
		resp, err := (&http.Client{Transport: web}).Get("http://flip/metrics")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		m := line.FindSubmatch(body)
		if err != nil || m == nil {
			t.Fatalf("n%d has no such metric: %v", i+1, err)
		}
		one, _ := strconv.Atoi(string(m[1]))
		n += one
	}
	return n
}

func TestRemoteCluster(t *testing.T) {
	tr := startTrio(t)
	st := tr.settled(t)
	t.Run("asked", func(t *testing.T) { tr.testAsked(t, index(st.Cluster.Leader)) })
	t.Run("flooded", func(t *testing.T) { tr.testFlood(t, index(st.Cluster.Leader)) })
}

// testAsked has every command answered by a follower's port.
func (tr *trio) testAsked(t *testing.T, leader int) {
	follower := tr.addrs[(leader+1)%3]
	flip := func(want int, args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		app := &App{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Env: func(string) string { return "" }}
		if code := app.Run(t.Context(), append([]string{"flip", "--address", follower, "--key-file", tr.keyFile()}, args...)); code != want {
			t.Errorf("flip %v: exit code %d, want %d\n%s%s", args, code, want, &stdout, &stderr)
		}
		return stdout.String() + stderr.String()
	}
	for _, tt := range []struct {
		code int
		args []string
		has  string
	}{
		{0, []string{"status"}, fmt.Sprintf("     n%d: ", (leader+1)%3+1)},
		{0, []string{"status", "--check", "--consistent"}, "OK"},
		{0, []string{"assign"}, "acquired"},
		{0, []string{"maintenance", "on", "s"}, "under maintenance"},
		{0, []string{"maintenance"}, "s "},
		{0, []string{"maintenance", "off", "s"}, "ended"},
		{0, []string{"cleanup"}, "Nothing to forget"},
		{0, []string{"item", "release", "s", "a"}, "waits for nobody"},
		{1, []string{"assign", "nothing"}, "the cluster's systems: s"},
		{2, []string{"doctor"}, "ssh HOST flip doctor"},
	} {
		if got := flip(tt.code, tt.args...); !strings.Contains(got, tt.has) {
			t.Errorf("flip %v said %s", tt.args, got)
		}
	}
	cl := tr.ask(follower)
	defer cl.Close()
	if _, err := cl.Doctor(t.Context()); api.CodeOf(err) != api.CodeUnavailable {
		t.Errorf("what is about the machine alone: %v", err)
	}
	tr.refusesOperators(t, follower)
	log, err := os.ReadFile(filepath.Join(tr.dir, fmt.Sprintf("n%d.log", (leader+1)%3+1)))
	if err != nil || !bytes.Contains(log, []byte(fmt.Sprintf(`"operator":%q,"path":"/v1/maintenance"`, operatorName()))) {
		t.Errorf("who changed something is not in the log: %v\n%s", err, log)
	}
}

// refusesOperators shows that an operator's certificate opens nothing of the
// members': the way of speaking alone decides nothing.
func (tr *trio) refusesOperators(t *testing.T, addr string) {
	t.Helper()
	for _, proto := range []string{secure.ProtoHTTP, secure.ProtoRaft} {
		config := tr.keys.Operator("test")
		config.NextProtos, config.VerifyConnection = []string{proto}, nil
		conn, err := tls.Dial("tcp", addr, config)
		if err == nil {
			_, _ = conn.Write([]byte("POST /v1/peer/propose HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"))
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			_, err = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "remote error") {
			t.Errorf("an operator on %s: %v", proto, err)
		}
	}
}

// testFlood opens thousands of connections to the leader's port that say nothing,
// nonsense, half of something, or have another key, and leaves them open, beside
// hundreds of operators that are idle.
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
	f := &flood{addr: tr.addrs[leader], other: other.Operator("stranger"), own: tr.keys.Operator("idle"), release: make(chan struct{})}
	defer f.end()
	placed := make(chan struct{})
	go func() { defer close(placed); f.open(n) }()
	cl := tr.ask(f.addr)
	defer cl.Close()
	most, answered, asked := 0, 0, 0
	for done := false; !done; {
		select {
		case <-placed:
			done = true
		default:
		}
		fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", tr.procs[leader].Process.Pid))
		most = max(most, len(fds))
		ctx, cancel := context.WithTimeout(t.Context(), answerTimeout)
		asked++
		if _, err := cl.Status(ctx, false); err == nil {
			answered++
		}
		cancel()
	}
	t.Logf("%d connections, %d refused by the kernel; %d of %d questions answered meanwhile; %d descriptors at most", n, f.refused.Load(), answered, asked, most)
	if answered == 0 {
		t.Error("no operator was let in")
	}
	// 256 on their way in, 256 operators, the rest is the daemon's own and what is
	// being closed at that moment.
	if most > 700 {
		t.Errorf("the daemon had %d descriptors open", most)
	}
	after := tr.settled(t)
	if got := tr.lapses(t); got != lapsed {
		t.Errorf("%d leases have ended", got-lapsed)
	}
	if after.Cluster.Leader != before.Cluster.Leader || !slices.EqualFunc(after.Members, before.Members, func(a, b api.Member) bool { return a.Epoch == b.Epoch }) {
		t.Errorf("before %+v, after %+v", before.Members, after.Members)
	}
}

// flood is connections that want nothing good.
type flood struct {
	addr       string
	other, own *tls.Config
	release    chan struct{}
	held       sync.WaitGroup
	refused    atomic.Int64
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

func (f *flood) one(i int) {
	conn, err := net.DialTimeout("tcp", f.addr, 10*time.Second)
	if err != nil {
		f.refused.Add(1)
		return
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	switch {
	case i%25 == 0:
		conn = tls.Client(conn, f.own)
		_ = conn.(*tls.Conn).Handshake()
	case i%4 == 0: // says nothing
	case i%4 == 1:
		var nonsense [200]byte
		_, _ = rand.Read(nonsense[:])
		_, _ = conn.Write(nonsense[:])
	case i%4 == 2: // the beginning of a TLS record, and no more
		_, _ = conn.Write([]byte{0x16, 0x03, 0x01, 0x02})
	default:
		conn = tls.Client(conn, f.other)
		_ = conn.(*tls.Conn).Handshake()
	}
	f.held.Go(func() {
		<-f.release
		_ = conn.Close()
	})
}

func (f *flood) end() {
	close(f.release)
	f.held.Wait()
}
