package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mono"
	"github.com/flip-ha/flip/e2e/results"
)

// says waits until the words of `flip status` on a host contain all of them.
func (n *network) says(h *lab.Host, limit time.Duration, words ...string) {
	n.t.Helper()
	n.eventually(limit, fmt.Sprintf("status of %s says %q", h.Name, words), func() error {
		out, _ := exec.Command(binary, "--dir", filepath.Join(n.Dir, "d"), "--id", h.Name, "status").CombinedOutput()
		for _, w := range words {
			if !strings.Contains(string(out), w) {
				return fmt.Errorf("%q is not in:\n%s", w, out)
			}
		}
		return nil
	})
}

// with starts a network of the three groups with more data.
func withData(t *testing.T, more ...any) *ipNetwork {
	t.Helper()
	return newIPNetwork(t, "lan", func(s spec) {
		sys := ipSystem(s)
		sys["data"] = append(sys["data"].([]any), more...)
	})
}

// groupsUp waits until the three groups are held, whatever else is wrong.
func (n *ipNetwork) groupsUp(limit time.Duration) {
	n.t.Helper()
	for _, g := range n.groups {
		n.eventually(limit, "somebody holds "+g.id, func() error {
			if n.holder(g) == nil {
				return fmt.Errorf("nobody does")
			}
			return nil
		})
	}
}

func TestNetAddressInNoSubnet(t *testing.T) {
	n := withData(t, "192.0.2.55")
	n.groupsUp(settleLimit)
	n.says(n.Hosts[0], 20*time.Second, "192.0.2.55", "subnet", "interface")
}

func TestNetInterfaceThatDoesNotExist(t *testing.T) {
	n := withData(t, spec{"id": "x", "addresses": []string{"10.77.2.9"}, "interface": "nope0"})
	n.groupsUp(settleLimit)
	n.says(n.Hosts[0], 20*time.Second, "nope0")
}

// The holder's interface disappears: what was on it comes up elsewhere.
func TestNetInterfaceThatDisappears(t *testing.T) {
	n := newIPNetwork(t, "lan", nil)
	n.settled()
	victim := n.others(n.leader())[0]
	g := n.heldBy(victim)
	at := mono.Now()
	if err := victim.Space.IP("link del " + lab.ServiceInterface); err != nil {
		t.Fatal(err)
	}
	n.takenOver(5*time.Second, victim, g.addrs()...)
	t.Logf("answered elsewhere %v after the interface had gone", mono.Now().Sub(at))
	n.says(n.others(victim)[0], 10*time.Second, g.id, victim.Name)
}

// A stranger has the address: it is plumbed nowhere while he answers, status
// names his hardware address, and once he has gone it comes up.
func TestNetAddressOnAnotherHost(t *testing.T) {
	n := newNetwork(t, "n1", "n2", "n3")
	stranger, free := groups(2)[0], groups(2)[1]
	err := n.Client.Space.IP(
		fmt.Sprintf("addr add %s/32 dev %s", stranger.four, lab.ServiceInterface),
		fmt.Sprintf("addr add %s/128 dev %s nodad", stranger.six, lab.ServiceInterface))
	if err != nil {
		t.Fatal(err)
	}
	n.configure(ipSpec("lan", stranger.data(), free.data()))
	n.start()
	n.ready()
	n.says(n.Hosts[0], 20*time.Second, stranger.id, n.Client.MAC.String())
	ip := &ipNetwork{n, []group{free}}
	ip.groupsUp(10 * time.Second)
	for _, h := range n.Hosts {
		if have, err := h.Addresses(); err != nil || slices.ContainsFunc(have, func(p netip.Prefix) bool { return p.Addr() == stranger.four }) {
			t.Errorf("%s has the stranger's address: %v, %v", h.Name, have, err)
		}
	}
	err = n.Client.Space.IP(
		fmt.Sprintf("addr del %s/32 dev %s", stranger.four, lab.ServiceInterface),
		fmt.Sprintf("addr del %s/128 dev %s", stranger.six, lab.ServiceInterface))
	if err != nil {
		t.Fatal(err)
	}
	ip.groups = []group{stranger, free}
	ip.groupsUp(settleLimit)
}

// gateSays waits for the state of a host's gate and words in its reason.
func (n *network) gateSays(h *lab.Host, state string, words ...string) {
	n.t.Helper()
	n.eventually(20*time.Second, "the gate of "+h.Name, func() error {
		st, err := n.status(h)
		if err != nil {
			return err
		}
		if st.Node.Gate.State != state {
			return fmt.Errorf("it is %q: %s", st.Node.Gate.State, st.Node.Gate.Why)
		}
		for _, w := range words {
			if !strings.Contains(st.Node.Gate.Why, w) {
				return fmt.Errorf("it is %q: %s", st.Node.Gate.State, st.Node.Gate.Why)
			}
		}
		return nil
	})
}

