package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// newAgents is the sample with eight items and two agents: a1 is in the file, a2
// joins.
func newAgents(t *testing.T) *cluster {
	t.Helper()
	ports := freePorts(t, "a1", "a2")
	c := newCluster(t, func(s spec) {
		quick(s)
		s["servers"].(spec)["a1"] = spec{"ip": "127.0.0.1", "port": ports["a1"], "role": "agent", "systems": []string{"ip"}}
		var items []string
		for i := range 8 {
			items = append(items, fmt.Sprintf("192.168.0.%d", i+1))
		}
		s.system()["data"] = items
	})
	maps.Copy(c.ports, ports)
	c.start(c.ids...)
	c.ready(c.ids...)
	c.start("a1")
	c.agree("flip", "member", "add", "a2", c.addr("a2"), "--role", "agent", "--wait", "0")
	c.joins("a2", sampleKey, c.joinTo("flip1")...)
	c.ready("a1", "a2")
	c.balanced("flip", "flip", "flip1", "a1", "a2")
	return c
}

// agree runs a command line that changes something, until it was done: a leader that
// is starved may lose its place meanwhile, and to ask again does no harm.
func (c *cluster) agree(id string, args ...string) {
	c.t.Helper()
	c.eventually(time.Minute, strings.Join(args, " "), func() error {
		if out, code := c.flip(id, args...); code != 0 {
			return fmt.Errorf("it exits %d:\n%s", code, out)
		}
		return nil
	})
}

// owned is who has each item, and under which token, as id answers.
func (c *cluster) owned(id string) (map[fsm.ItemID]api.Row, error) {
	cl := c.client(id)
	defer cl.Close()
	as, err := cl.Assign(c.t.Context(), "ip", true)
	out := map[fsm.ItemID]api.Row{}
	for _, r := range as.Rows {
		out[r.Item] = r
	}
	return out, err
}

// balanced waits until each of some members has acquired something, and nobody else
// anything.
func (c *cluster) balanced(id string, among ...string) {
	c.t.Helper()
	c.eventually(30*time.Second, "all items are with "+strings.Join(among, ", "), func() error {
		rows, err := c.owned(id)
		if err != nil {
			return err
		}
		have := map[string]int{}
		for _, r := range rows {
			if !r.Held() {
				return fmt.Errorf("%+v", r)
			}
			have[string(r.Owner)]++
		}
		if names := slices.Sorted(maps.Keys(have)); !slices.Equal(names, slices.Sorted(slices.Values(among))) {
			return fmt.Errorf("they are with %v", have)
		}
		return nil
	})
}

// succeeded checks that somebody had an item before a member let go of it.
func (c *cluster) succeeded(id string, item fsm.ItemID, since time.Time) {
	c.t.Helper()
	taken := false
	for _, l := range c.trace() {
		switch {
		case l.at.Before(since) || l.item != string(item):
		case l.member != id && l.verb == "up":
			taken = true
		case l.member == id && l.verb == "down" && !taken:
			c.t.Errorf("%s let go of %s before anybody else had it", id, item)
		}
	}
	if !taken {
		c.t.Errorf("nobody has taken %s", item)
	}
}

// node is what a daemon says of itself.
func (c *cluster) node(id string) api.Node {
	c.t.Helper()
	st, err := c.status(id)
	if err != nil {
		c.t.Fatal(err)
	}
	return st.Node
}

// watches has `flip watch` write what it sees, and waits for an event of a kind.
func (c *cluster) watches(id string) (told func(kind string)) {
	c.t.Helper()
	out, err := os.Create(filepath.Join(c.dir, id+".watch"))
	if err != nil {
		c.t.Fatal(err)
	}
	watch := exec.Command(binary, "--dir", filepath.Join(c.dir, "d"), "--id", id, "watch", "--state", "--json")
	watch.Stdout, watch.Stderr = out, out
	watch.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := watch.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		_ = watch.Process.Kill()
		_ = watch.Wait()
		_ = out.Close()
	})
	return func(kind string) {
		c.t.Helper()
		c.eventually(20*time.Second, "the watch tells of "+kind, func() error {
			data, err := os.ReadFile(out.Name())
			if err == nil && !strings.Contains(string(data), fmt.Sprintf(`"kind":%q`, kind)) {
				err = fmt.Errorf("so far:\n%s", data)
			}
			return err
		})
	}
}

