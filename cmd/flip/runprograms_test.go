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
		Changed: func() { h.x.Recheck() }, Log: zerolog.Nop(),
	})
	h.driver.Inherit(former, held, gone)
	h.x = actions.New(actions.Config{
		Core:    actions.CoreConfig{Self: "n1", Absent: h.driver.Absent},
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

func TestAProgramIsTheAction(t *testing.T) {
	h := newHost(t, t.TempDir())
	h.set(10, job("a", 7), most(job("b", 8)))
	p := startProgram(t, h.socket())
	p.says("claimed on n1")
	p.saysAll("acquire a/0@7 n2>n1 ", "acquire b/0@8 n2>n1 ")
	h.holds("a", "b")
	h.mu.Lock()
	h.slots[job("b", 0).Key] = fsm.Slot{Owner: "n3", Cause: fsm.CauseBalance}
	h.mu.Unlock()
	h.set(11, job("a", 9), most(job("c", 9)))
	got := []string{p.next(), p.next(), p.next()}
	release, acquire := slices.Index(got, "release b/0@8 n1>n3 balance"), slices.Index(got, "acquire c/0@9 n2>n1 ")
	if release < 0 || acquire < release || !slices.Contains(got, "token a/0@9 n2>n1 ") {
		t.Fatalf("it was told %q", got)
	}
	h.holds("a", "c")
	p.hear("leave")
	p.says("left")
	h.holds()
}

// An item counts when the program says so, and is with it until it says so.
func TestAProgramTakesItsTime(t *testing.T) {
	h := newHost(t, t.TempDir())
	p := startProgram(t, h.socket())
	p.says("claimed on n1")
	p.hear("hold")
	p.says("holding")
	h.set(10, job("a", 7))
	p.says("acquire a/0@7 n2>n1 ")
	p.quiet(50 * time.Millisecond)
	h.holds()
	p.hear("acquire a/0")
	h.holds("a")
	h.set(11)
	p.says("release a/0@7 n1> ")
	if st := h.x.Status(); len(st) != 1 || st[0].Phase != actions.PhaseReleasing {
		t.Errorf("status %+v", st)
	}
	p.hear("release a/0")
	h.becomes("listed no longer", func() bool { return len(h.list.Entries()) == 0 })
}

// Its death frees all it had, and the next program is told anew.
func TestAProgramDies(t *testing.T) {
	h := newHost(t, t.TempDir())
	h.set(10, job("a", 7), most(job("b", 8)))
	p := startProgram(t, h.socket())
	p.says("claimed on n1")
	p.saysAll("acquire a/0@7 n2>n1 ", "acquire b/0@8 n2>n1 ")
	h.holds("a", "b")
	second := startProgram(t, h.socket())
	if got := second.next(); !strings.Contains(got, "has claimed s") || !strings.Contains(got, fmt.Sprint(p.cmd.Process.Pid)) {
		t.Errorf("a second program is told %q", got)
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	h.holds()
	if got := h.driver.Systems(); len(got) != 0 {
		t.Errorf("claimed: %v", got)
	}
	third := startProgram(t, h.socket())
	third.says("claimed on n1")
	third.saysAll("acquire a/0@7 n2>n1 ", "acquire b/0@8 n2>n1 ")
	h.holds("a", "b")
}

// A daemon that is started anew finds its program again: what is at-least-one stays
// without a word, what is at-most-one is let go of and taken again.
func TestAProgramOutlivesTheDaemon(t *testing.T) {
	dir := t.TempDir()
	h := newHost(t, dir)
	h.set(10, job("a", 7), most(job("b", 8)))
	p := startProgram(t, h.socket())
	p.says("claimed on n1")
	p.saysAll("acquire a/0@7 n2>n1 ", "acquire b/0@8 n2>n1 ")
	h.holds("a", "b")
	h.end()
	h = newHost(t, dir)
	h.x.Set(fsm.Slice{At: 20, Epoch: 15, Want: []fsm.Job{job("a", 7), most(job("b", 8))}}, h.leased)
	p.says("release b/0@8 n1> ", "acquire b/0@8 n2>n1 ")
	h.holds("a", "b")
	p.quiet(100 * time.Millisecond)
	h.end()

	// One that died meanwhile has nothing, and the next one is told of everything.
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = p.cmd.Process.Wait()
	h = newHost(t, dir)
	h.x.Set(fsm.Slice{At: 30, Epoch: 25, Want: []fsm.Job{job("a", 7), most(job("b", 8))}}, h.leased)
	p = startProgram(t, h.socket())
	p.says("claimed on n1")
	p.saysAll("acquire a/0@7 n2>n1 ", "acquire b/0@8 n2>n1 ")
	h.holds("a", "b")
}

// What a program does not let go of stays with it; on request it is killed.
func TestAProgramDoesNotLetGo(t *testing.T) {
	for _, kill := range []bool{false, true} {
		h := newHost(t, t.TempDir())
		p := startProgram(t, h.socket())
		p.says("claimed on n1")
		j := job("a", 7)
		j.KillOnTimeout = kill
		if j.StopTimeout = 50 * time.Millisecond; kill {
			j.StopTimeout = time.Second // it is to say what it was told
		}
		h.set(10, j)
		p.says("acquire a/0@7 n2>n1 ")
		h.holds("a")
		p.hear("hold")
		p.says("holding")
		h.set(11)
		p.says("release a/0@7 n1> ")
		if kill {
			p.says("(the end)")
			h.holds()
			continue
		}
		h.becomes("withheld", func() bool {
			st := h.x.Status()
			return len(st) == 1 && strings.Contains(st[0].Err, "the program tester") && strings.Contains(st[0].Err, "has not let go of it")
		})
		// A guard cannot let go of it either, as long as the program lives.
		left := programs.Left{Path: programsPath(filepath.Join(h.dir, hostList)), Boot: "b", Member: "n1"}
		if err := left.Release(t.Context(), j); err == nil || !strings.Contains(err.Error(), "lives, and may have it") {
			t.Errorf("the guard: %v", err)
		}
		p.hear("release a/0")
		h.holds()
		h.becomes("listed no longer", func() bool { return len(h.list.Entries()) == 0 })
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_, _ = p.cmd.Process.Wait()
		if err := left.Release(t.Context(), j); err != nil {
			t.Errorf("the guard, after the program's end: %v", err)
		}
	}
}

// Without a lease what is at-most-one goes, and comes back with it.
func TestAProgramLosesTheLease(t *testing.T) {
	h := newHost(t, t.TempDir())
	h.set(10, job("a", 7), most(job("b", 8)))
	p := startProgram(t, h.socket())
	p.says("claimed on n1")
	p.saysAll("acquire a/0@7 n2>n1 ", "acquire b/0@8 n2>n1 ")
	h.holds("a", "b")
	h.mu.Lock()
	h.lease = false
	h.mu.Unlock()
	if got := p.next(); !strings.HasPrefix(got, "release b/0@8 n1> ") {
		t.Errorf("it was told %q", got)
	}
	h.holds("a")
	p.quiet(100 * time.Millisecond)
	h.mu.Lock()
	h.lease = true
	h.mu.Unlock()
	p.says("acquire b/0@8 n2>n1 ")
	h.holds("a", "b")
}

func TestClaimsThatAreRefused(t *testing.T) {
	h := newHost(t, t.TempDir())
	c := client.New(h.socket())
	defer c.Close()
	for _, tt := range []struct{ system, code, words string }{
		{"none", api.CodeNotFound, "no system none"},
		{"hooked", api.CodeRefused, "is no system that a program claims"},
		{"other", api.CodeRefused, "n1 does not serve other"},
	} {
		_, err := c.Claim(t.Context(), fsm.SystemID(tt.system), client.ClaimOptions{})
		if api.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%s: %v", tt.system, err)
		}
	}
	own, err := c.Claim(t.Context(), "s", client.ClaimOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Claim(t.Context(), "s", client.ClaimOptions{}); api.CodeOf(err) != api.CodeClaimed || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second claim of this program: %v", err)
	}
	if err := own.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if own, err = c.Claim(t.Context(), "s", client.ClaimOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := own.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
