package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mono"
)

// settleLimit is how long a healed or restarted cluster may take until all is
// at home again, with everything else that the machine does.
const settleLimit = time.Minute

// group is one item of an ip system: two addresses that move together.
type group struct {
	id        string
	four, six netip.Addr
}

// groups are the items of the ip networks, one for each host.
func groups(n int) []group {
	var out []group
	for i := range n {
		out = append(out, group{
			id:   string(rune('a' + i)),
			four: netip.AddrFrom4([4]byte{10, 77, 2, byte(1 + i)}),
			six:  netip.MustParseAddr(fmt.Sprintf("fd77::2:%x", 1+i)),
		})
	}
	return out
}

func (g group) addrs() []netip.Addr { return []netip.Addr{g.four, g.six} }

func (g group) data() spec {
	return spec{"id": g.id, "addresses": []string{g.four.String(), g.six.String()}}
}

// ipSpec is a cluster of three voters that all serve one system of addresses,
// plumbed on the interface whose subnet they are in.
func ipSpec(timing string, data ...any) spec {
	serves := spec{"systems": []string{"vip"}}
	return spec{
		"timing": timing, "key": "the key of a test, long enough", "log_level": "debug",
		"servers": spec{"n1": serves, "n2": serves, "n3": serves},
		"cluster": spec{"system": spec{"vip": spec{"type": "shard", "action": "ip", "data": data}}},
	}
}

// ipSystem is ipSpec's only system, to be changed.
func ipSystem(s spec) spec { return s["cluster"].(spec)["system"].(spec)["vip"].(spec) }

// ipNetwork is three hosts that hold one group of addresses each.
type ipNetwork struct {
	*network
	groups []group
}

func newIPNetwork(t *testing.T, timing string, change func(spec)) *ipNetwork {
	t.Helper()
	n := &ipNetwork{newNetwork(t, "n1", "n2", "n3"), groups(3)}
	var data []any
	for _, g := range n.groups {
		data = append(data, g.data())
	}
	s := ipSpec(timing, data...)
	if change != nil {
		change(s)
	}
	n.configure(s)
	n.start()
	return n
}

// settled waits until each host holds one group, by its kernel and by the log,
// and every daemon that runs is ready for the next fault.
func (n *ipNetwork) settled() {
	n.t.Helper()
	n.eventually(settleLimit, "each host holds one group", func() error {
		got, err := n.table()
		if err != nil {
			return err
		}
		for _, h := range n.Hosts {
			have, err := h.Addresses()
			if err != nil {
				return err
			}
			if len(have) != 2 {
				return fmt.Errorf("the kernels' tables are %q", got)
			}
		}
		return n.acquired()
	})
	n.forget()
	n.ready()
}

// acquired is nil if every item is held and nobody else may still hold it, by
// the log of a daemon that runs.
func (n *ipNetwork) acquired() error {
	for _, h := range n.Hosts {
		if !h.Running() {
			continue
		}
		as, err := n.assign(h)
		if err != nil {
			return err
		}
		for _, r := range as.Rows {
			if !r.Held() || len(r.Outstanding) > 0 {
				return fmt.Errorf("%s says that %s is %s: %s, outstanding %v", h.Name, r.Item, r.State, r.Why, r.Outstanding)
			}
		}
		return nil
	}
	return fmt.Errorf("no daemon runs")
}

// holder is the host whose kernel has a group's addresses, nil if none has.
func (n *ipNetwork) holder(g group) *lab.Host {
	n.t.Helper()
	for _, h := range n.Hosts {
		have, err := h.Addresses()
		if err != nil {
			n.t.Fatal(err)
		}
		if slices.ContainsFunc(have, func(p netip.Prefix) bool { return p.Addr() == g.four }) {
			return h
		}
	}
	return nil
}

// heldBy is the group that a host holds; settled was called before.
func (n *ipNetwork) heldBy(h *lab.Host) group {
	n.t.Helper()
	for _, g := range n.groups {
		if n.holder(g) == h {
			return g
		}
	}
	n.t.Fatalf("%s holds nothing", h.Name)
	return group{}
}

// others are the hosts but these.
func (n *network) others(but ...*lab.Host) []*lab.Host {
	return slices.DeleteFunc(slices.Clone(n.Hosts), func(h *lab.Host) bool { return slices.Contains(but, h) })
}

// takenOver waits until another host than the old holder answers to the client
// for the whole group.
func (n *network) takenOver(limit time.Duration, old *lab.Host, addrs ...netip.Addr) {
	n.t.Helper()
	for _, a := range addrs {
		n.eventually(limit, fmt.Sprintf("another host than %s answers for %s", old.Name, a), func() error {
			if who, ok := n.Client.Ask(a, 1, 50*time.Millisecond); !ok || who == old.Name {
				return fmt.Errorf("%q answers", who)
			}
			return nil
		})
	}
}

