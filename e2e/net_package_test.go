package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mono"
	"github.com/flip-ha/flip/e2e/results"
)

// thePackage is the Debian package under test: FLIP_DEB, else made now.
func thePackage(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("e2e is left out with -short")
	}
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("dpkg-deb is needed to take the package apart")
	}
	path := os.Getenv("FLIP_DEB")
	if path == "" {
		if out, err := exec.Command("make", "-C", "..", "deb").CombinedOutput(); err != nil {
			t.Fatalf("make deb: %v\n%s", err, tail(out, 20))
		}
		made, err := filepath.Glob(filepath.Join("..", "dist", "*.deb"))
		if err != nil || len(made) != 1 {
			t.Fatalf("make deb made %v, %v", made, err)
		}
		path = made[0]
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// installed is a host with the package unpacked into a root of its own, where
// flip runs under the host's own name.
type installed struct {
	*lab.Host
	root string
}

// quickStart is the two hosts and the arbiter of docs/quickstart.md: the
// package, its example file, one key.
func quickStart(t *testing.T) (*network, []installed) {
	t.Helper()
	deb := thePackage(t)
	n := newNetwork(t, "web1", "web2", "arbiter")
	var hosts []installed
	for i, h := range n.Hosts {
		if err := h.Space.IP(fmt.Sprintf("addr add 10.0.0.%d/24 brd + dev %s", 11+i, lab.ServiceInterface)); err != nil {
			t.Fatal(err)
		}
		in := installed{h, filepath.Join(n.Dir, "root", h.Name)}
		if err := os.MkdirAll(in.root, 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("dpkg-deb", "-x", deb, in.root).CombinedOutput(); err != nil {
			t.Fatalf("unpack %s: %v: %s", deb, err, out)
		}
		hosts = append(hosts, in)
	}
	key, err := exec.Command(filepath.Join(hosts[0].root, "usr/bin/flip"), "keygen").Output()
	if err != nil {
		t.Fatalf("flip keygen: %v", err)
	}
	for _, in := range hosts {
		file, err := os.ReadFile(filepath.Join(in.root, "usr/share/doc/flip/examples/pair/flip.json"))
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{"flip.json": file, "key": key} {
			if err := os.WriteFile(filepath.Join(in.root, "etc/flip", name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		// What systemd makes by the unit: StateDirectory and RuntimeDirectory.
		for _, dir := range []string{"proc", "dev", "var/lib/flip", "run/flip"} {
			if err := os.MkdirAll(filepath.Join(in.root, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := in.command("check").CombinedOutput(); err != nil {
			t.Fatalf("flip check on %s: %v\n%s", in.Name, err, out)
		}
	}
	return n, hosts
}

// program is what runs the host's flip: in its own root, under its own name.
func (in installed) program() []string {
	script := `set -e
hostname "$1"
mount --bind /proc "$2/proc"
mount --bind /dev "$2/dev"
root=$2
shift 2
exec chroot "$root" /usr/bin/flip "$@"`
	return []string{"unshare", "--mount", "--uts", "sh", "-c", script, "sh", in.Name, in.root}
}

func (in installed) command(args ...string) *exec.Cmd {
	return in.Space.Command(0, append(in.program(), args...)...)
}

// firstOwned is nil once a daemon says that an item is held, and a kernel has
// its address.
func firstOwned(hosts []installed) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, in := range hosts {
		have, err := in.Addresses()
		if err != nil {
			return err
		}
		for _, p := range have {
			if a := p.Addr(); a != netip.MustParseAddr("10.0.0.5") && a != netip.MustParseAddr("10.0.0.6") {
				continue
			}
			cl := client.New(filepath.Join(in.root, "run/flip", in.Name+".sock"))
			defer cl.Close()
			as, err := cl.Assign(ctx, "", false)
			if err != nil {
				return err
			}
			for _, r := range as.Rows {
				if r.Held() && strings.HasPrefix(string(r.Item), p.Addr().String()) {
					return nil
				}
			}
			return fmt.Errorf("%s has %s and does not say so", in.Name, p)
		}
	}
	return fmt.Errorf("nobody has an address")
}

// The quick start, from the package as it is shipped: from the last start to the
// first item owned, then to all of them.
func TestNetQuickStartFromThePackage(t *testing.T) {
	key := results.Key{Fault: "quick start, first item owned", Timing: "lan"}
	var took []time.Duration
	for range trials(t) {
		n, hosts := quickStart(t)
		var at mono.Time
		for _, in := range hosts {
			at = mono.Now()
			if _, err := in.StartCommand(append(in.program(), "run")); err != nil {
				t.Fatal(err)
			}
		}
		n.eventually(60*time.Second, "the first item is owned", func() error { return firstOwned(hosts) })
		took = append(took, mono.Now().Sub(at))
		n.eventually(10*time.Second, "flip status --check is content on web1", func() error {
			if out, err := hosts[0].command("status", "--check").CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
		n.Close()
	}
	record(t, []results.Result{results.Of(key, took, 10*time.Second)}, []results.Key{key})
}
