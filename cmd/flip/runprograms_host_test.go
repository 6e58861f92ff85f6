package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/actions/programs"
	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/api/server"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
)

// programRole has the test's own program be one that claims a system: it says what it
// is told, and acknowledges when its input says so, "auto" at once.
const programRole = "FLIP_TEST_PROGRAM"

func beProgram(socket string) error {
	c := client.New(socket)
	defer c.Close()
	own, err := c.Claim(context.Background(), "s", client.ClaimOptions{Name: "tester"})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	waiting := map[string]client.ItemEvent{}
	auto := true
	go func() {
		defer cancel()
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			mu.Lock()
			switch line := in.Text(); line {
			case "hold":
				auto = false
				fmt.Println("holding")
			case "leave":
				mu.Unlock()
				return
			default:
				own.Ack(waiting[line])
			}
			mu.Unlock()
		}
	}()
	fmt.Println("claimed on", own.Member())
	for e, err := range own.Watch(ctx) {
		if err != nil {
			fmt.Println("error:", api.CodeOf(err))
			continue
		}
		name := fmt.Sprintf("%s %s/%d", e.Kind, e.Item, e.Rank)
		mu.Lock()
		waiting[name] = e
		fmt.Printf("%s@%d %s>%s %s\n", name, e.Token, e.From, e.To, e.Cause)
		if auto {
			own.Ack(e)
		}
		mu.Unlock()
	}
	fmt.Println("left")
	return own.Close(context.Background())
}

// program is one that the test has started.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
}

func startProgram(t *testing.T, socket string) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, cmd: exec.Command(self), lines: make(chan string, 1000)}
	p.cmd.Env = append(os.Environ(), programRole+"="+socket)
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
		close(p.lines)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-done
		_ = p.cmd.Wait()
	})
	return p
}

// says waits for lines, in this order; errors between them do not count.
func (p *program) says(want ...string) {
	p.t.Helper()
	for _, w := range want {
		if got := p.next(); got != w {
			p.t.Fatalf("the program says %q, want %q", got, w)
		}
	}
}

// saysAll is says for what has no order.
func (p *program) saysAll(want ...string) {
	p.t.Helper()
	got := make([]string, 0, len(want))
	for range want {
		got = append(got, p.next())
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		p.t.Fatalf("the program says %q, want %q", got, want)
	}
}

func (p *program) next() string {
	p.t.Helper()
	for {
		select {
		case line, ok := <-p.lines:
			if strings.HasPrefix(line, "error:") {
				continue
			}
			if !ok {
				line = "(the end)"
			}
			return line
		case <-time.After(10 * time.Second):
			p.t.Fatal("the program says nothing")
		}
	}
}

func (p *program) quiet(d time.Duration) {
	p.t.Helper()
	select {
	case line := <-p.lines:
		p.t.Errorf("the program says %q", line)
	case <-time.After(d):
	}
}

func (p *program) hear(line string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		p.t.Fatal(err)
	}
}

// host is what of a daemon programs have to do with.
type host struct {
	t      *testing.T
	dir    string
	x      *actions.Executor
	driver *programs.Driver
	list   *ledger.List
	end    func()

	spec fsm.Spec

	mu    sync.Mutex
	lease bool
	slots map[fsm.Key]fsm.Slot
}

const hostList = "n1.list"

func newHost(t *testing.T, dir string) *host {
	t.Helper()
	h := &host{t: t, dir: dir, lease: true, slots: map[fsm.Key]fsm.Slot{}}
	h.spec = fsm.Spec{
		Servers: map[fsm.MemberID]fsm.Server{"n1": {Name: "n1", Systems: []fsm.SystemID{"s", "hooked"}}},
		Systems: map[fsm.SystemID]fsm.System{
			"s":      {Name: "s", Action: fsm.ActionClient},
			"hooked": {Name: "hooked", Action: fsm.ActionHooks},
			"other":  {Name: "other", Action: fsm.ActionClient},
		},
	}
	list, left, err := ledger.Open(filepath.Join(dir, hostList), ledger.Identity{Boot: "b", Member: "n1"}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	h.list = list
	_, held, gone := ledger.Inherit(left)
	register, former, err := programs.OpenRegister(programsPath(filepath.Join(dir, hostList)), "b", "n1")
	if err != nil {
		t.Fatal(err)
	}
	h.driver = programs.New(programs.Config{
		Self: "n1", Register: register, Lease: h.leased, Slot: h.slot,
		Changed: func() { h.x.Recheck() }, Freed: func(keys []fsm.Key) { h.x.Retry(keys) }, Log: zerolog.Nop(),
	})
	h.driver.Inherit(former, held, gone)
	h.x = actions.New(actions.Config{
		Core:    actions.CoreConfig{Self: "n1", Absent: h.driver.Absent, RetryFirst: time.Minute, RetryMax: time.Minute},
		Drivers: map[fsm.Action]actions.Driver{fsm.ActionClient: h.driver}, Ledger: list, Log: zerolog.Nop(),
	})
	h.x.Adopt(held)
	h.x.Sweep(gone)
	l, err := server.ListenUnix(h.socket())
	if err != nil {
		t.Fatal(err)
	}
	s := server.NewLocal(server.LocalConfig{Log: zerolog.Nop(), Programs: programServer{"n1", h.driver, func() *fsm.Spec { return &h.spec }, h.leased}})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, run := range []func() error{
		func() error { return h.driver.Run(ctx) },
		func() error { return h.x.Run(ctx, func(context.Context, fsm.Report) error { return nil }) },
		func() error { return s.Run(ctx, l) },
	} {
		wg.Go(func() {
			if err := run(); err != nil {
				t.Error(err)
			}
		})
	}
	h.end = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := list.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(h.end)
	return h
}

func (h *host) socket() string { return filepath.Join(h.dir, "n1.sock") }

func (h *host) leased() (time.Duration, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return 10 * time.Second, h.lease
}

func (h *host) slot(k fsm.Key) (fsm.Slot, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.slots[k]
	return s, ok
}

func job(item string, token fsm.Token) fsm.Job {
	return fsm.Job{Key: fsm.Key{System: "s", Item: fsm.ItemID(item)}, Token: token, Action: fsm.ActionClient, StartTimeout: 5 * time.Second, StopTimeout: 5 * time.Second, Previous: "n2", Reason: "n2 is down"}
}

func most(j fsm.Job) fsm.Job {
	j.AtMostOne = true
	return j
}

func (h *host) set(at fsm.Index, jobs ...fsm.Job) {
	h.x.Set(fsm.Slice{At: at, Epoch: 5, Want: jobs}, h.leased)
}

func (h *host) holds(want ...string) {
	h.t.Helper()
	h.becomes("held: "+strings.Join(want, ", "), func() bool {
		got := []string{}
		for _, j := range h.x.Held() {
			got = append(got, string(j.Item))
		}
		return slices.Equal(got, append([]string{}, want...))
	})
}

// becomes waits until something is so.
func (h *host) becomes(what string, so func() bool) {
	h.t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-deadline:
			h.t.Fatalf("not %s: %+v", what, h.x.Status())
		}
	}
}
