package gate

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// asTheDead makes this test's program the daemon that is to be killed.
const asTheDead = "FLIP_GATE_TEST_DIES"

// An heir shuts the gate that a killed process has left open. While it lives the
// tables are owned, so that strangers can do nothing; afterwards they stay, and
// the next daemon takes them over.
func TestHeirOfTheDead(t *testing.T) {
	if os.Getenv(asTheDead) != "" {
		dieOpen(t)
		return
	}
	w := newWorld(t)
	first, err := Open(Config{Name: "flip-test"}, nil)
	must(t, err)
	owned := first.Stats().Owned
	must(t, errors.Join(first.Dismantle(), first.Close()))
	if !owned {
		t.Skip("this kernel knows no owner and persist (6.9)")
	}
	ps := w.probes()
	child, f := beginDeath(t)
	expect(t, "control: open", ps, true)
	h, err := Inherit(f, "flip-test")
	must(t, err)
	must(t, child.Process.Kill())
	_ = child.Wait() // killed
	expect(t, "control: it is dead, and its lease runs", ps, true)
	must(t, h.Shut())
	expect(t, "shut by the heir", ps, false)
	must(t, h.Shut()) // again is fine

	c := stranger(t)
	c.DelTable(inetTable)
	if err := c.Flush(); !errors.Is(err, unix.EPERM) {
		t.Errorf("a stranger deletes what an heir owns: %v", err)
	}
	if _, err := Open(Config{Name: "flip-test"}, nil); !errors.Is(err, ErrForeign) {
		t.Errorf("somebody else opens the gate of an heir that lives: %v", err)
	}
	must(t, h.Remove([]netip.Addr{gated4}))
	must(t, h.Remove([]netip.Addr{gated4, gated6, control4})) // only one of them is inside
	if n := count(t, c, nftables.TableFamilyINet, setAddr4) + count(t, c, nftables.TableFamilyINet, setAddr6); n != 0 {
		t.Errorf("%d addresses are left inside", n)
	}
	must(t, h.Close())
	must(t, h.Close())
	if err := h.Shut(); !errors.Is(err, ErrClosed) {
		t.Errorf("shut after its end: %v", err)
	}
	if got := names(t, c); !slices.Equal(got, []string{"flip-test", "flip-test"}) {
		t.Errorf("after the heir's end: %v", got)
	}
	g := w.gate(options{}, gated...)
	expect(t, "taken over", ps, false)
	opened(t, g)
	expect(t, "open", ps, true)
}

// beginDeath starts the process that is to die and takes its socket over.
func beginDeath(t *testing.T) (*exec.Cmd, *os.File) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	theirs := os.NewFile(uintptr(pair[1]), "pair")
	defer func() { _ = unix.Close(pair[0]) }()
	self, err := os.Executable()
	must(t, err)
	child := exec.Command(self, "-test.run=^TestHeirOfTheDead$")
	child.Env = append(os.Environ(), asTheDead+"=1")
	child.ExtraFiles = []*os.File{theirs}
	must(t, child.Start())
	t.Cleanup(func() { _ = child.Process.Kill() })
	must(t, theirs.Close())
	must(t, unix.SetsockoptTimeval(pair[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}))
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(pair[0], make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	must(t, err)
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	must(t, err)
	fds, err := unix.ParseUnixRights(&msgs[0])
	must(t, err)
	return child, os.NewFile(uintptr(fds[0]), "gate")
}

// dieOpen opens a gate, hands its socket on and waits to be killed.
func dieOpen(t *testing.T) {
	g, err := Open(Config{Name: "flip-test"}, gated)
	must(t, err)
	opened(t, g)
	f, err := g.File()
	must(t, err)
	must(t, unix.Sendmsg(3, []byte{1}, unix.UnixRights(int(f.Fd())), nil, 0))
	select {}
}

// A renewal that is on its way between fuse and transaction is refused once
// somebody has shut the gate, an heir or the daemon itself; so is a first opening.
func TestShutStopsARenewal(t *testing.T) {
	lonely(t)
	for _, open := range []bool{false, true} {
		g := newGate(t, Config{Name: "flip-test", Fuse: time.Second}, options{}, gated...)
		if open {
			opened(t, g)
		}
		f, err := g.File()
		must(t, err)
		h, err := Inherit(f, "flip-test")
		must(t, err)
		before := g.Stats()
		err = g.Renew(func() (time.Duration, bool) {
			must(t, h.Shut())
			return 30 * time.Second, true
		})
		if !errors.Is(err, ErrLapsed) || !strings.Contains(err.Error(), "came later") {
			t.Errorf("open %t: renewed beside a Shut: %v", open, err)
		}
		if after := g.Stats(); after.Late != before.Late+1 || after.Refused != before.Refused+1 {
			t.Errorf("open %t: %d refused, %d by the fuse", open, after.Refused, after.Late)
		}
		if n := count(t, stranger(t), nftables.TableFamilyINet, setLease); n != 0 {
			t.Errorf("open %t: the gate is open", open)
		}
		must(t, g.Shut()) // the daemon goes on; what it is answered is still its own
		opened(t, g)
		must(t, h.Close())
		must(t, g.Dismantle())
		must(t, g.Close())
	}
}

// Answers that the dead never read do not confuse its heir.
func TestHeirPassesOverOldAnswers(t *testing.T) {
	lonely(t)
	g := newGate(t, Config{Name: "flip-test"}, options{}, gated...)
	f, err := g.File()
	must(t, err)
	h, err := Inherit(f, "flip-test")
	must(t, err)
	defer func() { must(t, h.Close()) }()
	for range 100 { // refusals that fill the queue: of the heir's own numbers none
		g.out.reset()
		g.out.batchBegin()
		g.out.elements(unix.NFT_MSG_DELSETELEM, 0, unix.NFPROTO_INET, g.name, setFuse, 0, fuseKey(1))
		g.out.batchEnd()
		must(t, g.sock.send(&g.out))
	}
	must(t, h.Shut())
	opened(t, g)
	must(t, h.Shut())
	if n := count(t, stranger(t), nftables.TableFamilyINet, setLease); n != 0 {
		t.Error("the gate is open")
	}
}

// A daemon that dies at work leaves thousands of which some were behind the gate and
// some not yet.
func TestHeirOfHalfTheWork(t *testing.T) {
	lonely(t)
	all := append(addresses(4000, false), addresses(4000, true)...)
	var begun []netip.Addr
	for i, a := range all {
		if i%2 == 0 {
			begun = append(begun, a)
		}
	}
	g := newGate(t, Config{Name: "flip-test"}, options{}, begun...)
	f, err := g.File()
	must(t, err)
	h, err := Inherit(f, "flip-test")
	must(t, err)
	defer func() { must(t, h.Close()) }()
	began := time.Now()
	must(t, h.Remove(all))
	t.Logf("%d addresses, half of them inside, are out after %v", len(all), time.Since(began))
	c := stranger(t)
	if n := count(t, c, nftables.TableFamilyINet, setAddr4) + count(t, c, nftables.TableFamilyINet, setAddr6) + count(t, c, nftables.TableFamilyARP, setAddr4); n != 0 {
		t.Errorf("%d addresses are left inside", n)
	}
}
