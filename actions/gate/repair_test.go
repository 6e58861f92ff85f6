package gate

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// running starts g.Run; what it gives stops it and hands over its error.
func running(t testing.TB, g *Gate) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	stop = func() error {
		cancel()
		select {
		case err := <-ended:
			ended <- err
			return err
		case <-time.After(patience):
			t.Error("Run does not end")
			return nil
		}
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

// repaired waits until the tables were built anew.
func repaired(t testing.TB, g *Gate, why string) {
	t.Helper()
	select {
	case <-g.Changed():
	case <-time.After(patience):
		t.Fatalf("not repaired: somebody %s", why)
	}
}

// Where strangers can touch the tables what they did is made good; the gate is
// then shut, and opens when it is asked to. Control: without Run the harm stays.
func TestRepairs(t *testing.T) {
	w := newWorld(t)
	ps := w.probes()
	g := w.gate(options{unowned: true}, gated...)
	c := stranger(t)
	all := append(harms(), harm{"flushes the ruleset", func(_ *testing.T, c *nftables.Conn) { c.FlushRuleset() }})

	c.FlushRuleset()
	must(t, c.Flush())
	expect(t, "control: flushed and not watched", ps, true)
	must(t, g.Shut()) // notices
	expect(t, "repaired by Shut", ps, false)
	<-g.Changed()

	stop := running(t, g)
	for _, h := range all {
		opened(t, g)
		h.do(t, c)
		began := time.Now()
		must(t, c.Flush())
		repaired(t, g, h.name)
		took := time.Since(began)
		expect(t, "repaired after somebody "+h.name, ps, false)
		opened(t, g)
		expect(t, "opened after somebody "+h.name, ps, true)
		must(t, g.Shut())
		t.Logf("somebody %s: repaired after %s", h.name, took.Round(10*time.Microsecond))
	}
	if n, want := g.Stats().Repairs, uint64(len(all)+1); n != want { // what Run has heard of the flush before it is made good already
		t.Errorf("%d repairs, want %d", n, want)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// Every call makes good what it stumbles upon.
func TestEachCallRepairs(t *testing.T) {
	w := newWorld(t)
	ps := w.probes()
	c := stranger(t)
	for name, do := range map[string]func(*Gate) error{
		"Shut":   (*Gate).Shut,
		"Add":    func(g *Gate) error { return g.Add(gated[1:]) },
		"Remove": func(g *Gate) error { return g.Remove(gated[1:]) },
		"Renew":  func(g *Gate) error { return g.Renew(func() (time.Duration, bool) { return time.Minute, true }) },
	} {
		g := w.gate(options{unowned: true}, gated...)
		if name == "Add" {
			must(t, g.Remove(gated[1:]))
		}
		opened(t, g)
		c.FlushRuleset()
		must(t, c.Flush())
		if err := do(g); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		repaired(t, g, name)
		for _, p := range ps {
			want := name == "Renew" || name == "Remove" && p.gated.Is6()
			if got := p.answers(t); got != want {
				t.Errorf("after %s: %s answers: %t", name, p.name, got)
			}
		}
		must(t, g.Dismantle())
	}
}

// Somebody who takes single elements of the lease away shuts the gate and does
// not break it.
func TestHalfALease(t *testing.T) {
	lonely(t)
	g := newGate(t, Config{Name: "flip-test"}, options{unowned: true}, gated...)
	c := stranger(t)
	for _, family := range []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyARP} {
		opened(t, g)
		c.FlushSet(setOf(t, c, family, setLease))
		must(t, c.Flush())
		long := func() (time.Duration, bool) { return time.Minute, true }
		if err := g.Renew(long); !errors.Is(err, ErrLapsed) {
			t.Errorf("family %d: renewed half a lease: %v", family, err)
		}
		opened(t, g)
		must(t, g.Shut())
	}
	lease := setOf(t, c, nftables.TableFamilyARP, setLease)
	must(t, c.SetAddElements(lease, []nftables.SetElement{{Key: []byte{nfprotoARP}, Timeout: time.Hour}}))
	must(t, c.Flush())
	if err := g.Renew(func() (time.Duration, bool) { return time.Minute, true }); !errors.Is(err, ErrLapsed) {
		t.Errorf("opened what was open: %v", err)
	}
	opened(t, g)
}

// Own changes are no harm, and others' tables are none of our business.
func TestNoNeedlessRepair(t *testing.T) {
	for _, o := range []options{{}, {unowned: true}} {
		lonely(t)
		g := newGate(t, Config{Name: "flip-test"}, o, gated...)
		stop := running(t, g)
		other := newGate(t, Config{Name: "flip-test2"}, options{unowned: true}, gated...)
		for range 20 {
			opened(t, g)
			opened(t, other)
			must(t, g.Remove(gated))
			must(t, g.Add(gated))
			must(t, g.Shut())
		}
		closes(t, stranger(t), setFuse)
		if !o.unowned { // what follows could not be done
			must(t, stop())
		} else {
			c := stranger(t)
			c.FlushTable(inetTable)
			must(t, c.Flush())
			repaired(t, g, "flushes the rules") // and with it all that was heard before
		}
		if n := g.Stats().Repairs; n > 1 || n == 1 && !o.unowned {
			t.Errorf("%+v: %d repairs", o, n)
		}
		must(t, g.Dismantle())
	}
}

// When events were lost the tables are compared with what they should be.
func TestLostEvents(t *testing.T) {
	lonely(t)
	g := newGate(t, Config{Name: "flip-test"}, options{unowned: true}, gated...)
	c := stranger(t)
	missed := news{lost: true}
	opened(t, g)
	must(t, g.answer(missed))
	must(t, g.Shut())
	must(t, g.answer(missed))
	if n := g.Stats().Repairs; n != 0 {
		t.Fatalf("%d repairs of what was whole", n)
	}
	for i, h := range harms() {
		h.do(t, c)
		must(t, c.Flush())
		must(t, g.answer(missed))
		if n := g.Stats().Repairs; n != uint64(i+1) {
			t.Fatalf("somebody %s: not noticed", h.name)
		}
	}
}

// A stranger's table in the place of ours cannot be repaired: Run says so.
func TestReplacedByAForeignTable(t *testing.T) {
	lonely(t)
	g := newGate(t, Config{Name: "flip-test"}, options{unowned: true}, gated...)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	c := stranger(t)
	c.FlushRuleset()
	c.AddTable(inetTable)
	must(t, c.Flush())
	if err := <-ended; !errors.Is(err, ErrForeign) {
		t.Errorf("Run ended with %v", err)
	}
	if err := g.Renew(func() (time.Duration, bool) { return time.Minute, true }); !errors.Is(err, ErrForeign) {
		t.Errorf("Renew: %v", err)
	}
	if g.Stats().Open {
		t.Error("believes it is open")
	}
}

// What was done before our own build, and is told only now, is passed over; what
// comes after it is not. Lost news end the waiting for our own.
func TestNewsOfReplacedTables(t *testing.T) {
	const own, other = 7, 8
	from := func(port uint32, kind uint16) []byte {
		var m message
		m.nft(kind, 0, unix.NFPROTO_INET)
		m.str(unix.NFTA_TABLE_NAME, "flip-test")
		m.close()
		binary.NativeEndian.PutUint32(m.buf[12:], port)
		return m.buf
	}
	w := watch{name: "flip-test", own: own}
	hears := func(port uint32, kind uint16, want bool) {
		t.Helper()
		var n news
		w.read(from(port, kind), &n)
		if n.touched != want {
			t.Errorf("port %d, message %d: touched %t", port, kind, n.touched)
		}
	}
	hears(other, unix.NFT_MSG_DELRULE, true)
	hears(own, unix.NFT_MSG_NEWSETELEM, false)
	w.builds.Add(1)
	hears(other, unix.NFT_MSG_DELRULE, false)
	hears(own, unix.NFT_MSG_NEWTABLE, false)
	hears(other, unix.NFT_MSG_DELRULE, true)
	w.builds.Add(1)
	var n news
	w.read([]byte{1}, &n)
	if !n.lost {
		t.Error("what cannot be read is not lost")
	}
	hears(other, unix.NFT_MSG_DELTABLE, true)
}