func TestAgentsAnswerAsVotersDo(t *testing.T) {
	c := newAgents(t)
	c.eventually(20*time.Second, "status --check on an agent exits 0", func() error {
		if out, code := c.flip("a1", "status", "--check"); code != 0 {
			return fmt.Errorf("exit %d:\n%s", code, out)
		}
		return nil
	})
	if out := c.ok("a1", "status"); !strings.Contains(out, "an agent, informed by ") || !strings.Contains(out, "Nothing is wrong.") || !strings.Contains(out, "8") {
		t.Errorf("status:\n%s", out)
	}
	for _, args := range [][]string{{"assign"}, {"assign", "ip", "--consistent"}, {"member", "list"}, {"member", "show", "flip"}} {
		if on, there := c.ok("a1", args...), c.ok("flip", args...); on != there {
			t.Errorf("flip %s on an agent\n%son a voter\n%s", strings.Join(args, " "), on, there)
		}
	}
	if out, code := c.flip("a2", "member", "show", "flip7"); code != 1 || !strings.Contains(out, "did you mean flip") {
		t.Errorf("of an unknown member (%d):\n%s", code, out)
	}
	// What it finds of this machine is not the point.
	if out, _ := c.flip("a2", "doctor", "--json"); !strings.Contains(out, `"node": "a2"`) || !strings.Contains(out, `"daemon": true`) {
		t.Errorf("the doctor looks at the machine it is asked on:\n%s", out)
	}

	told := c.watches("a1")
	told("resync")
	if out := c.ok("a2", "maintenance", "on", "ip"); !strings.Contains(out, "ip") {
		t.Errorf("maintenance:\n%s", out)
	}
	c.ok("a2", "maintenance", "off", "ip")
	c.ok("a1", "cleanup")
	c.kill("a2")
	told("down")

	// Without any voter an agent says what it can.
	c.kill("flip", "flip1", "flip2")
	c.eventually(10*time.Second, "the agent has lost its voters", func() error {
		if out, code := c.flip("a1", "status", "--check"); code != 2 || !strings.Contains(out, "no leader") {
			return fmt.Errorf("exit %d:\n%s", code, out)
		}
		return nil
	})
	if out, _ := c.flip("a1", "status"); !strings.Contains(out, "no server tells this agent") {
		t.Errorf("status without voters:\n%s", out)
	}
	if out, code := c.flip("a1", "assign"); code != 4 || !strings.Contains(out, "no voter answers it") || !strings.Contains(out, c.addr("flip1")+": connection refused") {
		t.Errorf("assign without voters exits %d:\n%s", code, out)
	}
}

func TestAgentsComeAndGo(t *testing.T) {
	c := newAgents(t)
	began := time.Now()
	c.kill("a2")
	c.balanced("a1", "flip", "flip1", "a1")
	t.Logf("an agent's items are elsewhere after %v", time.Since(began))
	c.joins("a2", sampleKey) // its directory knows the rest
	c.ready("a2")
	c.balanced("a2", "flip", "flip1", "a1", "a2")

	rows, err := c.owned("a2")
	if err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	c.signal("a1", syscall.SIGTERM)
	if code := c.exit("a1", 20*time.Second); code != 0 || !strings.Contains(c.log("a1"), "everything is handed over") {
		t.Errorf("a1 ended with %d", code)
	}
	for item, r := range rows {
		if r.Owner == "a1" {
			c.succeeded("a1", item, stopped)
		}
	}
	c.balanced("a2", "flip", "flip1", "a2")
	c.start("a1")
	c.ready("a1")
	c.balanced("a1", "flip", "flip1", "a1", "a2")

	if out := c.ok("a1", "member", "remove", "a2"); !strings.Contains(out, "a2 is removed") {
		t.Errorf("remove said:\n%s", out)
	}
	if code := c.exit("a2", 20*time.Second); code != 0 || !strings.Contains(c.log("a2"), "removed from the cluster at index") {
		t.Errorf("a2, removed, exits %d", code)
	}
	c.balanced("a1", "flip", "flip1", "a1")

	// One that is removed while it is away learns of it.
	c.kill("a1")
	c.balanced("flip", "flip", "flip1")
	c.agree("flip", "member", "remove", "a1", "--wait", "0")
	c.start("a1")
	if code := c.exit("a1", 30*time.Second); code != 0 || !strings.Contains(c.log("a1"), "removed from the cluster") {
		t.Errorf("a1, removed while it was away, exits %d", code)
	}
	c.gone("flip", "a1")
}

