package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// statusSays waits until the words of `flip status` of id contain all of them.
func (c *cluster) statusSays(id string, limit time.Duration, words ...string) {
	c.t.Helper()
	c.eventually(limit, fmt.Sprintf("status of %s says %q", id, words), func() error {
		out, _ := c.flip(id, "status")
		for _, w := range words {
			if !strings.Contains(out, w) {
				return fmt.Errorf("%q is not in:\n%s", w, out)
			}
		}
		return nil
	})
}

// notifySocket collects what a daemon tells systemd.
func notifySocket(t *testing.T) (path string, said func() string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "flip-") //nolint:usetesting // a unix socket's path has 107 bytes, t.TempDir's may be longer
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path = filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	t.Cleanup(func() { _ = conn.Close() })
	return path, func() string {
		buf := make([]byte, 64<<10)
		for {
			_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			n, err := conn.Read(buf)
			if err != nil {
				return all.String()
			}
			all.Write(buf[:n])
			all.WriteByte('\n')
		}
	}
}

func TestOnlyOneOfThreeRuns(t *testing.T) {
	c := newCluster(t, nil)
	path, said := notifySocket(t)
	c.startWith("flip1", c.file, "NOTIFY_SOCKET="+path)
	c.statusSays("flip1", 10*time.Second,
		"waiting for flip, the first voter by name", "refuses TCP connections", "flip does not run there, or on another port")
	c.eventually(10*time.Second, "STATUS= says what it waits for", func() error {
		if got := said(); !strings.Contains(got, "STATUS=waiting: waiting for flip") || !strings.Contains(got, "READY=1") {
			return fmt.Errorf("systemd was told:\n%s", got)
		}
		return nil
	})
	if out, code := c.flip("flip1", "status", "--check"); code != 2 {
		t.Errorf("status --check exits %d:\n%s", code, out)
	}
	c.kill("flip1")
	if _, code := c.flip("flip1", "status"); code != 3 {
		t.Errorf("status without a daemon exits %d, want 3", code)
	}
}

func TestStatusCheckOfAHealthyCluster(t *testing.T) {
	c := newCluster(t, nil)
	c.start(c.ids...)
	c.becomes(30*time.Second, "flip", allActive)
	c.ready(c.ids...)
	c.eventually(20*time.Second, "status --check exits 0", func() error {
		if out, code := c.flip("flip", "status", "--check"); code != 0 {
			return fmt.Errorf("exit %d:\n%s", code, out)
		}
		return nil
	})
	c.kill("flip2")
	c.eventually(20*time.Second, "status --check exits 1: no further loss can be made good", func() error {
		if out, code := c.flip("flip", "status", "--check"); code != 1 {
			return fmt.Errorf("exit %d:\n%s", code, out)
		}
		return nil
	})
}

func TestAnotherKey(t *testing.T) {
	c := newCluster(t, nil)
	other := filepath.Join(c.dir, "other.json")
	c.writeFile(other, func(s spec) { s["key"] = "quite another key, just as long" })
	c.start("flip", "flip1")
	c.startWith("flip2", other)
	c.statusSays("flip2", 20*time.Second, "another key")
	c.statusSays("flip", 20*time.Second, "flip2", "another key")
	// The two others go on without it.
	c.becomes(30*time.Second, "flip", allActive)
}

func TestAnotherListOfVoters(t *testing.T) {
	c := newCluster(t, nil)
	other := filepath.Join(c.dir, "other.json")
	c.writeFile(other, func(s spec) {
		s["servers"].(spec)["flip3"] = spec{"ip": "127.0.0.1", "port": 1}
	})
	c.startWith("flip", other)
	c.start("flip1")
	c.statusSays("flip", 20*time.Second, "another list of voters", "flip3 127.0.0.1:1")
	c.statusSays("flip1", 20*time.Second, "another list of voters", "flip3 127.0.0.1:1")
}

func TestFileEditedAfterFounding(t *testing.T) {
	c := newCluster(t, nil)
	c.start(c.ids...)
	c.becomes(30*time.Second, "flip", allActive)
	c.ready(c.ids...)
	c.kill("flip1")
	edited := filepath.Join(c.dir, "edited.json")
	c.writeFile(edited, func(s spec) { s.system()["data"] = []string{"192.168.0.1", "192.168.0.2", "192.168.0.3"} })
	c.startWith("flip1", edited)
	c.becomes(30*time.Second, "flip", allActive)
	c.statusSays("flip1", 10*time.Second, "192.168.0.3", "differs from what the cluster has agreed")
	// The log does once it has been read to this process's own registration.
	c.eventually(10*time.Second, "the log of flip1 names the difference", func() error {
		if !strings.Contains(c.log("flip1"), "192.168.0.3") {
			return errors.New("it does not")
		}
		return nil
	})
}

// In a network namespace of its own, where policy routing drops all UDP.
func TestUDPBlocked(t *testing.T) {
	if testing.Short() {
		t.Skip("e2e is left out with -short")
	}
	ns := fmt.Sprintf("flip-e2e-%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
		t.Skipf("no network namespaces here (root and iproute2 are needed): %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
	in := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", append([]string{"-n", ns}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	in("link", "set", "lo", "up")
	in("rule", "add", "pref", "10", "lookup", "local")
	in("rule", "add", "pref", "5", "ipproto", "udp", "blackhole")
	in("rule", "del", "pref", "0")
	c := newCluster(t, nil)
	c.wrap = []string{"ip", "netns", "exec", ns}
	c.start(c.ids...)
	c.statusSays("flip", 30*time.Second, "firewall? flip needs TCP and UDP on", fmt.Sprint(c.ports["flip1"]))
	// Unblocked, it heals by itself.
	in("rule", "del", "pref", "5")
	c.becomes(30*time.Second, "flip", allActive)
	c.ready(c.ids...)
}
