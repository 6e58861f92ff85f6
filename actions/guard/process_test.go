package guard_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/actions/guard"
	"github.com/flip-ha/flip/actions/ledger"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure"
)

// killed measures from SIGKILL until all addresses are gone.
func killed(t *testing.T, n, trials int) []time.Duration {
	t.Helper()
	var took []time.Duration
	for range trials {
		d := start(t, orders{Addrs: some(n)})
		seen := watch(t)
		began := time.Now()
		must(t, d.cmd.Process.Kill())
		at, ok := seen.wait(n, patience)
		if !ok {
			t.Fatalf("addresses stay: %v", addrs(t))
		}
		took = append(took, at.Sub(began))
		d.ended()
		d.left(0)
		cleanAddrs(t)
	}
	slices.Sort(took)
	return took
}

// left checks that of the daemon's addresses n are there, and the at-least-one
// address in any case, and that the list says so too.
func (d *daemon) left(n int) {
	d.t.Helper()
	now := addrs(d.t)
	if !now[stays] {
		d.t.Error("the at-least-one address is gone")
	}
	if len(now)-1 != n {
		d.t.Errorf("%d at-most-one addresses are there, want %d", len(now)-1, n)
	}
	list, entries, err := ledger.Resume(filepath.Join(d.dir, "list"), nolog)
	must(d.t, err)
	must(d.t, list.Close())
	listed := 0
	for _, e := range entries {
		if e.Job.AtMostOne && e.Job.Action == fsm.ActionIP {
			listed++
		}
	}
	if listed != n || len(entries) == listed {
		d.t.Errorf("the list has %d at-most-one addresses of %d entries, want %d", listed, len(entries), n)
	}
}

func TestKilled(t *testing.T) {
	lonely(t)
	for _, n := range []int{1, 1000} {
		trials := 15
		if testing.Short() {
			trials = 3
		}
		took := killed(t, n, trials)
		t.Logf("from SIGKILL until %d addresses were gone: median %v, worst %v of %d",
			n, took[len(took)/2].Round(10*time.Microsecond), took[len(took)-1].Round(10*time.Microsecond), len(took))
	}
}

// Control: nobody takes away what a killed daemon without a guard has left, nor
// if both are killed; then list and gate remain.
func TestNobodyIsLeft(t *testing.T) {
	for _, without := range []bool{true, false} {
		t.Run(fmt.Sprintf("without a guard %t", without), func(t *testing.T) {
			lonely(t)
			d := start(t, orders{Addrs: some(3), NoGuard: without, Lease: 300 * time.Millisecond})
			seen := watch(t)
			if !without {
				// Stopped, both of them: neither may see the other die.
				must(t, unix.Kill(d.cmd.Process.Pid, unix.SIGSTOP))
				must(t, unix.Kill(d.guard, unix.SIGKILL))
			}
			must(t, d.cmd.Process.Kill())
			<-d.gone
			if _, ok := seen.wait(1, 500*time.Millisecond); ok {
				t.Fatal("somebody has removed an address")
			}
			d.left(3)
			if g := gateThere(t); !g {
				t.Error("the gate is gone")
			}
		})
	}
}

// What ends the patience of a guard.
func TestGuardActs(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(*daemon)
		// Not sooner and not later than this after it.
		least, most time.Duration
		why         string
	}{
		{"stopped", func(d *daemon) { must(d.t, unix.Kill(d.cmd.Process.Pid, unix.SIGSTOP)) }, 200 * time.Millisecond, 3 * time.Second, "lease has ended"},
		{"closes its pipe", func(d *daemon) { d.tell("close") }, 0, 2 * time.Second, "closed its pipe"},
		{"releases for longer than it may", func(d *daemon) { d.tell("lapse") }, 2 * time.Second, 5 * time.Second, "in its time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if testing.Short() && tt.least > time.Second {
				t.Skip("takes seconds")
			}
			lonely(t)
			d := start(t, orders{Addrs: some(5), Lease: 300 * time.Millisecond})
			seen := watch(t)
			began := time.Now()
			tt.do(d)
			at, ok := seen.wait(5, patience)
			if took := at.Sub(began); !ok || took < tt.least || took > tt.most {
				t.Errorf("gone %t after %v, want %v to %v", ok, took, tt.least, tt.most)
			}
			<-d.gone // killed, whatever else it was
			d.ended()
			d.left(0)
			if !strings.Contains(d.log.String(), tt.why) {
				t.Errorf("it did not act since %q", tt.why)
			}
		})
	}
}

// A daemon that loses its lease and releases by itself, or that leaves, is let be.
func TestGuardLetsBe(t *testing.T) {
	lonely(t)
	d := start(t, orders{Addrs: some(2), Lease: 100 * time.Millisecond})
	seen := watch(t)
	d.tell("lapse")
	d.tell("released")
	d.line("done released")
	if _, ok := seen.wait(1, time.Second); ok || d.dead() {
		t.Fatal("the guard has acted on a healthy daemon")
	}
	d.tell("leave")
	d.line("done leave")
	must(t, d.cmd.Process.Kill())
	d.ended()
	if _, ok := seen.wait(1, 200*time.Millisecond); ok {
		t.Fatal("the guard has acted after Leave")
	}
	d.left(2)
}

// A guard that dies or does not answer is replaced; the new one knows all.
func TestGuardIsReplaced(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGSTOP, unix.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			lonely(t)
			d := start(t, orders{Addrs: some(3), Lease: 300 * time.Millisecond})
			if sig == unix.SIGSTOP && testing.Short() {
				t.Skip("takes two leases")
			}
			first := d.guard
			must(t, unix.Kill(first, sig))
			if sig == unix.SIGTERM {
				if d.tell("guard"); d.number("guard") != first {
					t.Error("SIGTERM has ended the guard")
				}
			} else {
				d.replaced(first)
			}
			d.tell("put")
			if line := d.line("put"); line != "put <nil>" {
				t.Error(line)
			}
			seen := watch(t)
			must(t, d.cmd.Process.Kill())
			if _, ok := seen.wait(3, patience); !ok {
				t.Errorf("addresses stay")
			}
			d.ended()
			d.left(0)
		})
	}
}