// tableOf is what the kernels show when each host has these groups.
func (n *network) tableOf(held map[string][]group) string {
	var cells []string
	for _, h := range n.Hosts {
		var all []string
		for _, g := range held[h.Name] {
			all = append(all, g.four.String(), g.six.String())
		}
		slices.Sort(all)
		cells = append(cells, h.Name+": "+strings.Join(all, " "))
	}
	return strings.Join(cells, " | ")
}

// sideBySide is the network of an at-most-one and an at-least-one system of two
// groups each, on two hosts and an arbiter, and where all is at home.
func sideBySide(t *testing.T) (n *ipNetwork, single, kept []group, home map[string][]group) {
	n = &ipNetwork{newNetwork(t, "n1", "n2", "n3"), groups(4)}
	single, kept = n.groups[:2], n.groups[2:]
	s := ipSpec("lan", single[0].data(), single[1].data())
	both := spec{"systems": []string{"vip", "kept"}}
	s["servers"] = spec{"n1": both, "n2": both, "n3": spec{}}
	s["cluster"].(spec)["system"].(spec)["kept"] = spec{
		"type": "shard", "action": "ip", "guarantee": "at-least-one", "data": []any{kept[0].data(), kept[1].data()},
	}
	n.configure(s)
	n.start()
	n.eventually(settleLimit, "one group of each system on each host", func() error {
		home = map[string][]group{}
		for _, list := range [][]group{single, kept} {
			on := map[string]bool{}
			for _, g := range list {
				if h := n.holder(g); h != nil {
					home[h.Name] = append(home[h.Name], g)
					on[h.Name] = true
				}
			}
			if len(on) != 2 {
				return fmt.Errorf("they are at %v", home)
			}
		}
		return n.acquired()
	})
	n.kernels(time.Second, n.tableOf(home))
	n.ready()
	return n, single, kept, home
}

// A host cut off: its at-most-one group goes within its lease and comes up
// elsewhere, its at-least-one group comes up elsewhere too and, unless the
// cable is out, stays where it was. Healed, all is as before. In the end
// everybody is isolated: nothing at-least-one moves, nothing at-most-one is up.
func TestNetIPTables(t *testing.T) {
	n, single, kept, home := sideBySide(t)
	const lease = 300 * time.Millisecond
	victim, other := n.Host("n1"), n.Host("n2")
	mine, stays := home[victim.Name][0], home[victim.Name][1] // at-most-one, at-least-one
	for _, way := range []struct {
		name string
		how  cutOf
		left []group
	}{{"cable", n.CutCable, nil}, {"silent", n.CutSilently, home[victim.Name][1:]}} {
		t.Run(way.name, func(t *testing.T) {
			n.t = t
			n.watched(func() report {
				w := n.watch(mine.addrs()...)
				at := n.cut(way.how, lab.Both, victim)
				n.kernels(5*time.Second, n.tableOf(map[string][]group{
					victim.Name: way.left, other.Name: slices.Concat(single, kept),
				}))
				t.Logf("all at its place %v after the cut", mono.Now().Sub(at))
				healed := n.heal(victim)
				n.kernels(settleLimit, n.tableOf(home))
				// Held by two until now: nobody is to look for it at the wrong one.
				for _, a := range stays.addrs() {
					n.echoed(time.Second, a, victim)
				}
				n.eventually(settleLimit, "all acquired", n.acquired)
				n.ready()
				r := w.stop(n.network)
				r.sees(t, mine.addrs()...)
				r.letGoWithin(t, lease, at, healed, victim, mine.addrs()...)
				return r
			})
		})
	}
	n.t = t
	n.watched(func() report {
		n.ready()
		w := n.watch(mine.addrs()...)
		at := n.cut(n.CutSilently, lab.Both, n.Hosts...)
		n.kernels(5*time.Second, n.tableOf(map[string][]group{
			victim.Name: home[victim.Name][1:], other.Name: home[other.Name][1:],
		}))
		healed := n.heal(n.Hosts...)
		n.kernels(settleLimit, n.tableOf(home))
		r := w.stop(n.network)
		r.letGoWithin(t, lease, at, healed, victim, mine.addrs()...)
		return r
	})
}

// letGoWithin fails if a host answered for an address later than the lease
// after a fault, before it was healed.
func (r report) letGoWithin(t *testing.T, lease time.Duration, fault, healed mono.Time, h *lab.Host, addrs ...netip.Addr) {
	t.Helper()
	for _, a := range addrs {
		last, ok := r.last(a, h, healed)
		if !ok {
			t.Errorf("%s never answered for %s", h.Name, a)
			continue
		}
		late := last.Sub(fault)
		t.Logf("%s last answered for %s %v after the fault, the lease being %v", h.Name, a, late.Round(100*time.Microsecond), lease)
		if late > lease {
			t.Errorf("%s answered for %s %v after the fault, the lease being %v", h.Name, a, late, lease)
		}
	}
}
