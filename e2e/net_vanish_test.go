package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/lab"
)

// watchersOf counts the connections to a host's own port from one address, as the
// host's kernel has them.
func watchersOf(h *lab.Host, from string) (n int, err error) {
	err = h.Space.Do(func() error {
		cmd := exec.Command("ss", "-Htn", "state", "established", "sport = :2200", "and", "dst", from)
		out, err := cmd.CombinedOutput()
		n = strings.Count(string(out), "\n")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	return n, err
}

// Watchers whose machine is gone without a word, what was sent to them never
// acknowledged, leave their places within a minute; the kernel alone would keep them
// for a quarter of an hour.
func TestNetVanishedWatchers(t *testing.T) {
	if _, err := exec.LookPath("ss"); err != nil {
		t.Skip("there is no ss here")
	}
	n := newIPNetwork(t, "lan", nil)
	n.settled()
	watched, gone := n.Hosts[0], n.Hosts[1]
	key := filepath.Join(n.Dir, "key")
	if err := os.WriteFile(key, []byte("the key of a test, long enough"), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := watchersOf(watched, gone.Cluster.String())
	if err != nil {
		t.Fatal(err)
	}
	const many = 20
	for range many {
		cmd := gone.Space.Command(0, binary, "--address", fmt.Sprintf("%s:2200", watched.Cluster), "--key-file", key, "watch", "--json")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
	n.eventually(30*time.Second, "all watch", func() error {
		now, err := watchersOf(watched, gone.Cluster.String())
		if err == nil && now < before+many {
			err = fmt.Errorf("%d connections, %d before", now, before)
		}
		return err
	})
	if _, err := n.CutSilently(lab.Both, gone); err != nil {
		t.Fatal(err)
	}
	n.eventually(time.Minute, "the watchers are gone", func() error {
		now, err := watchersOf(watched, gone.Cluster.String())
		if err == nil && now > before {
			err = fmt.Errorf("%d connections, %d before there were watchers", now, before)
		}
		return err
	})
	if _, err := n.Heal(gone); err != nil {
		t.Fatal(err)
	}
}
