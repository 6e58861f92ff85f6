package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/fsm"
)

// flipPort is where the daemons of the lab listen.
const flipPort = 2200

// memberNetwork is a cluster that hosts join and leave.
type memberNetwork struct {
	*ipNetwork
	fit    *fitness
	in     []*lab.Host        // who is a member now, by name
	agents map[*lab.Host]bool // of them: who has no vote
}

// newMemberNetwork has the first three hosts found a cluster of as many groups of
// addresses as there are hosts; the others wait for their time.
func newMemberNetwork(t *testing.T, hosts ...string) *memberNetwork {
	t.Helper()
	n := &memberNetwork{ipNetwork: &ipNetwork{newNetwork(t, hosts...), groups(len(hosts))}, agents: map[*lab.Host]bool{}}
	n.fit = n.gauged("lan")
	var data []any
	for _, g := range n.groups {
		data = append(data, g.data())
	}
	s := ipSpec("lan", data...)
	s["log_level"] = "info"
	n.in = slices.Clone(n.Hosts[:3])
	n.configureFor(s, n.in)
	n.start(n.in...)
	n.calm()
	return n
}

// comes starts flip on a host as on a machine that nobody knows yet, and has a
// member add it.
func (n *memberNetwork) comes(via, h *lab.Host, role string) error {
	if err := os.RemoveAll(h.DataDir()); err != nil {
		return err
	}
	n.writeFile(h, spec{"key": sampleKey, "log_level": "info"})
	var through []string
	for _, o := range n.in {
		through = append(through, clusterAddr(o))
	}
	h.Join = strings.Join(through, ",")
	if _, err := h.Start(n.files[h.Name], n.env...); err != nil {
		return err
	}
	return n.asked(via, func(ctx context.Context, cl *client.Client) error {
		_, err := cl.AddMember(ctx, api.MemberAdd{Name: fsm.MemberID(h.Name), Addr: clusterAddr(h), Role: role})
		return err
	})
}

func clusterAddr(h *lab.Host) string { return netip.AddrPortFrom(h.Cluster, flipPort).String() }

