package e2e

import (
	"os"
	"syscall"
	"testing"
	"time"
)

// upsAfter are the `up` lines of an item by a member after a moment.
func (c *cluster) upsAfter(member, item string, since time.Time) []line {
	var out []line
	for _, l := range c.trace() {
		if l.member == member && l.item == item && l.verb == "up" && l.at.After(since) {
			out = append(out, l)
		}
	}
	return out
}

func TestSIGTERMHandsOverFirst(t *testing.T) {
	c := newCluster(t, nil)
	c.start(c.ids...)
	c.becomes(30*time.Second, "flip", allActive)
	c.ready(c.ids...)
	began := time.Now()
	c.signal("flip1", syscall.SIGTERM)
	if code := c.exit("flip1", 15*time.Second); code != 0 {
		t.Errorf("flip1 exited %d", code)
	}
	died := c.procs["flip1"].died
	ups := c.upsAfter("flip", "192.168.0.1", began)
	if len(ups) == 0 || ups[0].at.After(died) {
		t.Fatalf("flip has not taken over before the end of flip1: %v", ups)
	}
	t.Logf("SIGTERM to the new owner's hook: %v; to the end of the process: %v", ups[0].at.Sub(began), died.Sub(began))
	c.becomes(5*time.Second, "flip", flip1Down)
	c.noGap("192.168.0.1")
	// The goodbye has called it down at once.
	st, err := c.status("flip")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range st.Members {
		if m.Name == "flip1" && m.State != "down" {
			t.Errorf("flip1 is %s after its goodbye", m.State)
		}
	}
}

func TestSIGTERMWithoutQuorum(t *testing.T) {
	const stopTimeout = 5 * time.Second // of the sample as these tests write it
	c := newCluster(t, nil)
	c.start(c.ids...)
	c.becomes(30*time.Second, "flip", allActive)
	c.kill("flip1", "flip2")
	began := time.Now()
	c.signal("flip", syscall.SIGTERM)
	if code := c.exit("flip", stopTimeout); code != 0 {
		t.Errorf("flip exited %d", code)
	}
	t.Logf("ended after %v", time.Since(began))
	for _, l := range c.trace() {
		if l.member == "flip" && l.verb == "down" && l.item == "192.168.0.2" && l.at.After(began) {
			return
		}
	}
	t.Error("flip has not released 192.168.0.2")
}

// Each node in turn, so that the leader is among them: the others go on at
// once, and nothing is held by nobody.
func TestSIGTERMOfEach(t *testing.T) {
	c := newCluster(t, nil)
	c.start(c.ids...)
	c.becomes(30*time.Second, "flip", allActive)
	c.ready(c.ids...)
	for _, id := range c.ids {
		st, err := c.status(id)
		if err != nil {
			t.Fatal(err)
		}
		c.signal(id, syscall.SIGTERM)
		began := time.Now()
		if code := c.exit(id, 15*time.Second); code != 0 {
			t.Errorf("%s exited %d", id, code)
		}
		t.Logf("%s (leader: %v) ended after %v", id, string(st.Cluster.Leader) == id, c.procs[id].died.Sub(began))
		c.start(id)
		c.ready(c.ids...)
		c.becomes(20*time.Second, id, allActive)
	}
	c.noGap("192.168.0.1")
	c.noGap("192.168.0.2")
}

// A supervisor that dies closes stdin: flip then stops in order.
func TestStdinClosed(t *testing.T) {
	c := newCluster(t, func(s spec) { s["exit_on_stdin_close"] = true })
	stdin := map[string]*os.File{}
	for _, id := range c.ids {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		c.stdin = r
		c.start(id)
		_ = r.Close()
		stdin[id] = w
		t.Cleanup(func() { _ = w.Close() })
	}
	c.becomes(30*time.Second, "flip", allActive)
	c.ready(c.ids...)
	_ = stdin["flip1"].Close()
	if code := c.exit("flip1", 15*time.Second); code != 0 {
		t.Errorf("flip1 exited %d", code)
	}
	c.becomes(5*time.Second, "flip", flip1Down)
	c.noGap("192.168.0.1")
}

// With remove_on_failure off a stop runs no `down` and moves nothing; what is
// held stays as it is, and the others take over when the silence tells them.
func TestRemoveOnFailureOff(t *testing.T) {
	c := newCluster(t, func(s spec) { s["cluster"].(spec)["remove_on_failure"] = false })
	c.start(c.ids...)
	c.becomes(30*time.Second, "flip", allActive)
	c.ready(c.ids...)
	began := time.Now()
	c.signal("flip1", syscall.SIGTERM)
	if code := c.exit("flip1", 10*time.Second); code != 0 {
		t.Errorf("flip1 exited %d", code)
	}
	died := c.procs["flip1"].died
	c.becomes(15*time.Second, "flip", flip1Down)
	for _, l := range c.trace() {
		if l.at.After(began) && l.member == "flip1" {
			t.Errorf("flip1 ran %s %s", l.verb, l.item)
		}
		if l.at.After(began) && l.at.Before(died) && l.verb == "up" {
			t.Errorf("%s ran %s %s before the end of flip1", l.member, l.verb, l.item)
		}
	}
}
