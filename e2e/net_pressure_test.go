package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mono"
)

const (
	hogsPerCore = 4
	// penLimit is the memory of a host that is short of it, on top of what its
	// processes have already: the kernel counts for a group what was taken in it.
	penLimit = 64 << 20
	// eaters are killed one after the other.
	eaters = 3
)

func cores() int { return runtime.NumCPU() }

// helper is this test binary in a role, that ends with the test.
type helper struct {
	cmd  *exec.Cmd
	done chan struct{}
}

func (s *scene) helper(role string, env ...string) *helper {
	s.t.Helper()
	h := &helper{cmd: exec.Command(os.Args[0]), done: make(chan struct{})}
	h.cmd.Env = append(append(os.Environ(), roleEnv+"="+role), env...)
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	h.cmd.Stderr = os.Stderr
	if err := h.cmd.Start(); err != nil {
		s.t.Fatalf("start a process that is to %s: %v", role, err)
	}
	go func() {
		_ = h.cmd.Wait()
		close(h.done)
	}()
	return h
}

func (h *helper) end() {
	_ = h.cmd.Process.Kill()
	<-h.done
}

// pen limits the memory of the victim's daemon and guard.
func (s *scene) pen() *lab.Pen {
	s.t.Helper()
	pen, err := s.victim.NewPen(penLimit)
	if errors.Is(err, lab.ErrNoCgroup) {
		s.t.Skipf("memory cannot be limited here: %v", err)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.after = append(s.after, func() {
		if err := pen.Open(); err != nil {
			s.t.Error(err)
		}
	})
	pids := []int{s.victim.Daemon().Cmd.Process.Pid}
	if guard, err := s.victim.Guard(); err == nil {
		pids = append(pids, guard)
	}
	if err := pen.Take(pids...); err != nil {
		s.t.Fatal(err)
	}
	return pen
}

// eater takes the pen's memory; score is how likely the kernel is to end it.
func (s *scene) eater(pen *lab.Pen, score int) *helper {
	s.t.Helper()
	h := s.helper(roleEat, roleName+"="+pen.Procs())
	// Before the pen is opened, which waits for nobody.
	s.after = append([]func(){h.end}, s.after...)
	if err := lab.OOMScore(h.cmd.Process.Pid, score); err != nil {
		s.t.Fatal(err)
	}
	return h
}

// memoryShort has several processes beside the daemon take all memory until the
// kernel kills them.
func (s *scene) memoryShort() mono.Time {
	pen := s.pen()
	at := mono.Now()
	for range eaters {
		h := s.eater(pen, 1000)
		select {
		case <-h.done:
		case <-time.After(20 * time.Second):
			s.t.Fatal("nobody was killed for memory")
		}
		if st, ok := h.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || st.Signal() != syscall.SIGKILL {
			s.t.Fatalf("who took all memory ended by itself: %v", h.cmd.ProcessState)
		}
	}
	// A daemon that was kept waiting for memory for too long is ended by its guard.
	s.t.Logf("%d hogs were killed in %v, the daemon still runs: %v", eaters, mono.Now().Sub(at), s.victim.Running())
	return at
}

// killedForMemory has the kernel choose the daemon.
func (s *scene) killedForMemory() mono.Time {
	pen := s.pen()
	d := s.victim.Daemon()
	if err := lab.OOMScore(d.Cmd.Process.Pid, 1000); err != nil {
		s.t.Fatal(err)
	}
	h := s.eater(pen, 0)
	select {
	case <-d.Done:
	case <-time.After(20 * time.Second):
		s.t.Fatal("the daemon was not killed for memory")
	}
	h.end()
	return mono.Now().Add(-time.Since(d.Died))
}

// healsMidway cuts the holder off and heals it while another host takes over: as
// soon as its kernel has the address, and in further trials a little before.
func (s *scene) healsMidway() mono.Time {
	done := make(chan struct{})
	s.after = append(s.after, func() { close(done) })
	comes, err := s.others(s.victim)[0].AddressComes(s.g.four, done)
	comes2, err2 := s.others(s.victim)[1].AddressComes(s.g.four, done)
	if err := errors.Join(err, err2); err != nil {
		s.t.Fatal(err)
	}
	at := s.cut(s.CutSilently, lab.Both, s.victim)
	var early <-chan time.Time
	if s.trial > 0 {
		early = time.After(s.aimed(s.trial) - mono.Now().Sub(at))
	}
	select {
	case <-comes:
	case <-comes2:
	case <-early:
	case <-time.After(settleLimit):
		s.t.Fatal("nobody takes over")
	}
	healed := s.heal(s.victim)
	s.t.Logf("healed %v after the cut", healed.Sub(at))
	return at
}

// aimed is a moment shortly before a takeover, another one for each trial.
func (s *scene) aimed(trial int) time.Duration {
	lease := map[string]time.Duration{"lan": 300 * time.Millisecond, "fast": 50 * time.Millisecond}[s.timing]
	return lease + lease*time.Duration(trial%5)/25
}

// killedAlone kills the holder's daemon while one of the two others is cut off:
// who is left is no majority, and nothing may come up.
func (s *scene) killedAlone() mono.Time {
	s.cut(s.CutSilently, lab.Both, s.others(s.victim)[0])
	return kills((*lab.Host).Send)(s)
}

// nobodyHolds waits until no host has the group.
func (s *scene) nobodyHolds() {
	s.eventually(settleLimit, "nobody has "+s.g.id, func() error {
		for _, a := range s.g.addrs() {
			if who, ok := s.Client.Ask(a, 1, 50*time.Millisecond); ok {
				return fmt.Errorf("%s answers for %s", who, a)
			}
		}
		return nil
	})
}