// asked has a host's daemon do something.
func (n *memberNetwork) asked(h *lab.Host, what func(context.Context, *client.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cl := h.API()
	defer cl.Close()
	return what(ctx, cl)
}

// must is asked of what may not be refused.
func (n *memberNetwork) must(h *lab.Host, what func(context.Context, *client.Client) error) {
	n.t.Helper()
	if err := n.asked(h, what); err != nil {
		n.t.Fatal(err)
	}
}

func (n *memberNetwork) remove(via, h *lab.Host) {
	n.t.Helper()
	n.must(via, func(ctx context.Context, cl *client.Client) error {
		_, err := cl.RemoveMember(ctx, api.MemberRemove{Name: fsm.MemberID(h.Name)})
		return err
	})
}

// leaves takes a host out and waits until its daemon has ended by itself.
func (n *memberNetwork) leaves(via, h *lab.Host) {
	n.t.Helper()
	n.remove(via, h)
	if code := n.exit(h, settleLimit); code != 0 {
		n.t.Errorf("%s was removed and ended with %d", h.Name, code)
	}
	if have, err := h.Addresses(); err != nil || len(have) > 0 {
		n.t.Errorf("%s was removed and has %v, %v", h.Name, have, err)
	}
}

// memberInfo is what via knows of a host, if it is a member.
func (n *memberNetwork) memberInfo(via, h *lab.Host) (info api.MemberInfo, member bool, err error) {
	err = n.asked(via, func(ctx context.Context, cl *client.Client) error {
		list, err := cl.Members(ctx, false)
		info, member = list.Find(fsm.MemberID(h.Name))
		return err
	})
	return info, member, err
}

// calm waits until those that are meant to be members are, and nobody else, until each
// of them says so, and the addresses are dealt out evenly and held.
func (n *memberNetwork) calm() {
	n.t.Helper()
	n.eventually(settleLimit, fmt.Sprintf("the members are %v, and all is held", names(n.in)), func() error {
		for _, h := range n.in {
			if err := n.isCalm(h); err != nil {
				return fmt.Errorf("%s says: %w", h.Name, err)
			}
		}
		return nil
	})
	n.forget()
}

func (n *memberNetwork) isCalm(h *lab.Host) error {
	p, err := n.look(h)
	if err != nil {
		return err
	}
	var listed []string
	for _, name := range slices.Sorted(maps.Keys(p.members)) {
		info := p.members[name]
		listed = append(listed, string(name))
		if info.State != api.MemberUp || len(info.Waits) > 0 || info.Vote == n.agents[n.Host(string(name))] {
			return fmt.Errorf("%s is %s, has a vote: %v, and waits for %v", name, info.State, info.Vote, info.Waits)
		}
	}
	if !slices.Equal(listed, names(n.in)) {
		return fmt.Errorf("the members are %v", listed)
	}
	owns := map[fsm.MemberID]int{}
	for _, r := range p.rows {
		owns[r.Owner]++
		if !r.Held() || len(r.Outstanding) > 0 {
			return fmt.Errorf("%s is %s: %s, outstanding %v", r.Item, r.State, r.Why, r.Outstanding)
		}
	}
	if most, least := spread(owns, n.in); most-least > 1 {
		return fmt.Errorf("they have %v", owns)
	}
	return nil
}

// spread is the most and the least that any of these has.
func spread(owns map[fsm.MemberID]int, hosts []*lab.Host) (most, least int) {
	least = len(owns) + 1000
	for _, h := range hosts {
		have := owns[fsm.MemberID(h.Name)]
		most, least = max(most, have), min(least, have)
	}
	return most, least
}

func names(hosts []*lab.Host) []string {
	var out []string
	for _, h := range hosts {
		out = append(out, h.Name)
	}
	slices.Sort(out)
	return out
}

// picture is how things are as one daemon knows it.
type picture struct {
	rows    map[fsm.ItemID]api.Row
	members map[fsm.MemberID]api.MemberInfo
}

func (n *memberNetwork) look(h *lab.Host) (p picture, err error) {
	err = n.asked(h, func(ctx context.Context, cl *client.Client) error {
		as, err := cl.Assign(ctx, "", false)
		list, err2 := cl.Members(ctx, false)
		p = picture{map[fsm.ItemID]api.Row{}, map[fsm.MemberID]api.MemberInfo{}}
		for _, r := range as.Rows {
			p.rows[r.Item] = r
		}
		for _, info := range list.Members {
			p.members[info.Name] = info
		}
		return errors.Join(err, err2)
	})
	return p, err
}

// history is what a daemon tells of moves, as they happen.
type history struct {
	cancel context.CancelFunc
	done   chan struct{}
	mu     sync.Mutex
	events []api.Event
	broken error
}

func (n *memberNetwork) history(h *lab.Host) *history {
	ctx, cancel := context.WithCancel(context.Background())
	tale := &history{cancel: cancel, done: make(chan struct{})}
	cl := h.API()
	begun := make(chan struct{})
	go func() {
		defer close(tale.done)
		defer cl.Close()
		// From the present state on: its last event tells that nothing is missed now.
		for e, err := range cl.Watch(ctx, client.WatchState, "") {
			tale.take(e, err, begun)
		}
	}()
	select {
	case <-begun:
	case <-time.After(10 * time.Second):
		n.t.Fatalf("%s does not tell what changes", h.Name)
	}
	n.t.Cleanup(cancel)
	return tale
}

func (h *history) take(e api.Event, err error, begun chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	first := false
	select {
	case <-begun:
	default:
		first = true
	}
	switch {
	case err != nil:
		h.broken = errors.Join(h.broken, err)
	case first && !e.More:
		close(begun)
	case first:
	case e.Resync:
		h.broken = errors.Join(h.broken, errors.New("the daemon lost count of what changes"))
	default:
		h.events = append(h.events, e)
	}
}

// moves ends it; what was moved is in its order.
func (h *history) moves() ([]api.Event, error) {
	h.cancel()
	<-h.done
	return slices.DeleteFunc(h.events, func(e api.Event) bool { return e.Kind != fsm.KindMoved }), h.broken
}
