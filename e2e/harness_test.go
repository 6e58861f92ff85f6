package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/e2e/lab"
)

// binary is the program under test, built once; FLIP_E2E_BINARY names another.
var binary string

func TestMain(m *testing.M) {
	if inRole() {
		return
	}
	lab.Sweep()
	defer lab.SweepOwn()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		lab.SweepOwn()
		os.Exit(1) //nolint:forbidigo // what a signal without a handler does
	}()
	if binary = os.Getenv("FLIP_E2E_BINARY"); binary != "" {
		m.Run() // the exit code is taken from m
		return
	}
	dir, err := lab.MakeDir()
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "flip")
	build := exec.Command("go", "build", "-o", binary, "github.com/flip-ha/flip/cmd/flip")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build flip: %v\n%s", err, out))
	}
	m.Run()
}

// upHook and downHook write a line to the trace: what, item, the daemon's pid.
const (
	upHook   = "#!/bin/sh\necho \"$(date +%s%N) $FLIP_MEMBER up $1 $PPID $FLIP_TOKEN\" >>\"$TRACE\"\n"
	downHook = "#!/bin/sh\necho \"$(date +%s%N) $FLIP_MEMBER down $1 $PPID $FLIP_TOKEN\" >>\"$TRACE\"\n"
)

// cluster is a set of flip processes on loopback with one file.
type cluster struct {
	t     *testing.T
	dir   string
	file  string
	ids   []string
	ports map[string]int
	procs map[string]*proc
	env   []string
	stdin *os.File // of the next daemon; nil: none
	wrap  []string // put before the program, such as `ip netns exec X`
}

// proc is one run of a daemon.
type proc struct {
	id   string
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed once it has ended
	died time.Time
}

// spec is the sample of Flip's README with other ports; each test changes what
// it is about.
type spec map[string]any

func sample(ports map[string]int) spec {
	server := func(id string, more spec) spec {
		s := spec{"ip": "127.0.0.1", "port": ports[id]}
		for k, v := range more {
			s[k] = v
		}
		return s
	}
	return spec{
		"quorum": 2, "gossip_interval": 1000, "ping_timeout": 1500, "key": "the key of a test, long enough",
		"log_level": "debug",
		"servers": spec{
			"flip":  server("flip", spec{"systems": []string{"ip"}}),
			"flip1": server("flip1", spec{"systems": []string{"ip"}, "priority": 1}),
			"flip2": server("flip2", nil),
		},
		"cluster": spec{"system": spec{"ip": spec{
			"alive": "ip_up", "down": "ip_down", "type": "shard", "stop_timeout": 5000, "start_timeout": 5000,
			"config": spec{"interface": "lo0"}, "data": []string{"192.168.0.2", "192.168.0.1"},
		}}},
	}
}

// system is the sample's only system, to be changed.
func (s spec) system() spec { return s["cluster"].(spec)["system"].(spec)["ip"].(spec) }

// newCluster writes the sample, changed by change, and hooks that trace.
func newCluster(t *testing.T, change func(spec)) *cluster {
	t.Helper()
	if testing.Short() {
		t.Skip("e2e is left out with -short")
	}
	c := &cluster{t: t, dir: t.TempDir(), ids: []string{"flip", "flip1", "flip2"}, procs: map[string]*proc{}, ports: freePorts(t, "flip", "flip1", "flip2")}
	c.file = filepath.Join(c.dir, "flip.json")
	c.writeFile(c.file, change)
	hooks := filepath.Join(c.dir, "hooks")
	c.writeHook("ip_up", upHook)
	c.writeHook("ip_down", downHook)
	c.env = append(os.Environ(), "PATH="+hooks+":"+os.Getenv("PATH"), "TRACE="+c.tracePath())
	t.Cleanup(c.end)
	return c
}

func (c *cluster) writeFile(path string, change func(spec)) {
	c.t.Helper()
	s := sample(c.ports)
	if change != nil {
		change(s)
	}
	data, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) writeHook(name, script string) {
	c.t.Helper()
	path := filepath.Join(c.dir, "hooks", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		c.t.Fatal(err)
	}
}

