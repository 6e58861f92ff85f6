package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSampleTables(t *testing.T) {
	c := newCluster(t, nil)
	c.start(c.ids...)
	c.becomes(30*time.Second, "flip", allActive)
	c.ready(c.ids...)
	c.kill("flip1")
	c.becomes(15*time.Second, "flip", flip1Down)
	c.start("flip1")
	c.becomes(15*time.Second, "flip", allActive)
	c.noGap("192.168.0.2")
}

// noGap fails unless somebody held an at-least-one item from its first `up` on.
func (c *cluster) noGap(item string) {
	c.t.Helper()
	holders := map[string]bool{}
	started := false
	for _, l := range c.trace() {
		if l.item != item {
			continue
		}
		if l.verb == "up" {
			holders[l.member], started = true, true
		} else {
			delete(holders, l.member)
		}
		if started && len(holders) == 0 {
			c.t.Errorf("nobody holds %s after %s's down at %v", item, l.member, l.at)
		}
	}
}

// neverTwo fails if two members held an item at once, by their hooks.
func (c *cluster) neverTwo(item string) {
	c.t.Helper()
	holder := ""
	for _, l := range c.trace() {
		switch {
		case l.item != item:
		case l.verb == "down" && l.member == holder:
			holder = ""
		case l.verb == "up" && holder != "" && holder != l.member:
			c.t.Errorf("%s and %s hold %s at %v", holder, l.member, item, l.at)
		case l.verb == "up":
			holder = l.member
		}
	}
}

// The sample's own file as it stands, if its ports are free.
func TestSampleFileAsItStands(t *testing.T) {
	c := newCluster(t, nil)
	c.file = filepath.Join("..", "deploy", "examples", "readme", "flip.json")
	for _, id := range c.ids {
		out, code := c.flip(id, "check", c.file)
		if code != 0 || !strings.Contains(out, "priority: lower is preferred; keepalived: higher") {
			t.Fatalf("flip check: exit %d\n%s", code, out)
		}
	}
	c.start(c.ids...)
	c.becomes(30*time.Second, "flip2", allActive)
}

func TestLeaderLost(t *testing.T) {
	c := newCluster(t, nil)
	c.start(c.ids...)
	c.becomes(30*time.Second, "flip", allActive)
	c.ready(c.ids...)
	st, err := c.status("flip")
	if err != nil {
		t.Fatal(err)
	}
	leader := string(st.Cluster.Leader)
	want := map[string]string{
		"flip": "flip:  | flip1: 192.168.0.1 192.168.0.2 | flip2: ", "flip1": flip1Down, "flip2": allActive,
	}[leader]
	ask := map[string]string{"flip": "flip1", "flip1": "flip", "flip2": "flip"}[leader]
	c.kill(leader)
	c.eventually(15*time.Second, "another leader", func() error {
		st, err := c.status(ask)
		if err == nil && (st.Cluster.Leader == "" || string(st.Cluster.Leader) == leader) {
			err = fmt.Errorf("the leader is %q", st.Cluster.Leader)
		}
		return err
	})
	c.becomes(15*time.Second, ask, want)
	c.start(leader)
	c.becomes(20*time.Second, ask, allActive)
}

func TestAllStoppedAndStartedAgain(t *testing.T) {
	c := newCluster(t, nil)
	c.start(c.ids...)
	c.becomes(30*time.Second, "flip", allActive)
	for _, id := range c.ids {
		c.signal(id, syscall.SIGKILL)
	}
	for _, id := range c.ids {
		<-c.procs[id].done
	}
	c.start("flip2", "flip1", "flip")
	c.becomes(30*time.Second, "flip", allActive)
}

// A voter whose disk was wiped has forgotten its votes: it comes back under
// another instance, is taken in anew, and can elect nobody before.
func TestWipedDataDirectory(t *testing.T) {
	c := newCluster(t, nil)
	c.start(c.ids...)
	c.becomes(30*time.Second, "flip", allActive)
	c.ready(c.ids...)
	before, err := c.status("flip2")
	if err != nil {
		t.Fatal(err)
	}
	c.kill("flip2")
	if err := os.RemoveAll(filepath.Join(c.dir, "d", "flip2")); err != nil {
		t.Fatal(err)
	}
	c.start("flip2")
	c.eventually(30*time.Second, "flip2 a voter again", func() error {
		st, err := c.status("flip2")
		if err != nil {
			return err
		}
		me := "flip2/" + st.Node.Instance
		if st.Node.Instance == before.Node.Instance {
			return fmt.Errorf("the instance is still %s", me)
		}
		for _, v := range st.Cluster.Voters {
			if string(v) == me {
				return nil
			}
		}
		return fmt.Errorf("the voters are %v", st.Cluster.Voters)
	})
	c.ready("flip2")
	c.becomes(5*time.Second, "flip2", allActive)
	// Its vote counts: with it, the loss of another one is made good.
	c.kill("flip1")
	c.becomes(20*time.Second, "flip", flip1Down)
}
