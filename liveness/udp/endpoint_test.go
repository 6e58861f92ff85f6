package udp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inBubble runs a cluster in a bubble and ends it.
func inBubble(t *testing.T, names []fsm.MemberID, test func(t *testing.T, c *cluster)) {
	t.Helper()
	keys() // not in the bubble: another test may be deriving them
	otherKeys()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, names...)
		defer c.stop()
		test(t, c)
	})
}

var (
	two   = []fsm.MemberID{"n1", "n2"}
	three = []fsm.MemberID{"n1", "n2", "n3"}
)

func TestTwoBecomeLeased(t *testing.T) {
	inBubble(t, two, func(t *testing.T, c *cluster) {
		c.leased()
		c.pass(3 * time.Second)
		c.leased("n1", "n2")
		// Neither is a majority of two.
		c.nodes["n2"].stop()
		c.pass(time.Second)
		c.leased()
	})
}

func TestSilentOneIsFound(t *testing.T) {
	inBubble(t, three, func(t *testing.T, c *cluster) {
		c.pass(3 * time.Second)
		c.leased("n1", "n2", "n3")
		if downs := c.nodes["n1"].Downs(); len(downs) > 0 {
			t.Fatalf("all are there: %+v", downs)
		}
		epoch := c.nodes["n3"].Epoch()
		c.nodes["n3"].stop()
		gone := time.Now()
		for len(c.nodes["n1"].Downs()) == 0 && time.Since(gone) < 3*ttl {
			time.Sleep(time.Millisecond)
		}
		// Slack after the last heartbeat, which was up to one beat ago, and a round.
		took := time.Since(gone)
		if slack := fsm.Slack(ttl); took < slack-beat-5*time.Millisecond || took > slack+beat {
			t.Errorf("found after %v", took)
		}
		downs := c.nodes["n1"].Downs()
		if len(downs) != 1 || downs[0].Member != "n3" || downs[0].Epoch != epoch || len(downs[0].Evidence) < 2 {
			t.Fatalf("%+v", downs)
		}
		c.commit(downs[0])
		c.pass(time.Second)
		c.leased("n1", "n2")
		if heard := c.peer("n1", "n3").Heard; heard < time.Second {
			t.Errorf("n3 was heard %v ago", heard)
		}
	})
}

// Heartbeats stand on a grid: nothing that happens between them moves it.
func TestTicksDoNotDrift(t *testing.T) {
	inBubble(t, three, func(t *testing.T, c *cluster) {
		c.pass(3 * time.Second)
		from := time.Now()
		for range 1000 {
			c.show()
			time.Sleep(9973 * time.Microsecond) // a prime number, to be off the grid
		}
		took := time.Since(from)
		var sent []time.Time
		tap := keys().Box(secure.Sender{Name: "tap", Process: fsm.Nonce{99}})
		for _, l := range c.wire.letters(c.addrs["n2"]) {
			if l.from != keyOf(c.addrs["n1"]) || l.at.Before(from) {
				continue
			}
			_, body, err := tap.Open(bytes.Clone(l.data))
			if err != nil {
				t.Fatal(err)
			}
			if p, err := decode(body); err == nil && p.kind == kindHeartbeat {
				sent = append(sent, l.at)
			}
		}
		if got, want := len(sent), int(took/beat); got < want || got > want+1 {
			t.Fatalf("%d heartbeats in the time of %d", got, want)
		}
		for i, at := range sent {
			if want := sent[0].Add(time.Duration(i) * beat); !at.Equal(want) {
				t.Fatalf("heartbeat %d is off by %v", i, at.Sub(want))
			}
		}
	})
}

// A stop in order: the goodbye reaches the leader, and its acknowledgement the
// one that stops, which knows when it is done.
func TestGoodbye(t *testing.T) {
	inBubble(t, three, func(t *testing.T, c *cluster) {
		c.pass(3 * time.Second)
		n3 := c.nodes["n3"]
		n3.Goodbye(nil)
		c.pass(beat)
		downs := c.nodes["n1"].Downs()
		if len(downs) != 1 || downs[0].Member != "n3" || downs[0].Goodbye == nil {
			t.Fatalf("%+v", downs)
		}
		if n3.GoodbyeDone() {
			t.Error("done before the log shows it")
		}
		c.commit(downs[0])
		for !n3.GoodbyeDone() {
			<-n3.Changed()
		}
		c.leased("n1", "n2")
	})
}

