package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/actions/programs"
	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
)

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