// freePorts finds a port per name that is free for TCP and UDP.
func freePorts(t *testing.T, names ...string) map[string]int {
	t.Helper()
	out := map[string]int{}
	for len(out) < len(names) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		u, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			out[names[len(out)]] = l.Addr().(*net.TCPAddr).Port
			defer func() { _ = u.Close() }()
		}
		defer func() { _ = l.Close() }()
	}
	return out
}

// start runs `flip run` for each id.
func (c *cluster) start(ids ...string) {
	c.t.Helper()
	for _, id := range ids {
		c.startWith(id, c.file)
	}
}

func (c *cluster) startWith(id, file string, env ...string) *proc {
	c.t.Helper()
	return c.startArgs(id, env, file)
}

// startArgs runs `flip run` with arguments of its own.
func (c *cluster) startArgs(id string, env []string, more ...string) *proc {
	c.t.Helper()
	name := fmt.Sprintf("%s.%d.log", id, time.Now().UnixNano())
	log, err := os.Create(filepath.Join(c.dir, name))
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	args := slices.Concat(c.wrap, []string{binary, "run", "--id", id, "--dir", filepath.Join(c.dir, "d")}, more)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Stderr, cmd.Stdout = append(slices.Clone(c.env), env...), log, log
	if c.stdin != nil {
		cmd.Stdin = c.stdin
	}
	// A test that dies takes its daemons along.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	p := &proc{id: id, cmd: cmd, log: log.Name(), done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		p.died = time.Now()
		close(p.done)
	}()
	c.procs[id] = p
	return p
}

// signal sends one signal to a daemon by its pid.
func (c *cluster) signal(id string, s syscall.Signal) {
	c.t.Helper()
	if err := c.procs[id].cmd.Process.Signal(s); err != nil {
		c.t.Fatalf("signal %s: %v", id, err)
	}
}

// kill ends daemons without a word and waits until they are gone.
func (c *cluster) kill(ids ...string) {
	c.t.Helper()
	for _, id := range ids {
		c.signal(id, syscall.SIGKILL)
		<-c.procs[id].done
	}
}

// exit waits for a daemon to end by itself.
func (c *cluster) exit(id string, limit time.Duration) int {
	c.t.Helper()
	p := c.procs[id]
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		c.t.Fatalf("%s has not ended within %v", id, limit)
		return -1
	}
}

// end kills what is left and, if the test failed, shows the logs' ends. A guard goes
// before its daemon: it would run hooks, which write to the test's directory.
func (c *cluster) end() {
	for _, p := range c.procs {
		if guard, ok := lab.GuardOf(p.cmd.Process.Pid); ok {
			_ = syscall.Kill(guard, syscall.SIGKILL)
		}
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	if !c.t.Failed() {
		return
	}
	for _, p := range c.procs {
		data, _ := os.ReadFile(p.log)
		c.t.Logf("the end of %s's log:\n%s", p.id, tail(data, 25))
	}
	c.t.Logf("the trace:\n%s", tail(c.rawTrace(), 40))
}

func tail(data []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func (c *cluster) log(id string) string {
	data, err := os.ReadFile(c.procs[id].log)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(data)
}

// flip runs the command line against the daemon id.
func (c *cluster) flip(id string, args ...string) (out string, code int) {
	c.t.Helper()
	cmd := exec.Command(binary, slices.Concat([]string{"--dir", filepath.Join(c.dir, "d"), "--id", id}, args)...)
	var buf bytes.Buffer
	cmd.Stdout, cmd.Stderr = &buf, &buf
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		c.t.Fatal(err)
	}
	return buf.String(), cmd.ProcessState.ExitCode()
}

func (c *cluster) client(id string) *client.Client {
	return client.New(filepath.Join(c.dir, "d", id+".sock"))
}

func (c *cluster) status(id string) (api.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	cl := c.client(id)
	defer cl.Close()
	return cl.Status(ctx, false)
}

// eventually looks again and again until ok is nil; the last error is shown
// when the time is over.
func (c *cluster) eventually(limit time.Duration, what string, ok func() error) {
	c.t.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			c.t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
	}
}
