package e2e

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mono"
)

// The lease of these tests; what a hook that starts `ip` takes, on a busy
// machine; and what the tests' own looking may take on top.
const (
	hookLease = 300 * time.Millisecond
	hookRuns  = 500 * time.Millisecond
	hookGrace = 3 * time.Second
)

// The addresses of the at-most-one system.
var singleA, singleB = netip.MustParseAddr("10.77.1.4"), netip.MustParseAddr("10.77.1.3")

// The tables of the two systems.
const (
	hooksAll       = "flip: 10.77.1.2 10.77.1.4 | flip1: 10.77.1.1 10.77.1.3 | flip2: "
	hooksFlip1Gone = "flip: 10.77.1.1 10.77.1.2 10.77.1.3 10.77.1.4 | flip1:  | flip2: "
)

// newHookNetwork is Flip's sample with hooks that plumb and an at-most-one
// system beside it: deploy/examples/hooks.json with its hooks.
func newHookNetwork(t *testing.T) *network {
	n := newNetwork(t, "flip", "flip1", "flip2")
	hooks, err := filepath.Abs(filepath.Join("..", "deploy", "examples", "hooks"))
	if err != nil {
		t.Fatal(err)
	}
	n.env = []string{"PATH=" + hooks + ":" + os.Getenv("PATH")}
	n.configureHooks()
	n.start()
	n.kernels(40*time.Second, hooksAll)
	n.ready()
	return n
}

// configureHooks writes deploy/examples/hooks.json as it is shipped, with this
// lab's interface and addresses.
func (n *network) configureHooks() {
	n.t.Helper()
	shipped, err := os.ReadFile(filepath.Join("..", "deploy", "examples", "hooks.json"))
	if err != nil {
		n.t.Fatal(err)
	}
	for _, h := range n.Hosts {
		text := string(shipped)
		for _, change := range [][2]string{
			{`"id": "flip",`, `"log_level": "debug", "machine": "machine of ` + h.Name + `",`},
			{"192.0.2.", "10.78.0."},
			{"198.51.100.", "10.77.1."},
			{"eth0", lab.ServiceInterface},
		} {
			if !strings.Contains(text, change[0]) {
				n.t.Fatalf("hooks.json has no %s", change[0])
			}
			text = strings.ReplaceAll(text, change[0], change[1])
		}
		n.files[h.Name] = filepath.Join(n.Dir, h.Name+".json")
		if err := os.WriteFile(n.files[h.Name], []byte(text), 0o600); err != nil {
			n.t.Fatal(err)
		}
	}
}

// cutOf is one of the two ways to cut a host off.
type cutOf func(lab.Networks, ...*lab.Host) (mono.Time, error)

func (n *network) cut(how cutOf, nets lab.Networks, hosts ...*lab.Host) mono.Time {
	n.t.Helper()
	at, err := how(nets, hosts...)
	if err != nil {
		n.t.Fatal(err)
	}
	return at
}

func (n *network) heal(hosts ...*lab.Host) mono.Time {
	n.t.Helper()
	at, err := n.Heal(hosts...)
	if err != nil {
		n.t.Fatal(err)
	}
	return at
}

// A host cut off, with carrier and without: its at-least-one address stays on it
// and comes up elsewhere too, its at-most-one address goes within its lease and
// only then comes up elsewhere. Healed, all is as before.
func TestNetHooksCutOff(t *testing.T) {
	n := newHookNetwork(t)
	for _, way := range []struct {
		name string
		how  cutOf
	}{{"cable", n.CutCable}, {"silent", n.CutSilently}} {
		t.Run(way.name, func(t *testing.T) {
			n.t = t
			n.watched(func() report {
				w := n.watch(singleA, singleB)
				flip1 := n.Host("flip1")
				at := n.cut(way.how, lab.Both, flip1)
				// An at-most-one item whose `down` nobody hears of waits for its holder.
				n.kernels(hookLease+hookGrace, "flip: 10.77.1.1 10.77.1.2 10.77.1.4 | flip1: 10.77.1.1 | flip2: ")
				t.Logf("all at its place %v after the cut", mono.Now().Sub(at))
				healed := n.heal(flip1)
				n.kernels(20*time.Second, hooksAll)
				n.ready()
				r := w.stop(n)
				r.sees(t, singleA, singleB)
				r.letGoWithin(t, hookLease+hookRuns, at, healed, flip1, singleB)
				return r
			})
		})
	}
	n.t = t
}

// Nobody reaches anybody: nothing at-least-one moves, everything at-most-one
// goes.
func TestNetHooksAllIsolated(t *testing.T) {
	n := newHookNetwork(t)
	n.watched(func() report {
		n.ready()
		w := n.watch(singleA, singleB)
		n.cut(n.CutSilently, lab.Both, n.Hosts...)
		n.kernels(hookLease+hookGrace, "flip: 10.77.1.2 | flip1: 10.77.1.1 | flip2: ")
		n.heal(n.Hosts...)
		n.kernels(20*time.Second, hooksAll)
		r := w.stop(n)
		r.sees(t, singleA, singleB)
		return r
	})
}

// The service network alone is cut: no heartbeat is lost and hooks know of no
// carrier, so all stays as it is.
func TestNetHooksServiceCutAlone(t *testing.T) {
	n := newHookNetwork(t)
	n.cut(n.CutSilently, lab.Service, n.Host("flip1"))
	deadline := time.After(4 * hookLease)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for running := true; running; {
		if got, err := n.table(); err != nil || got != hooksAll {
			t.Fatalf("the kernels' tables are %q, %v", got, err)
		}
		select {
		case <-tick.C:
		case <-deadline:
			running = false
		}
	}
	n.heal(n.Host("flip1"))
}
