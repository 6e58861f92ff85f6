package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// steady is for tests of what is agreed on, not of how fast: a machine that does other
// things too keeps these leases.
func steady(s spec) { s["gossip_interval"], s["ping_timeout"] = 100, 900 }

// refused runs a command line that must fail and say something.
func (c *cluster) refused(id, words string, args ...string) {
	c.t.Helper()
	out, code := c.settledFlip(id, args...)
	if code != 1 || !strings.Contains(out, words) {
		c.t.Errorf("flip %s exits %d, and does not say %q:\n%s", strings.Join(args, " "), code, words, out)
	}
}

// settledFlip runs a command line, and again where it cannot know what came of it: a
// leader that the machine keeps from its followers leads no more.
func (c *cluster) settledFlip(id string, args ...string) (out string, code int) {
	c.t.Helper()
	for range 5 {
		if out, code = c.flip(id, args...); code == 0 || !strings.Contains(out, "to do it again does no harm") {
			break
		}
	}
	return out, code
}

// isMember waits until a member is all there, by what another one says.
func (c *cluster) isMember(ask, id string) {
	c.t.Helper()
	c.eventually(30*time.Second, id+" is a member", func() error {
		list, err := c.members(ask)
		m, found := list.Find(fsm.MemberID(id))
		if err == nil && (!found || m.State != api.MemberUp || !m.Vote || len(m.Waits) > 0) {
			err = fmt.Errorf("%+v", m)
		}
		return err
	})
}

// alone is a cluster of one voter, with the same key as the others.
func alone(t *testing.T, id string) *cluster {
	t.Helper()
	c := newCluster(t, nil)
	c.ids, c.ports = []string{id}, freePorts(t, id)
	c.writeFile(c.file, func(s spec) {
		steady(s)
		s["quorum"] = 1
		s["servers"] = spec{id: spec{"ip": "127.0.0.1", "port": c.ports[id], "systems": []string{"ip"}}}
	})
	c.start(id)
	c.eventually(30*time.Second, id+" leads itself", func() error {
		st, err := c.status(id)
		if err == nil && (string(st.Cluster.Leader) != id || !st.Node.Ready) {
			err = fmt.Errorf("the leader is %q, waiting for %v", st.Cluster.Leader, st.Node.Waiting)
		}
		return err
	})
	return c
}

// A node of one cluster that is told to join another, and one that another adds: it
// stays what it is, both say so, and neither cluster is the worse for it.
func TestJoinToAnotherCluster(t *testing.T) {
	a, b := newCluster(t, steady), alone(t, "other")
	a.start(a.ids...)
	a.ready(a.ids...)
	a.ports["flip3"] = freePorts(t, "flip3")["flip3"]
	a.joins("flip3", sampleKey, a.joinTo("flip")...)
	a.ok("flip", "member", "add", "flip3", a.addr("flip3"))
	list, err := a.members("flip3")
	if err != nil {
		t.Fatal(err)
	}
	one, two := clusterID(t, a, "flip"), clusterID(t, b, "other")

	// Added there too: that waits, and says why.
	out, code := b.flip("other", "member", "add", "flip3", a.addr("flip3"), "--wait", "2s")
	if code != 1 || !strings.Contains(out, "it has not been taken in yet") {
		t.Errorf("a node of another cluster was added: %d\n%s", code, out)
	}
	b.statusSays("other", 10*time.Second, "flip3 belongs to another cluster")
	b.ok("other", "member", "remove", "flip3")
	b.gone("other", "flip3")

	// Told to go there itself.
	a.kill("flip3")
	a.joins("flip3", sampleKey, b.joinTo("other")...)
	if code := a.exit("flip3", 20*time.Second); code != 1 {
		t.Errorf("told to join another cluster it exits %d", code)
	}
	if log := a.log("flip3"); !strings.Contains(log, "belongs to cluster "+one) || !strings.Contains(log, "is cluster "+two) {
		t.Errorf("the message does not name both clusters, %s and %s:\n%s", one, two, tail([]byte(log), 5))
	}
	if list, err := b.members("other"); err != nil || len(list.Members) != 1 {
		t.Errorf("the other cluster has %+v, %v", list, err)
	}
	a.joins("flip3", sampleKey, a.joinTo("flip1")...)
	a.isMember("flip", "flip3")
	after, err := a.members("flip3")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list.Members {
		if now, _ := after.Find(m.Name); now.Instance != m.Instance || m.Name != "flip3" && now.Epoch != m.Epoch {
			t.Errorf("%s was %+v, and is %+v", m.Name, m, now)
		}
	}
}

func clusterID(t *testing.T, c *cluster, id string) string {
	t.Helper()
	st, err := c.status(id)
	if err != nil || st.Cluster.ID == "" {
		t.Fatalf("the cluster of %s: %q, %v", id, st.Cluster.ID, err)
	}
	return st.Cluster.ID
}

