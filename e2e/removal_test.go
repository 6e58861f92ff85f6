package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// members is who is one, as id knows.
func (c *cluster) members(id string) (api.Members, error) {
	c.t.Helper()
	cl := c.client(id)
	defer cl.Close()
	return cl.Members(c.t.Context(), false)
}

// fileOf is the file with which a node runs.
func (c *cluster) fileOf(id string) string {
	if own := filepath.Join(c.dir, id+".json"); fileThere(own) {
		return own
	}
	return c.file
}

func fileThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// gone waits until a member is none any more.
func (c *cluster) gone(id, who string) {
	c.t.Helper()
	c.eventually(30*time.Second, who+" is no member", func() error {
		list, err := c.members(id)
		if err != nil {
			return err
		}
		if m, still := list.Find(fsm.MemberID(who)); still {
			return fmt.Errorf("%+v", m)
		}
		return nil
	})
}

func TestMembersAreRemoved(t *testing.T) {
	c := newCluster(t, func(s spec) {
		quick(s)
		s.system()["data"] = []string{"192.168.0.1", "192.168.0.2", "192.168.0.3", "192.168.0.4", "192.168.0.5", "192.168.0.6"}
		s["servers"].(spec)["flip2"].(spec)["systems"] = []string{"ip"}
	})
	c.ports["flip3"] = freePorts(t, "flip3")["flip3"]
	c.start(c.ids...)
	c.ready(c.ids...)
	c.ok("flip", "member", "add", "flip3", c.addr("flip3"), "--wait", "0")
	c.joins("flip3", sampleKey, c.joinTo("flip")...)
	c.ready("flip3")
	c.eventually(20*time.Second, "flip3 holds something", func() error {
		list, err := c.members("flip")
		if m, _ := list.Find("flip3"); m.Items == 0 {
			return fmt.Errorf("%+v: %w", m, err)
		}
		return err
	})

	// The leader, which owns items too.
	list, err := c.members("flip3")
	if err != nil {
		t.Fatal(err)
	}
	leader, others := "", []string{}
	for _, m := range list.Members {
		if m.Leader {
			leader = string(m.Name)
		} else {
			others = append(others, string(m.Name))
		}
	}
	out := c.ok(others[0], "member", "remove", leader)
	if !strings.Contains(out, leader+" is removed: it is no member any more.") {
		t.Errorf("remove said:\n%s", out)
	}
	if code := c.exit(leader, 20*time.Second); code != 0 || !strings.Contains(c.log(leader), "removed from the cluster at index") {
		t.Errorf("%s, removed, exits %d:\n%s", leader, code, tail([]byte(c.log(leader)), 10))
	}

	// A dead one: what at-least-one items it had wait for nobody.
	dead := others[2]
	c.kill(dead)
	c.eventually(20*time.Second, dead+" is down", func() error {
		if out := c.ok(others[0], "member", "show", dead); !strings.Contains(out, "down") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	if out, code := c.flip(others[0], "member", "remove", others[1], "--wait", "0"); code != 1 || !strings.Contains(out, "only 1 of 2 voters would be there") {
		t.Errorf("a removal that leaves no majority exits %d:\n%s", code, out)
	}
	c.ok(others[0], "member", "remove", dead, "--wait", "0")
	c.eventually(20*time.Second, "its vote is gone, or it is", func() error {
		list, err := c.members(others[1])
		if m, still := list.Find(fsm.MemberID(dead)); still && m.Vote && m.Entries == 0 {
			return fmt.Errorf("%+v: %w", m, err)
		}
		return err
	})
	// What it may still hold it has to say itself.
	c.startWith(dead, c.fileOf(dead))
	c.gone(others[0], dead)
	if code := c.exit(dead, 60*time.Second); code != 0 || !strings.Contains(c.log(dead), "removed from the cluster") {
		t.Errorf("%s, removed while it was dead, exits %d:\n%s", dead, code, tail([]byte(c.log(dead)), 10))
	}
	if list, err := c.members(others[0]); err != nil || len(list.Members) != 2 || list.Voters.Have != 2 {
		t.Errorf("left: %+v, %v", list, err)
	}
}

// One that is gone for good while it was dead learns of it from the others: nobody
// sends it anything by itself.
func TestRemovedWhileItWasDead(t *testing.T) {
	c := newCluster(t, quick)
	c.start(c.ids...)
	c.ready(c.ids...)
	c.kill("flip2") // the arbiter, which holds nothing
	c.eventually(20*time.Second, "flip2 is down", func() error {
		if out := c.ok("flip", "member", "show", "flip2"); !strings.Contains(out, "down") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	if out := c.ok("flip1", "member", "remove", "flip2"); !strings.Contains(out, "flip2 is removed") {
		t.Errorf("remove said:\n%s", out)
	}
	c.start("flip2")
	if code := c.exit("flip2", 60*time.Second); code != 0 || !strings.Contains(c.log("flip2"), "removed from the cluster at index") {
		t.Errorf("flip2 exits %d:\n%s", code, tail([]byte(c.log("flip2")), 10))
	}
	// Its directory moved away it is a new node.
	if err := os.Rename(filepath.Join(c.dir, "d", "flip2"), filepath.Join(c.dir, "away")); err != nil {
		t.Fatal(err)
	}
	c.joins("flip2", sampleKey, c.joinTo("flip")...)
	c.says("flip2", "waiting for `flip member add flip2")
	c.ok("flip", "member", "add", "flip2", c.addr("flip2"), "--role", "arbiter")
	c.ready("flip2")
}