// A table of somebody else's with our name is left alone, and said; the node
// works without a gate.
func TestNetForeignTable(t *testing.T) {
	n := newNetwork(t, "n1", "n2", "n3")
	h := n.Hosts[0]
	tables := func() (out []string) {
		err := h.Space.Do(func() error {
			c, err := nftables.New()
			if err != nil {
				return err
			}
			list, err := c.ListTables()
			for _, one := range list {
				chains, _ := c.ListChainsOfTableFamily(one.Family)
				out = append(out, fmt.Sprintf("%d %s %d", one.Family, one.Name, len(chains)))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	err := h.Space.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "flip-n1"})
		c.AddChain(&nftables.Chain{Name: "theirs", Table: table})
		return c.Flush()
	})
	if err != nil {
		t.Fatal(err)
	}
	before := tables()
	ip := &ipNetwork{n, groups(3)}
	n.configure(ipSpec("lan", ip.groups[0].data(), ip.groups[1].data(), ip.groups[2].data()))
	n.start()
	ip.settled()
	n.gateSays(h, api.GateNone, "flip-n1")
	if after := tables(); !slices.Equal(before, after) {
		t.Errorf("the tables were %v and are %v", before, after)
	}
}

// A kernel without nf_tables: the node says so and works, and what it held is
// taken over later, but never twice.
func TestNetWithoutNFTables(t *testing.T) {
	n := newNetwork(t, "n1", "n2", "n3")
	ip := &ipNetwork{n, groups(3)}
	n.configure(ipSpec("lan", ip.groups[0].data(), ip.groups[1].data(), ip.groups[2].data()))
	h := n.Hosts[0]
	if _, err := h.StartProgram([]string{os.Args[0], binary}, n.files[h.Name], roleEnv+"="+roleNoNFT); err != nil {
		t.Fatal(err)
	}
	n.start(n.Hosts[1:]...)
	ip.settled()
	n.gateSays(h, api.GateNone)
	g := ip.heldBy(h)
	n.watched(func() report {
		w := n.watch(g.addrs()...)
		waitFor(calm)
		at := n.cut(n.CutSilently, lab.Both, h)
		n.takenOver(15*time.Second, h, g.addrs()...)
		t.Logf("answered elsewhere %v after the cut", mono.Now().Sub(at))
		n.heal(h)
		ip.settled()
		return w.stop(n)
	})
}

// Without the right to configure the network the node says what it lacks, and
// the others serve.
func TestNetWithoutNetAdmin(t *testing.T) {
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skip("setpriv (util-linux) is needed")
	}
	n := newNetwork(t, "n1", "n2", "n3")
	ip := &ipNetwork{n, groups(3)}
	n.configure(ipSpec("lan", ip.groups[0].data(), ip.groups[1].data(), ip.groups[2].data()))
	h := n.Hosts[0]
	if _, err := h.StartProgram([]string{"setpriv", "--bounding-set", "-net_admin", binary}, n.files[h.Name]); err != nil {
		t.Fatal(err)
	}
	n.start(n.Hosts[1:]...)
	ip.groupsUp(settleLimit)
	for _, g := range ip.groups {
		if ip.holder(g) == h {
			t.Errorf("%s holds %s", h.Name, g.id)
		}
	}
	n.eventually(10*time.Second, "it says what it lacks", func() error {
		data, err := os.ReadFile(h.Daemon().Log)
		if err != nil {
			return err
		}
		if !strings.Contains(string(data), "CAP_NET_ADMIN") {
			return fmt.Errorf("its log does not say CAP_NET_ADMIN:\n%s", tail(data, 10))
		}
		return nil
	})
}

// Ten thousand addresses on one host come up, and come up elsewhere.
func TestNetTenThousandAddresses(t *testing.T) {
	n := newHoldsAll(t, many("ipv4", 10_000))
	n.supervised = true
	t.Logf("10,000 addresses: the last one %v after the cut", n.lastAnswered(false))
}

// What somebody removes is right again within 200 ms.
func TestNetRemovedByHand(t *testing.T) {
	const aim = 200 * time.Millisecond
	n := newIPNetwork(t, "lan", nil)
	n.settled()
	h := n.Hosts[0]
	g := n.heldBy(h)
	var took []time.Duration
	for range trials(t) {
		at := mono.Now()
		err := h.Space.IP(
			fmt.Sprintf("addr del %s/32 dev %s", g.four, lab.ServiceInterface),
			fmt.Sprintf("addr del %s/128 dev %s", g.six, lab.ServiceInterface))
		if err != nil {
			t.Fatal(err)
		}
		if err := within(5*time.Second, 2*time.Millisecond, func() error {
			if have, err := h.Addresses(); err != nil || len(have) != 2 {
				return fmt.Errorf("it has %v, %w", have, err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		took = append(took, mono.Now().Sub(at))
	}
	key := results.Key{Fault: "removed by hand", Timing: "lan"}
	record(t, []results.Result{results.Of(key, took, aim)}, []results.Key{key})
	n.says(h, 5*time.Second, "repair")
}