// What cannot be is refused, in words that say what can, and changes nothing.
func TestMembersRefused(t *testing.T) {
	c := newCluster(t, steady)
	c.start(c.ids...)
	c.ready(c.ids...)
	free := fmt.Sprintf("127.0.0.1:%d", freePorts(t, "flip3")["flip3"])
	before := clusterVersion(t, c)
	for _, tt := range []struct {
		words string
		args  []string
	}{
		{"flip1 is a member already", []string{"add", "flip1", free}},
		{"is the address of flip2", []string{"add", "flip3", c.addr("flip2")}},
		{"did you mean flip1?", []string{"remove", "fllip1"}},
		{"did you mean flip2?", []string{"show", "fliq2"}},
		{"the members: flip, flip1, flip2", []string{"remove", "another-name-altogether"}},
		{"did you mean ip?", []string{"add", "flip3", free, "--systems", "iq"}},
		{`the role "vother" is unknown`, []string{"add", "flip3", free, "--role", "vother"}},
		{"an arbiter serves no system", []string{"add", "flip3", free, "--role", "arbiter", "--systems", "ip"}},
		{"is no address and port", []string{"add", "flip3", "localhost:2200"}},
		{"is no address of a single host", []string{"add", "flip3", "0.0.0.0:2200"}},
		{"the name of a member cannot be", []string{"add", "../flip3", free}},
		{"the priority cannot be", []string{"add", "flip3", free, "--priority", "2000000"}},
	} {
		for _, id := range []string{"flip", "flip2"} { // the leader, and one that is not
			c.refused(id, tt.words, slices.Concat([]string{"member"}, tt.args)...)
		}
	}
	if after := clusterVersion(t, c); after != before {
		t.Errorf("the configuration was %d, and is %d", before, after)
	}
	// Asked for what is so already nothing happens, and all is well.
	list, err := c.members("flip")
	m, _ := list.Find("flip1")
	if err != nil {
		t.Fatal(err)
	}
	if out := c.ok("flip2", "member", "add", "flip1", c.addr("flip1"), "--priority", fmt.Sprint(*m.Priority)); !strings.Contains(out, "flip1 is a member.") {
		t.Errorf("add said:\n%s", out)
	}
	if after := clusterVersion(t, c); after != before {
		t.Errorf("the configuration was %d, and is %d", before, after)
	}
}

func clusterVersion(t *testing.T, c *cluster) fsm.Index {
	t.Helper()
	st, err := c.status("flip")
	if err != nil {
		t.Fatal(err)
	}
	return st.Cluster.SpecVersion
}

