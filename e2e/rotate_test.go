package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
)

// rotates is a cluster of three and an agent, each with a key_file of its own, as on
// machines of their own.
func rotates(t *testing.T) *cluster {
	c := newCluster(t, nil)
	servers := slices.Clone(c.ids)
	c.ports["agent"] = freePorts(t, "agent")["agent"]
	c.ids = append(c.ids, "agent")
	for _, id := range c.ids {
		c.giveKey(id, sampleKey)
		c.writeFile(filepath.Join(c.dir, id+".json"), func(s spec) {
			quick(s)
			delete(s, "key")
			s["key_file"] = id + ".key"
			s["servers"].(spec)["flip2"].(spec)["systems"] = []string{"ip"}
			s["servers"].(spec)["agent"] = spec{"ip": "127.0.0.1", "port": c.ports["agent"], "role": "agent", "systems": []string{"ip"}}
			s.system()["data"] = []string{"192.168.0.1", "192.168.0.2", "192.168.0.3", "192.168.0.4", "192.168.0.5", "192.168.0.6"}
		})
	}
	t.Cleanup(c.stopAll) // before the directory goes, with no guard left at work in it
	c.rotatesStart(servers...)
	c.ready(servers...)
	c.rotatesStart("agent")
	c.ready("agent")
	return c
}

// stopAll stops what runs in order, each by itself.
func (c *cluster) stopAll() {
	for id, p := range c.procs {
		select {
		case <-p.done:
		default:
			c.signal(id, syscall.SIGTERM)
			c.exit(id, 30*time.Second)
		}
	}
}

func (c *cluster) rotatesStart(ids ...string) {
	for _, id := range ids {
		c.startWith(id, c.fileOf(id))
	}
}

func (c *cluster) keyPath(id string) string { return filepath.Join(c.dir, id+".key") }

