package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mono"
)

// A route that is tracked: where it is missing nothing is held, and where it
// goes away everything leaves. Nothing was on the interface, or in the table,
// that the addresses themselves need.
func TestNetTrackedRoute(t *testing.T) {
	const route = "192.0.2.0/24"
	n := &ipNetwork{newNetwork(t, "n1", "n2", "n3"), groups(3)}
	s := ipSpec("lan", n.groups[0].data(), n.groups[1].data(), n.groups[2].data())
	ipSystem(s)["track"] = []any{spec{"route": route}}
	n.configure(s)
	for _, h := range n.Hosts[:2] {
		if err := h.Space.IP("route add " + route + " dev " + lab.ClusterInterface); err != nil {
			t.Fatal(err)
		}
	}
	n.start()
	n.groupsUp(settleLimit)
	n.ready()
	holds := func(h *lab.Host, want int) error {
		have, err := h.Addresses()
		if err == nil && len(have) != want {
			err = fmt.Errorf("%s has %v", h.Name, have)
		}
		return err
	}
	if err := holds(n.Hosts[2], 0); err != nil {
		t.Errorf("without the route: %v", err)
	}
	at := mono.Now()
	if err := n.Hosts[0].Space.IP("route del " + route); err != nil {
		t.Fatal(err)
	}
	n.eventually(5*time.Second, "all of it on the host that has the route", func() error { return holds(n.Hosts[1], 6) })
	t.Logf("all elsewhere %v after the route had gone", mono.Now().Sub(at))
	n.says(n.Hosts[1], 5*time.Second, route)
	// The host without it from the start gets it.
	if err := n.Hosts[2].Space.IP("route add " + route + " dev " + lab.ClusterInterface); err != nil {
		t.Fatal(err)
	}
	n.eventually(settleLimit, "the host that has got the route holds something", func() error {
		if holds(n.Hosts[2], 0) == nil {
			return fmt.Errorf("it holds nothing")
		}
		return n.acquired()
	})
}

// A listed host is told of a takeover by unicast, and status counts it.
func TestNetNotifiedHosts(t *testing.T) {
	n := newIPNetwork(t, "lan", func(s spec) {
		ipSystem(s)["notify"] = []any{lab.ServiceSubnet(30), "arp-cache"}
	})
	n.settled()
	h := n.Hosts[0]
	n.eventually(10*time.Second, "hosts are told", func() error {
		st, err := n.status(h)
		if err != nil {
			return err
		}
		for _, a := range st.Node.Addresses {
			if a.Told > 0 {
				return nil
			}
		}
		return fmt.Errorf("%+v", st.Node.Addresses)
	})
}