// replaced waits until there is another guard than the one given.
func (d *daemon) replaced(former int) {
	d.t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(4 * patience); time.Now().Before(deadline); <-look.C {
		d.tell("guard")
		if pid := d.number("guard"); pid != former && pid != 0 {
			d.guard = pid
			return
		}
	}
	d.t.Fatal("no other guard")
}

// The guard ends the daemon's hooks first, then runs `down` with the newest token
// under its own run; as long as that lasts no new daemon can start.
func TestGuardRunsDown(t *testing.T) {
	lonely(t)
	dir := t.TempDir()
	alive := script(t, dir, "alive", `echo alive $$ >> `+dir+`/trace; trap '' HUP; while :; do sleep 0.05; done`)
	down := script(t, dir, "down", `echo down $FLIP_ITEM $FLIP_TOKEN ${FLIP_RUN:+run} >> `+dir+`/trace; sleep 0.3; echo downed >> `+dir+`/trace`)
	d := start(t, orders{Dir: dir, Hooks: []string{"a"}, Alive: alive, Down: down, Stop: 5 * time.Second})
	waitFor(t, dir+"/trace", "alive")
	var pid int
	_, err := fmt.Sscanf(read(t, dir+"/trace"), "alive %d", &pid)
	must(t, err)
	must(t, d.cmd.Process.Kill())
	waitFor(t, dir+"/trace", "down a 3 run")
	if lives(pid) {
		t.Error("`down` runs beside the daemon's `alive`")
	}
	if err := tryLock(dir); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("a new daemon could start while `down` runs: %v", err)
	}
	waitFor(t, dir+"/trace", "downed")
	d.ended()
	must(t, tryLock(dir))
	if trace := read(t, dir+"/trace"); strings.Count(trace, "down a") != 1 {
		t.Errorf("trace: %s", trace)
	}
}

// A `down` that fails is handed to the next daemon: the lock is free between two
// tries, and the guard ends when somebody has it.
func TestGuardHandsOver(t *testing.T) {
	lonely(t)
	dir := t.TempDir()
	down := script(t, dir, "down", `echo down >> `+dir+`/trace; exit 1`)
	d := start(t, orders{Dir: dir, Hooks: []string{"a"}, Down: down, Stop: 5 * time.Second})
	must(t, d.cmd.Process.Kill())
	waitFor(t, dir+"/trace", "down\n")
	<-d.gone
	f := lockWhenFree(t, dir)
	defer func() { _ = f.Close() }()
	d.ended()
	_, entries, err := ledger.Resume(dir+"/list", nolog)
	must(t, err)
	if len(entries) != 2 || !entries[0].Job.AtMostOne || entries[0].Phase != ledger.Stopping || entries[0].Run != "" {
		t.Errorf("the list: %+v", entries)
	}
}

// The goodbye goes out as the daemon, from its socket, sealed by the keys that this
// guard, or the one before it, was told last, and is repeated until a new daemon has
// the lock.
func TestGuardSaysGoodbye(t *testing.T) {
	first, second := keysOf("the lab's key"), keysOf("the lab's new key")
	both := append(second.Handover(), first.Handover()...)
	for name, told := range map[string][]string{"by the first key": nil, "by a new key": {"key"}, "by another guard": {"kill guard", "key"}, "told again": {"key", "kill guard"}} {
		t.Run(name, func(t *testing.T) {
			keys, next := first, both
			if told != nil {
				keys = second
			}
			guardSaysGoodbye(t, first.Handover(), next, told, keys)
		})
	}
}

func guardSaysGoodbye(t *testing.T, key, next []byte, told []string, keys *secure.Keys) {
	lonely(t)
	voter, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = voter.Close() }()
	box := keys.Box(senderOf("n2"))
	dir := t.TempDir()
	d := start(t, orders{
		Dir: dir, Addrs: some(1), Key: key, Next: next, Process: fsm.Nonce{9}, Epoch: 7,
		Voters: map[fsm.MemberID]string{"n1": "127.0.0.1:1", "n2": voter.LocalAddr().String()},
	})
	for _, word := range told {
		d.tell(word)
		d.line("done " + word)
	}
	d.tell("guard")
	d.guard = d.number("guard")
	must(t, d.cmd.Process.Kill())
	buf := make([]byte, 1<<16)
	must(t, voter.SetReadDeadline(time.Now().Add(patience)))
	for good := 0; good < 3; {
		n, from, err := voter.ReadFrom(buf)
		must(t, err)
		sender, body, err := box.Open(buf[:n])
		if errors.Is(err, secure.ErrForeign) && told != nil {
			continue // the same by the other key
		}
		must(t, err)
		good++
		if sender.Name != "n1" || sender.Instance != "i" || sender.Process == (fsm.Nonce{9}) || len(body) == 0 {
			t.Errorf("from %v (%v)", sender, from)
		}
	}
	f := lockWhenFree(t, dir)
	defer func() { _ = f.Close() }()
	d.ended()
}

func TestWriterNeverBlocks(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	defer func() { _ = r.Close() }()
	out, flush := guard.NewWriter(w)
	for range 5000 {
		if _, err := fmt.Fprintf(out, "%0100d\n", 1); err != nil { // more than the pipe holds
			t.Fatal(err)
		}
	}
	limit := make(chan struct{})
	close(limit) // nobody reads
	flush(limit)
	must(t, w.Close())
}