func TestAnAgentOutlivesItsVoter(t *testing.T) {
	c := newAgents(t)
	before := c.node("a1")
	first := string(before.Informant)
	c.kill(first)
	c.eventually(10*time.Second, "another voter informs it", func() error {
		now := c.node("a1")
		if now.Epoch != before.Epoch || !now.Lease.Running {
			t.Fatalf("its lease has not run on: %+v", now)
		}
		if now.Informant == "" || now.Informant == before.Informant {
			return fmt.Errorf("%q does", now.Informant)
		}
		return nil
	})
	// And it gets the next change.
	c.kill("a2")
	staying := slices.DeleteFunc([]string{"flip", "flip1", "a1"}, func(id string) bool { return id == first })
	c.balanced("a1", staying...)
	if now := c.node("a1"); now.Epoch != before.Epoch {
		t.Errorf("its epoch was %d, is %d", before.Epoch, now.Epoch)
	}
}

func TestPromotionAndDemotion(t *testing.T) {
	c := newAgents(t)
	type standing struct {
		epoch fsm.Epoch
		items map[fsm.ItemID]fsm.Token
	}
	standings := func(ids ...string) map[string]standing {
		t.Helper()
		rows, err := c.owned("flip")
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]standing{}
		for _, id := range ids {
			s := standing{c.node(id).Epoch, map[fsm.ItemID]fsm.Token{}}
			for item, r := range rows {
				if string(r.Owner) == id {
					s.items[item] = r.Token
				}
			}
			out[id] = s
		}
		return out
	}
	vote := func(id string) bool {
		t.Helper()
		var m api.MemberInfo
		if err := json.Unmarshal([]byte(c.ok("flip", "member", "show", id, "--json")), &m); err != nil {
			t.Fatal(err)
		}
		return m.Vote
	}
	before := standings("flip", "flip1", "a1", "a2")
	c.agree("a2", "member", "promote", "a1")
	c.eventually(20*time.Second, "a1 has the log and a vote", func() error {
		if n := c.node("a1"); !vote("a1") || n.Informant != "" || !n.Ready {
			return fmt.Errorf("%+v", n)
		}
		return nil
	})
	// The leader itself, if it is one that serves.
	c.agree("a1", "member", "demote", "flip1")
	c.eventually(20*time.Second, "flip1 is an agent", func() error {
		if n := c.node("flip1"); vote("flip1") || n.Informant == "" || !n.Ready {
			return fmt.Errorf("%+v", n)
		}
		return nil
	})
	if after := standings("flip", "flip1", "a1", "a2"); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("epochs and tokens were\n%v\nare\n%v", before, after)
	}
	for _, id := range []string{"flip1", "a1"} {
		if log := c.log(id); strings.Contains(log, "lease has ended") {
			t.Errorf("the lease of %s has ended:\n%s", id, log)
		}
	}
	if out, code := c.flip("flip1", "status", "--check"); code != 0 {
		t.Errorf("status --check on flip1 exits %d:\n%s", code, out)
	}

	// Both keep their role through a restart, whatever the file says.
	for _, id := range []string{"flip1", "a1"} {
		c.signal(id, syscall.SIGTERM)
		if code := c.exit(id, 20*time.Second); code != 0 {
			t.Errorf("%s ended with %d", id, code)
		}
		c.start(id)
		c.ready(id)
	}
	if n := c.node("flip1"); n.Informant == "" {
		t.Errorf("flip1 is no agent after its restart: %s", n.Phase)
	}
	if n := c.node("a1"); n.Informant != "" {
		t.Errorf("a1 is an agent after its restart: %s", n.Phase)
	}
	// And back.
	c.agree("a2", "member", "promote", "flip1")
	c.agree("a2", "member", "demote", "a1")
	c.eventually(20*time.Second, "the roles are as at the beginning", func() error {
		if n, m := c.node("a1"), c.node("flip1"); vote("a1") || !vote("flip1") || n.Informant == "" || m.Informant != "" {
			return fmt.Errorf("%+v\n%+v", n, m)
		}
		return nil
	})
}

// A voter that is demoted while it is away starts as one, and learns what it is.
func TestDemotedWhileItWasDead(t *testing.T) {
	c := newAgents(t)
	c.kill("flip1")
	c.balanced("flip", "flip", "a1", "a2")
	c.agree("flip", "member", "promote", "a1")
	c.agree("flip", "member", "demote", "flip1", "--wait", "0")
	c.eventually(20*time.Second, "its vote is gone", func() error {
		list, err := c.members("flip")
		if m, _ := list.Find("flip1"); m.Vote {
			return fmt.Errorf("%+v: %w", m, err)
		}
		return err
	})
	c.start("flip1")
	c.ready("flip1")
	if n := c.node("flip1"); n.Informant == "" {
		t.Errorf("flip1 is no agent: %s", n.Phase)
	}
	c.balanced("flip1", "flip", "flip1", "a1", "a2")
}
