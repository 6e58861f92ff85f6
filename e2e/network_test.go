package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/e2e/lab"
)

// network is a lab whose hosts run flip, each from a file of its own that
// differs from the others' in `machine` only.
type network struct {
	*lab.Lab
	t     *testing.T
	files map[string]string
	env   []string
}

// newNetwork builds the lab; the test is left out where there can be none.
func newNetwork(t *testing.T, hosts ...string) *network {
	t.Helper()
	if testing.Short() {
		t.Skip("e2e is left out with -short")
	}
	l, err := lab.New(lab.Config{
		Hosts: hosts, Binary: binary,
		Echo: func(host string) (args, env []string) {
			return []string{os.Args[0]}, []string{roleEnv + "=" + roleEcho, roleName + "=" + host}
		},
	})
	if errors.Is(err, lab.ErrUnavailable) {
		t.Skipf("this test needs root and network namespaces: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	n := &network{Lab: l, t: t, files: map[string]string{}}
	t.Cleanup(func() {
		n.keepLogs()
		if t.Failed() {
			n.showLogs()
		}
		l.Close()
	})
	return n
}

// keepLogs copies the logs to the directory that FLIP_E2E_LOGS names.
func (n *network) keepLogs() {
	keep := os.Getenv("FLIP_E2E_LOGS")
	if keep == "" {
		return
	}
	logs, _ := filepath.Glob(filepath.Join(n.Dir, "*.log"))
	for _, path := range logs {
		data, _ := os.ReadFile(path)
		name := strings.ReplaceAll(n.t.Name(), "/", ".") + "." + filepath.Base(path)
		if err := os.WriteFile(filepath.Join(keep, name), data, 0o600); err != nil {
			n.t.Log(err)
		}
	}
}

func (n *network) showLogs() {
	for _, h := range n.Hosts {
		if d := h.Daemon(); d != nil {
			data, _ := os.ReadFile(d.Log)
			n.t.Logf("the end of %s's log:\n%s", h.Name, tail(data, 25))
		}
		have, err := h.Addresses()
		n.t.Logf("%s has %v %v", h.Name, have[:min(len(have), 10)], err)
	}
}

// configure writes each host's file. The spec's servers, whose addresses are
// filled in, must be the lab's hosts.
func (n *network) configure(s spec) {
	n.t.Helper()
	n.configureFor(s, n.Hosts)
}

// configureFor writes the files of the hosts that found a cluster.
func (n *network) configureFor(s spec, hosts []*lab.Host) {
	n.t.Helper()
	servers := spec{}
	for _, h := range hosts {
		one := spec{"ip": h.Cluster.String(), "port": 2200}
		if given, ok := s["servers"].(spec)[h.Name].(spec); ok {
			maps.Copy(one, given)
		}
		servers[h.Name] = one
	}
	for _, h := range hosts {
		own := maps.Clone(s)
		own["servers"] = servers
		n.writeFile(h, own)
	}
}

// writeFile writes the file that a host's daemon reads.
func (n *network) writeFile(h *lab.Host, s spec) {
	n.t.Helper()
	own := maps.Clone(s)
	own["machine"] = "machine of " + h.Name
	data, err := json.MarshalIndent(own, "", " ")
	if err != nil {
		n.t.Fatal(err)
	}
	path := filepath.Join(n.Dir, h.Name+".json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		n.t.Fatal(err)
	}
	n.files[h.Name] = path
}

// start runs flip in the hosts, in all if none is named.
func (n *network) start(hosts ...*lab.Host) {
	n.t.Helper()
	if len(hosts) == 0 {
		hosts = n.Hosts
	}
	for _, h := range hosts {
		if _, err := h.Start(n.files[h.Name], n.env...); err != nil {
			n.t.Fatal(err)
		}
	}
}

func (n *network) signal(h *lab.Host, s syscall.Signal) {
	n.t.Helper()
	if err := h.Signal(s); err != nil {
		n.t.Fatal(err)
	}
}

// exit waits until the daemon of a host has ended.
func (n *network) exit(h *lab.Host, limit time.Duration) int {
	n.t.Helper()
	d := h.Daemon()
	select {
	case <-d.Done:
		return d.Cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		n.t.Fatalf("%s has not ended within %v", h.Name, limit)
		return -1
	}
}

// goesOn has a host's daemon and guard go on after SIGSTOP. A guard that finds the
// lease over ends its daemon, which is started then, as by systemd.
func (n *network) goesOn(h *lab.Host) {
	n.t.Helper()
	_, _ = h.SignalBoth(syscall.SIGCONT) // the guard may be gone, or its daemon
	n.eventually(settleLimit, h.Name+" goes on", func() error {
		if !h.Running() {
			n.start(h)
		}
		st, err := n.status(h)
		if err == nil && !st.Node.Lease.Running {
			err = errors.New("it has no lease")
		}
		return err
	})
}

func (n *network) status(h *lab.Host) (api.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	cl := h.API()
	defer cl.Close()
	return cl.Status(ctx, false)
}

func (n *network) assign(h *lab.Host) (api.Assign, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	cl := h.API()
	defer cl.Close()
	return cl.Assign(ctx, "", false)
}

// forget has the cluster forget what it has moved of late: more happens here in three
// minutes than elsewhere in a year, and an item that has moved three times in three
// minutes stays where it is.
func (n *network) forget() {
	n.t.Helper()
	n.eventually(settleLimit, "a leader forgets", func() error {
		err := errors.New("no daemon runs")
		for _, h := range n.Hosts {
			if !h.Running() {
				continue
			}
			if err = n.cleanup(h); err == nil {
				return nil
			}
		}
		return err
	})
}

func (n *network) cleanup(h *lab.Host) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	cl := h.API()
	defer cl.Close()
	_, err := cl.Cleanup(ctx, api.Cleanup{})
	return err
}

// eventually looks again every 25 ms until ok is nil: seldom enough not to keep
// daemons busy that have heartbeats to send every 10.
func (n *network) eventually(limit time.Duration, what string, ok func() error) {
	n.t.Helper()
	if err := within(limit, 25*time.Millisecond, ok); err != nil {
		n.t.Fatalf("%s: not within %v: %v", what, limit, err)
	}
}

// within calls ok at each tick until it is nil; the last error if time is over.
func within(limit, every time.Duration, ok func() error) error {
	deadline := time.After(limit)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline:
			return err
		}
	}
}