// Who says goodbye gives its lease up; one that nobody answers loses it.
func TestGoodbyeIsNoLapse(t *testing.T) {
	inBubble(t, three, func(t *testing.T, c *cluster) {
		lapses := map[string]*atomic.Int64{}
		for _, name := range []string{"n1", "n2", "n3"} {
			count := &atomic.Int64{}
			lapses[name] = count
			n := c.nodes[fsm.MemberID(name)]
			n.mu.Lock()
			n.cfg.Measure.Lapse = func() { count.Add(1) }
			n.mu.Unlock()
		}
		c.pass(3 * time.Second)
		c.nodes["n3"].Goodbye(nil)
		c.pass(beat)
		c.nodes["n2"].stop()
		c.nodes["n3"].stop()
		c.pass(2 * ttl)
		for name, want := range map[string]int64{"n1": 1, "n3": 0} {
			if got := lapses[name].Load(); got != want {
				t.Errorf("the lease of %s has lapsed %d times, not %d", name, got, want)
			}
		}
	})
}

// Changed tells of a lease that begins and of one that ends, at once.
func TestChanged(t *testing.T) {
	inBubble(t, three, func(t *testing.T, c *cluster) {
		n2 := c.nodes["n2"]
		c.pass(3 * time.Second)
		left, _ := n2.Lease()
		c.change(func() { c.wire.cut = func(_, _ netip.AddrPort) bool { return true } })
		begin := time.Now()
		for ok := true; ok; _, ok = n2.Lease() {
			<-n2.Changed()
		}
		// What was on the wire when it was cut may still have renewed it.
		if took := time.Since(begin); took < left || took > ttl {
			t.Errorf("told after %v of the end of a lease of %v", took, left)
		}
	})
}

// Who looks only when told knows of a lease that has begun.
func TestChangedTellsOfTheBeginning(t *testing.T) {
	inBubble(t, three, func(t *testing.T, c *cluster) {
		leased := make(map[fsm.MemberID]*atomic.Bool)
		for name, n := range c.nodes {
			told := new(atomic.Bool)
			leased[name] = told
			go func() {
				for {
					select {
					case <-n.Changed():
						_, ok := n.Lease()
						told.Store(ok)
					case <-t.Context().Done():
						return
					}
				}
			}()
		}
		c.pass(3 * time.Second)
		for name, told := range leased {
			if !told.Load() {
				t.Errorf("%s was not told", name)
			}
		}
	})
}

// Who has no lease is told when it is time to register again, although nothing
// arrives that could change anything.
func TestChangedTellsOfRegistrations(t *testing.T) {
	inBubble(t, three, func(t *testing.T, c *cluster) {
		c.change(func() { c.wire.cut = func(_, _ netip.AddrPort) bool { return true } })
		n2, seen := c.nodes["n2"], map[fsm.Nonce]bool{}
		for end := time.After(10 * time.Second); ; {
			select {
			case <-n2.Changed():
				if r, due := n2.Register(); due && !seen[r.Nonce] {
					seen[r.Nonce] = true
					c.commit(r)
				}
				continue
			case <-end:
			}
			break
		}
		// At 0, and 1, 2 and 4 s after 2 ttl in vain each.
		if len(seen) != 4 {
			t.Errorf("%d registrations", len(seen))
		}
	})
}

// A socket that fails for a moment is got over; one that is gone ends Run.
func TestSocketErrors(t *testing.T) {
	inBubble(t, three, func(t *testing.T, c *cluster) {
		c.pass(3 * time.Second)
		conn := c.nodes["n2"].conn
		_ = conn.Close()
		if err := <-c.nodes["n2"].ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Run: %v", err)
		}
		c.nodes["n2"].ended <- nil // for stop
	})
}
