package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
)

// joins starts a node that is to join by way of the others, with a file that says
// nothing of the cluster.
func (c *cluster) joins(id, key string, more ...string) *proc {
	c.t.Helper()
	file := filepath.Join(c.dir, id+".json")
	data, err := json.Marshal(spec{"key": key, "log_level": "debug"})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		c.t.Fatal(err)
	}
	return c.startArgs(id, nil, slices.Concat(more, []string{file})...)
}

// joinTo are the arguments with which a node joins.
func (c *cluster) joinTo(ids ...string) []string {
	var addrs []string
	for _, id := range ids {
		addrs = append(addrs, c.addr(id))
	}
	return []string{"--join", strings.Join(addrs, ",")}
}

func (c *cluster) addr(id string) string { return fmt.Sprintf("127.0.0.1:%d", c.ports[id]) }

const sampleKey = "the key of a test, long enough"

// quick makes the sample's takeovers, and with them the waits of L7, short.
func quick(s spec) {
	delete(s, "gossip_interval")
	delete(s, "ping_timeout")
	s["timing"] = "lan"
}

// says waits until the log of id contains words.
func (c *cluster) says(id, words string) {
	c.t.Helper()
	c.eventually(20*time.Second, fmt.Sprintf("the log of %s says %q", id, words), func() error {
		if !strings.Contains(c.log(id), words) {
			return fmt.Errorf("it does not")
		}
		return nil
	})
}

// ok runs a command line that must succeed.
func (c *cluster) ok(id string, args ...string) string {
	c.t.Helper()
	out, code := c.flip(id, args...)
	if code != 0 {
		c.t.Fatalf("flip %s exits %d:\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

func TestAFourthNodeJoins(t *testing.T) {
	c := newCluster(t, func(s spec) {
		quick(s)
		s.system()["data"] = []string{"192.168.0.1", "192.168.0.2", "192.168.0.3", "192.168.0.4", "192.168.0.5", "192.168.0.6"}
	})
	c.ports["flip3"] = freePorts(t, "flip3")["flip3"]
	c.start(c.ids...)
	c.ready(c.ids...)
	c.ids = append(c.ids, "flip3")
	c.joins("flip3", sampleKey, c.joinTo("flip1", "flip2")...)
	c.says("flip3", "waiting for `flip member add flip3 HOST:PORT` on any member")
	c.statusSays("flip3", 10*time.Second, "joining: waiting for `flip member add flip3 HOST:PORT`")
	if out, code := c.flip("flip3", "member", "add", "flip3", c.addr("flip3")); code != 1 || !strings.Contains(out, "run the command on a member") {
		t.Errorf("asked of itself it exits %d:\n%s", code, out)
	}

	out := c.ok("flip2", "member", "add", "flip3", c.addr("flip3"), "--systems", "ip", "--priority", "3")
	if !strings.Contains(out, "flip3 is a member.") || !strings.Contains(out, "serving ip") {
		t.Errorf("add said:\n%s", out)
	}
	c.ready("flip3")
	holds := func(id string, want bool) func() error {
		return func() error {
			out := c.ok("flip", "member", "show", id, "--json")
			var m api.MemberInfo
			if err := json.Unmarshal([]byte(out), &m); err != nil {
				return err
			}
			if m.Items > 0 != want {
				return fmt.Errorf("%s", out)
			}
			return nil
		}
	}
	c.eventually(20*time.Second, "flip3 holds something", holds("flip3", true))
	if list := c.ok("flip3", "member", "list", "--consistent"); !strings.Contains(list, "4 voters, a majority is 3: 1 of them may be lost at once") {
		t.Errorf("list:\n%s", list)
	}
	if out, code := c.flip("flip", "status", "--check"); code != 0 {
		t.Errorf("status --check exits %d:\n%s", code, out)
	}

	// A restart needs nobody to ask, with --join or without.
	for _, args := range [][]string{c.joinTo("flip1"), nil} {
		c.signal("flip3", syscall.SIGTERM)
		if code := c.exit("flip3", 20*time.Second); code != 0 {
			t.Fatalf("flip3 ended with %d", code)
		}
		c.joins("flip3", sampleKey, args...)
		c.ready("flip3")
		c.eventually(20*time.Second, "flip3 holds something again", holds("flip3", true))
	}
	if out, _ := c.flip("flip3", "doctor"); strings.Contains(out, "is missing") {
		t.Errorf("the doctor does not know that a node that joined needs no servers in its file:\n%s", out)
	}
	c.kill("flip")
	c.start("flip")
	c.ready("flip")
	if out, code := c.flip("flip", "status"); strings.Contains(out, "differs") {
		t.Errorf("a file that knows nothing of flip3 is no difference (%d):\n%s", code, out)
	}
}

func TestStopWhileWaitingToJoin(t *testing.T) {
	c := newCluster(t, nil)
	c.joins("flip3", sampleKey, c.joinTo("flip")...)
	c.says("flip3", "no member answers")
	began := time.Now()
	c.signal("flip3", syscall.SIGTERM)
	if code := c.exit("flip3", 10*time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
	if _, err := os.Stat(filepath.Join(c.dir, "d", "flip3.sock")); err == nil {
		t.Error("the control socket is left")
	}
}

func TestJoinWithoutRight(t *testing.T) {
	c := newCluster(t, quick)
	c.start(c.ids...)
	c.ready(c.ids...)

	c.joins("flip3", "quite another key, just as long", c.joinTo("flip")...)
	if code := c.exit("flip3", 20*time.Second); code != 1 || !strings.Contains(c.log("flip3"), "has another key") {
		t.Errorf("with another key it exits %d:\n%s", code, c.log("flip3"))
	}

	// Under the name of one that is up. It tries for a while: that one may just have
	// been stopped.
	twin := *c
	twin.dir, twin.procs = filepath.Join(c.dir, "twin"), map[string]*proc{}
	if err := os.MkdirAll(twin.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(twin.end)
	twin.joins("flip1", sampleKey, c.joinTo("flip")...)
	twin.says("flip1", "flip1 is taken: a node of that name is up")
	if code := twin.exit("flip1", 40*time.Second); code != 1 || !strings.Contains(twin.log("flip1"), "give this node a name of its own") {
		t.Errorf("under a taken name it exits %d:\n%s", code, twin.log("flip1"))
	}

	// Watched for a while only: what was agreed on stays.
	cmd := exec.Command(binary, "--dir", filepath.Join(c.dir, "d"), "--id", "flip", "member", "add", "ghost", "127.0.0.1:1")
	var errs strings.Builder
	cmd.Stderr = &errs
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stdout); lines.Scan() && !strings.Contains(lines.Text(), "it has not been taken in yet"); {
		t.Log(lines.Text())
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(errs.String(), "the cluster goes on by itself\n  flip member show ghost") {
		t.Errorf("interrupted: %v, %s", err, errs.String())
	}
	if out := c.ok("flip1", "member", "show", "ghost"); !strings.Contains(out, "never seen") {
		t.Errorf("the ghost:\n%s", out)
	}

	// Nothing to join, and nothing to begin with.
	c.joins("flip3", sampleKey)
	if code := c.exit("flip3", 20*time.Second); code != 1 || !strings.Contains(c.log("flip3"), "flip run --join HOST:PORT") {
		t.Errorf("without --join it exits %d:\n%s", code, c.log("flip3"))
	}
}