// table is who has which address, read from each kernel.
func (n *network) table() (string, error) {
	var cells []string
	for _, h := range n.Hosts {
		have, err := h.Addresses()
		if err != nil {
			return "", err
		}
		var names []string
		for _, p := range have {
			name := p.Addr().String()
			if p.Bits() != p.Addr().BitLen() {
				name = p.String()
			}
			names = append(names, name)
		}
		slices.Sort(names)
		cells = append(cells, h.Name+": "+strings.Join(names, " "))
	}
	return strings.Join(cells, " | "), nil
}

// kernels waits until the kernels' tables are so.
func (n *network) kernels(limit time.Duration, want string) {
	n.t.Helper()
	n.eventually(limit, "the kernels' tables "+want, func() error {
		got, err := n.table()
		if err == nil && got != want {
			err = fmt.Errorf("they are %q", got)
		}
		return err
	})
}

// ready waits until every host that runs, and is not named as cut off, could
// decide about the loss of another one.
func (n *network) ready(cut ...*lab.Host) {
	n.t.Helper()
	for _, h := range n.Hosts {
		if slices.Contains(cut, h) || !h.Running() {
			continue
		}
		n.eventually(30*time.Second, h.Name+" ready", func() error {
			st, err := n.status(h)
			if err != nil {
				return err
			}
			if !st.Node.Ready || !st.Node.Lease.Running || st.Cluster.Leader == "" {
				return fmt.Errorf("ready %v, leader %q, waiting for %q", st.Node.Ready, st.Cluster.Leader, st.Node.Waiting)
			}
			return nil
		})
	}
}

// leader is the host that leads, by what all that run say.
func (n *network) leader() *lab.Host {
	n.t.Helper()
	var leader *lab.Host
	n.eventually(20*time.Second, "one leader", func() error {
		leader = nil
		for _, h := range n.Hosts {
			if !h.Running() {
				continue
			}
			st, err := n.status(h)
			if err != nil {
				return err
			}
			said := n.Host(string(st.Cluster.Leader))
			if said == nil || leader != nil && leader != said {
				return fmt.Errorf("%s says %q", h.Name, st.Cluster.Leader)
			}
			leader = said
		}
		return nil
	})
	return leader
}

// echoed waits until the address is answered to the client, by host.
func (n *network) echoed(limit time.Duration, addr netip.Addr, host *lab.Host) {
	n.t.Helper()
	n.eventually(limit, fmt.Sprintf("%s answers for %s", host.Name, addr), func() error {
		if who, ok := n.Client.Ask(addr, 1, 50*time.Millisecond); !ok || who != host.Name {
			return fmt.Errorf("%q answers", who)
		}
		return nil
	})
}