// The last voter cannot be removed; nor one without whom a majority would be missing,
// until the one that is missing is back.
func TestRemovalBelowTheQuorum(t *testing.T) {
	single := alone(t, "only")
	single.refused("only", "only is the last voter", "member", "remove", "only")

	c := newCluster(t, steady)
	c.start(c.ids...)
	c.ready(c.ids...)
	c.kill("flip1")
	c.eventually(20*time.Second, "flip1 is down", func() error {
		if out := c.ok("flip", "member", "show", "flip1"); !strings.Contains(out, "down") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	before := clusterVersion(t, c)
	c.refused("flip", "without flip2 only 1 of 2 voters would be there, and 2 are needed (flip1 is down)", "member", "remove", "flip2")
	c.refused("flip2", "bring those up, or remove or demote them first", "member", "remove", "flip")
	if after := clusterVersion(t, c); after != before {
		t.Errorf("the configuration was %d, and is %d", before, after)
	}
	c.start("flip1")
	c.ready("flip1")
	if out := c.ok("flip", "member", "remove", "flip2"); !strings.Contains(out, "flip2 is removed") {
		t.Errorf("remove said:\n%s", out)
	}
	if code := c.exit("flip2", 20*time.Second); code != 0 {
		t.Errorf("flip2 exits %d", code)
	}
}

// A member whose `down` fails stays one as long as it may hold what others wait for;
// nobody else starts that; and it leaves by itself once it has let go.
func TestRemovalWaitsForWhatIsOutstanding(t *testing.T) {
	c := newCluster(t, func(s spec) {
		steady(s)
		s.system()["guarantee"], s.system()["clean_on_start"], s.system()["stop_timeout"] = "at-most-one", false, 2000
	})
	flag := filepath.Join(c.dir, "broken")
	c.writeHook("ip_down", "#!/bin/sh\n[ ! -e \""+flag+"\" ] || { echo device busy >&2; exit 3; }\n"+strings.TrimPrefix(downHook, "#!/bin/sh\n"))
	c.start(c.ids...)
	c.becomes(30*time.Second, "flip", allActive)
	c.ready(c.ids...)
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := c.flip("flip2", "member", "remove", "flip1", "--wait", "3s")
	if code != 1 || !strings.Contains(out, "it has yet to confirm that it let go of ip/192.168.0.1") || !strings.Contains(out, "not done within") {
		t.Errorf("the removal of who cannot let go exits %d:\n%s", code, out)
	}
	out = c.ok("flip", "member", "list")
	if !strings.Contains(out, "flip1: it has yet to confirm that it let go of ip/192.168.0.1") {
		t.Errorf("the list does not say what is waited for:\n%s", out)
	}
	list, err := c.members("flip")
	if m, _ := list.Find("flip1"); err != nil || !m.Vote || !m.Removing || m.Entries != 1 {
		t.Errorf("flip1 is %+v, %v", m, err)
	}
	// Asked again, by another one: it is the same removal.
	c.ok("flip", "member", "remove", "flip1", "--wait", "0")
	c.refused("flip2", "is being removed", "member", "add", "flip1", c.addr("flip1"))
	if ups := c.upsAfter("flip", "192.168.0.1", time.Time{}); len(ups) > 0 {
		t.Fatalf("flip started what flip1 has not let go of: %v", ups)
	}
	if err := os.Remove(flag); err != nil {
		t.Fatal(err)
	}
	c.gone("flip", "flip1")
	if code := c.exit("flip1", 20*time.Second); code != 0 {
		t.Errorf("flip1 exits %d:\n%s", code, tail([]byte(c.log("flip1")), 5))
	}
	c.eventually(20*time.Second, "flip has both", func() error {
		if ups := c.upsAfter("flip", "192.168.0.1", time.Time{}); len(ups) != 1 {
			return fmt.Errorf("%v", ups)
		}
		return nil
	})
	c.neverTwo("192.168.0.1")
}

// Changes that two members are asked for at the same moment: both are made where both
// can be, and where they exclude each other one is, and the other says why not.
func TestTwoChangesAtOnce(t *testing.T) {
	c := newCluster(t, steady)
	maps.Copy(c.ports, freePorts(t, "flip3", "flip4", "flip5"))
	c.start(c.ids...)
	c.ready(c.ids...)

	// Two newcomers.
	for _, id := range []string{"flip3", "flip4"} {
		c.joins(id, sampleKey, c.joinTo("flip", "flip1")...)
	}
	for id, said := range c.atOnce(map[string][]string{
		"flip": {"member", "add", "flip3", c.addr("flip3")}, "flip1": {"member", "add", "flip4", c.addr("flip4")},
	}) {
		if said.code != 0 {
			t.Errorf("asked of %s: %d\n%s", id, said.code, said.out)
		}
	}
	for _, id := range []string{"flip3", "flip4"} {
		c.isMember("flip2", id)
	}

	// One newcomer, twice, at two addresses.
	words := 0
	for id, said := range c.atOnce(map[string][]string{
		"flip":  {"member", "add", "flip5", c.addr("flip5"), "--wait", "0"},
		"flip1": {"member", "add", "flip5", "127.0.0.1:1", "--wait", "0"},
	}) {
		if said.code == 1 && strings.Contains(said.out, "flip5 is a member already") {
			words++
		} else if said.code != 0 {
			t.Errorf("asked of %s: %d\n%s", id, said.code, said.out)
		}
	}
	if words != 1 {
		t.Errorf("%d of the two were refused", words)
	}
	c.ok("flip2", "member", "remove", "flip5")

	// Two that leave, one of them the leader or not.
	for id, said := range c.atOnce(map[string][]string{"flip": {"member", "remove", "flip1"}, "flip3": {"member", "remove", "flip2"}}) {
		if said.code != 0 {
			t.Errorf("asked of %s: %d\n%s", id, said.code, said.out)
		}
	}
	for _, id := range []string{"flip1", "flip2"} {
		if code := c.exit(id, 20*time.Second); code != 0 {
			t.Errorf("%s exits %d", id, code)
		}
	}

	// One that is removed and added at once stays or goes; it is never both. It stays if
	// it was gone already when it was added.
	both := c.atOnce(map[string][]string{
		"flip": {"member", "remove", "flip4", "--wait", "0"}, "flip3": {"member", "add", "flip4", c.addr("flip4"), "--wait", "0"},
	})
	for id, said := range both {
		if said.code > 1 || said.code == 1 && !strings.Contains(said.out, "flip4 is being removed") && !strings.Contains(said.out, "not done") {
			t.Errorf("asked of %s: %d\n%s", id, said.code, said.out)
		}
	}
	if list, err := c.members("flip3"); err == nil {
		if info, in := list.Find("flip4"); in && !info.Removing {
			c.ok("flip", "member", "remove", "flip4")
		}
	}
	if code := c.exit("flip4", 20*time.Second); code != 0 {
		t.Errorf("flip4 exits %d", code)
	}
	if list, err := c.members("flip3"); err != nil || list.Voters.Have != 2 || len(list.Members) != 2 {
		t.Errorf("left: %+v, %v", list, err)
	}
}

// said is what came of a command line.
type said struct {
	out  string
	code int
}

// atOnce runs one command line on each of several members at the same time.
func (c *cluster) atOnce(lines map[string][]string) map[string]said {
	c.t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	out := map[string]said{}
	for id, args := range lines {
		all.Go(func() {
			text, code := c.settledFlip(id, args...)
			mu.Lock()
			defer mu.Unlock()
			out[id] = said{text, code}
		})
	}
	all.Wait()
	return out
}