func (c *cluster) giveKey(id, key string) {
	c.t.Helper()
	if err := os.WriteFile(c.keyPath(id), []byte(key+"\n"), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) keyIn(path string) string {
	c.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// keyState is what a node says of the key.
func (c *cluster) keyState(id string) (api.Key, error) {
	cl := c.client(id)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
	defer cancel()
	return cl.Key(ctx, true, false)
}

// goesBy waits until all go by one key and nothing else, and is that key.
func (c *cluster) goesBy(key string, ids ...string) {
	c.t.Helper()
	for _, id := range ids {
		c.eventually(20*time.Second, id+" has the key", func() error {
			k, err := c.keyState(id)
			if err == nil && (k.Key != key || k.Phase != 0 || k.Trouble != "" || k.Stale != "") {
				err = fmt.Errorf("%+v", k)
			}
			return err
		})
		if got := c.keyIn(c.keyPath(id)); got != key {
			c.t.Errorf("%s's key_file has %q, want %q", id, got, key)
		}
	}
}

var counterLine = map[string]*regexp.Regexp{
	"lapses": regexp.MustCompile(`(?m)^flip_lease_lapses_total (\d+)$`),
	"late":   regexp.MustCompile(`(?m)^flip_late_beats_total (\d+)$`),
}

// counted is the sum of a counter over some nodes.
func (c *cluster) counted(what string, ids ...string) (n int) {
	c.t.Helper()
	for _, id := range ids {
		socket := filepath.Join(c.dir, "d", id+".sock")
		web := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}
		resp, err := (&http.Client{Transport: web}).Get("http://flip/metrics")
		if err != nil {
			c.t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		m := counterLine[what].FindSubmatch(body)
		if err != nil || m == nil {
			c.t.Fatalf("%s has no such counter: %v", id, err)
		}
		one, _ := strconv.Atoi(string(m[1]))
		n += one
	}
	return n
}

// busy has the log grow, and items move, until the function it returns is called, which
// says how often either was agreed on.
func (c *cluster) busy(id string) (stop func() int64) {
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan struct{})
	var agreed atomic.Int64
	go func() {
		defer close(done)
		cl := c.client(id)
		defer cl.Close()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for on := true; ctx.Err() == nil; on = !on {
			if _, err := cl.Maintain(ctx, api.Maintain{System: "ip", On: on}); err == nil {
				agreed.Add(1)
			}
			<-tick.C
		}
		_, _ = cl.Maintain(context.WithoutCancel(ctx), api.Maintain{System: "ip"})
	}()
	return func() int64 {
		cancel()
		<-done
		return agreed.Load()
	}
}

// The key is rotated twice while the log grows: no lease ends, each key_file is written
// anew, and whoever has the former key is told.
func TestRotateUnderLoad(t *testing.T) {
	c := rotates(t)
	stop := c.busy("flip")
	keys := []string{sampleKey}
	for _, id := range []string{"flip1", "flip2"} {
		// A machine that stands still for a moment ends leases by itself.
		for try := 1; ; try++ {
			lapses, late := c.counted("lapses", c.ids...), c.counted("late", c.ids...)
			out := c.ok(id, "key", "rotate", "--wait", "30s")
			if !strings.Contains(out, "Done: only key ") {
				t.Errorf("rotate said:\n%s", out)
			}
			k, err := c.keyState(id)
			if err != nil {
				t.Fatal(err)
			}
			c.goesBy(k.Key, c.ids...)
			if keys = append(keys, k.Key); k.Key == keys[len(keys)-2] || k.Key == sampleKey {
				t.Fatalf("no new key: %+v", k)
			}
			ended := c.counted("lapses", c.ids...) - lapses
			if ended == 0 {
				break
			}
			if standstills := c.counted("late", c.ids...) - late; standstills == 0 || try == 3 {
				t.Fatalf("%d leases have ended, with %d late heartbeats", ended, standstills)
			}
		}
	}
	if n := stop(); n < 20 {
		t.Errorf("agreed on meanwhile: %d", n)
	}
	c.eventually(20*time.Second, "all is well", func() error {
		if out, code := c.flip("flip", "status", "--check"); code != 0 {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	for _, id := range c.ids {
		if log := c.log(id); strings.Contains(log, keys[0]) || strings.Contains(log, keys[len(keys)-1]) {
			t.Errorf("a key is in the log of %s", id)
		}
	}
	c.refusesOldKeys(keys[:len(keys)-1], keys[len(keys)-1])
}

// remote asks from elsewhere with a key.
func (c *cluster) remote(key string, args ...string) (string, int) {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(binary, append([]string{"--address", c.addr("flip") + "," + c.addr("flip1"), "--key-file", file}, args...)...)
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

// refusesOldKeys: operators and nodes with a former key are refused, and both sides say
// why.
func (c *cluster) refusesOldKeys(old []string, now string) {
	c.t.Helper()
	for _, key := range old {
		if out, code := c.remote(key, "status"); code != 3 || !strings.Contains(out, "this key was rotated away") || !strings.Contains(out, "flip key show --secret") {
			c.t.Errorf("an operator with a former key: %d\n%s", code, out)
		}
	}
	if out, code := c.remote(now, "key", "show"); code != 0 || !strings.Contains(out, "no rotation is under way") {
		c.t.Errorf("an operator with the new key: %d\n%s", code, out)
	}
	if out, code := c.remote(now, "key", "show", "--secret"); code != 1 || strings.Contains(out, now) {
		c.t.Errorf("the key itself, from elsewhere: %d\n%s", code, out)
	}
	c.joins("late", old[0], c.joinTo("flip", "flip1")...)
	if code := c.exit("late", 20*time.Second); code != 1 || !strings.Contains(c.log("late"), "the cluster's key was rotated, and this node has the old one") {
		c.t.Errorf("a node with a former key ends with %d:\n%s", code, c.log("late"))
	}
	c.says("flip", `"reason":"rotated-key"`)
}
