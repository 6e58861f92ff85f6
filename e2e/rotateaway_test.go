package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure"
)

// ghost acknowledges phases for a member that there is not, so that a rotation waits
// where a test wants it to.
type ghost struct {
	c  *cluster
	id string
}

func (c *cluster) addGhost() *ghost {
	g := &ghost{c, "ghost"}
	c.ports[g.id] = freePorts(c.t, g.id)[g.id]
	c.ok("flip", "member", "add", g.id, c.addr(g.id), "--role", "arbiter", "--wait", "0")
	return g
}

// acks has the phase acknowledged for the ghost, by whoever leads.
func (g *ghost) acks(phase int) {
	g.c.t.Helper()
	g.c.eventually(30*time.Second, fmt.Sprintf("phase %d waits for the ghost alone", phase), func() error {
		k, err := g.c.keyState("flip")
		if err == nil && (k.Phase != phase || len(k.Awaited) != 1 || string(k.Awaited[0].Name) != g.id) {
			err = fmt.Errorf("%+v", k)
		}
		if err != nil {
			return err
		}
		keys, err := secure.Derive([]byte(k.Key))
		if err != nil {
			return err
		}
		self := secure.Identity{Name: fsm.MemberID(g.id), Instance: "none"}
		peers := client.DialPeers(func(ctx context.Context, to client.Target) (net.Conn, error) {
			return secure.Dial(ctx, to.Addr, secure.NewRing(secure.KeySet{Send: keys}).As(self, keys), secure.Identity{Name: to.Name}, secure.ProtoHTTP)
		})
		defer peers.Close()
		ctx, cancel := context.WithTimeout(g.c.t.Context(), 5*time.Second)
		defer cancel()
		ack := fsm.Encode(fsm.KeyAck{Member: fsm.MemberID(g.id), Round: k.Round, Phase: fsm.KeyPhase(phase)})
		res, err := peers.Propose(ctx, client.Target{Addr: g.c.addr(k.Leader), Name: fsm.MemberID(k.Leader)}, ack)
		if err == nil && !res.Applied {
			err = fmt.Errorf("%s", res.Why)
		}
		return err
	})
}

// In each phase every node is restarted, the leader among them, one of them by SIGKILL:
// each comes back and holds its items, and the rotation goes on.
func TestRestartsInEachPhase(t *testing.T) {
	c := rotates(t)
	g := c.addGhost()
	next := filepath.Join(c.dir, "next")
	if err := os.WriteFile(next, []byte("the next key of a test, long enough\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := c.flip("flip1", "key", "rotate", "--new-key-file", next, "--wait", "1s"); code != 1 || !strings.Contains(out, "waiting for ghost (not there yet)") {
		t.Fatalf("rotate ended with %d:\n%s", code, out)
	}
	if out, code := c.flip("flip2", "key", "rotate"); code != 1 || !strings.Contains(out, "is being rotated already") || !strings.Contains(out, "--without ghost") {
		t.Errorf("a second one ended with %d:\n%s", code, out)
	}
	for phase := 1; phase <= 3; phase++ {
		for i, id := range c.ids {
			if i%3 == phase-1 {
				c.kill(id)
			} else {
				c.signal(id, syscall.SIGTERM)
				if code := c.exit(id, 30*time.Second); code != 0 {
					t.Fatalf("%s ended with %d in phase %d", id, code, phase)
				}
			}
			c.rotatesStart(id)
			c.ready(id)
			if k, err := c.keyState(id); err != nil || k.Phase != phase {
				t.Fatalf("%s is back in phase %d: %+v, %v", id, phase, k, err)
			}
		}
		// Both keys are good for an operator until the end; a third never is.
		_, old := c.remote(sampleKey, "status")
		_, fresh := c.remote(c.keyIn(next), "status")
		if want := map[bool]int{true: 0, false: 3}[phase < 3]; old != want || fresh != 0 {
			t.Errorf("phase %d: the old key ends with %d, the new one with %d", phase, old, fresh)
		}
		g.acks(phase)
	}
	c.goesBy(c.keyIn(next), c.ids...)
	c.becomes(20*time.Second, "flip", c.table())
}

// A dead member holds a rotation up; it is gone on without, and refused when it is back,
// until somebody gives it the key.
func TestRotateWithoutADeadMember(t *testing.T) {
	c := rotates(t)
	c.kill("flip2")
	if out, code := c.flip("flip", "key", "rotate", "--wait", "2s"); code != 1 || !strings.Contains(out, "flip key show") {
		t.Fatalf("rotate ended with %d:\n%s", code, out)
	}
	c.statusSays("flip1", 10*time.Second, "it waits for flip2, which is not up", "flip key rotate --without flip2")
	if out := c.ok("flip1", "key", "show"); !strings.Contains(out, "flip2, which is down: start it, or `flip key rotate --without flip2`") {
		t.Errorf("key show:\n%s", out)
	}
	if out, code := c.flip("flip1", "key", "rotate", "--without", "flip3"); code != 1 || !strings.Contains(out, "no member flip3") {
		t.Errorf("without a stranger: %d\n%s", code, out)
	}
	if out := c.ok("flip1", "key", "rotate", "--without", "flip2", "--wait", "20s"); !strings.Contains(out, "flip2 is left behind") || !strings.Contains(out, "Done") {
		t.Errorf("without flip2:\n%s", out)
	}
	k, err := c.keyState("flip")
	if err != nil {
		t.Fatal(err)
	}
	c.goesBy(k.Key, "flip", "flip1", "agent")

	c.rotatesStart("flip2")
	c.says("flip2", "says that the cluster's key was rotated: the one of this node does not count any more")
	c.says("flip", `"reason":"rotated-key"`)
	c.statusSays("flip", 20*time.Second, "flip2 (127.0.0.1:"+strconv.Itoa(c.ports["flip2"])+") has a key that was rotated away")
	c.signal("flip2", syscall.SIGTERM)
	c.exit("flip2", 20*time.Second)
	c.giveKey("flip2", k.Key)
	c.rotatesStart("flip2")
	c.ready("flip2")
	c.goesBy(k.Key, c.ids...)
}

// A member that was down while it began catches up when it is back, whichever key its
// configuration has by then.
func TestRotateCatchesUp(t *testing.T) {
	c := rotates(t)
	next := filepath.Join(c.dir, "next")
	for i, key := range []string{"the next key of a test, long enough", "the third key of a test, long enough"} {
		if err := os.WriteFile(next, []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		away := []string{"flip2", "agent"}[i]
		c.kill(away)
		if out, code := c.flip("flip", "key", "rotate", "--new-key-file", next, "--wait", "1s"); code != 1 {
			t.Fatalf("rotate ended with %d:\n%s", code, out)
		}
		if i == 1 {
			c.giveKey(away, key)
		}
		c.rotatesStart(away)
		c.ready(away)
		c.goesBy(key, c.ids...)
	}
	var k api.Key
	if err := json.Unmarshal([]byte(c.ok("flip2", "key", "show", "--json")), &k); err != nil || k.Phase != 0 || k.Key != "" {
		t.Errorf("%+v, %v", k, err)
	}
}
