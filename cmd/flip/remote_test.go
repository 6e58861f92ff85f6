package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure"
)

// trio is three daemons on loopback, each a process of its own.
type trio struct {
	dir     string
	addrs   []string
	metrics []string // addresses
	procs   []*exec.Cmd
	keys    *secure.Keys
}

const trioConfig = `{
  "timing": %q, "key_file": "key", "metrics": "127.0.0.1:%d",
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
	ports, err := somePorts(6)
	if err != nil {
		t.Fatal(err)
	}
	tr := &trio{dir: t.TempDir()}
	key := secure.NewKey()
	if tr.keys, err = secure.Derive([]byte(key)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tr.keyFile(), []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Beside thousands of connections the short lease is for who may have what the
	// packaged unit gives him.
	timing, first := "wan", mayRaise()
	if first {
		timing = "lan"
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
	for i, port := range ports[:3] {
		id := "n" + strconv.Itoa(i+1)
		file := filepath.Join(tr.dir, id+".json")
		text := fmt.Sprintf(trioConfig, timing, ports[3+i], ports[0], ports[1], ports[2])
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		tr.metrics = append(tr.metrics, net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[3+i])))
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
	if first {
		tr.settled(t)
		for _, p := range tr.procs {
			raise(p.Process.Pid)
		}
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
		m := line.FindSubmatch(tr.metricsOf(t, filepath.Join(tr.dir, fmt.Sprintf("n%d.sock", i+1))))
		if m == nil {
			t.Fatalf("n%d has no such metric", i+1)
		}
		one, _ := strconv.Atoi(string(m[1]))
		n += one
	}
	return n
}

// metricsOf asks a control socket for its metrics, until there is room for who asks.
func (tr *trio) metricsOf(t *testing.T, socket string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settleLimit)
	defer cancel()
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}}
	again := time.NewTicker(lookEvery)
	defer again.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://flip/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := web.Do(req)
		if err == nil {
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err == nil {
				return body
			}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("no metrics from %s: %v", socket, err)
		}
	}
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
