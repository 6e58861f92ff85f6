package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mono"
	"github.com/flip-ha/flip/fsm"
)

const (
	// mostMoved is for how long an address that moves as planned may be without an
	// answer: five times the aim of a planned move.
	mostMoved = 100 * time.Millisecond
	// eachEvery is how many milliseconds pass from one probe of an address to the next
	// where all of them are probed.
	eachEvery = 5
)

// memberChange is a change of who is a member.
type memberChange struct {
	what string
	do   func()
	left *lab.Host   // who is none afterwards
	came []*lab.Host // who is one and was none
	dead bool        // the one who left died first: what it held was away for a lease
	hurt []*lab.Host // whom a fault touched: no controls
	on   *lab.Host   // stays throughout; its history is read
}

// play makes a change under the eyes of a client, of the wire, of the daemons' own
// counters and of history. It returns what is wrong; blind: the machine kept somebody
// from looking, or flip from its leases, and what is wrong says nothing of flip.
func (n *memberNetwork) play(c memberChange) (wrong []string, blind string) {
	n.t.Helper()
	say := func(format string, args ...any) {
		wrong = append(wrong, c.what+": "+fmt.Sprintf(format, args...))
	}
	was, err := n.look(c.on)
	if err != nil {
		n.t.Fatal(err)
	}
	before := n.in
	var addrs, fours []netip.Addr
	for _, g := range n.groups {
		addrs, fours = append(addrs, g.addrs()...), append(fours, g.four)
	}
	began := mono.Now()
	tale, lapses := n.history(c.on), n.countLapses()
	p, w := n.probeEvery(eachEvery, addrs...), n.watch(fours...)
	waitFor(calm)
	from := mono.Now()
	c.do()
	n.in = slices.Concat(slices.DeleteFunc(slices.Clone(before), func(h *lab.Host) bool { return h == c.left }), c.came)
	slices.SortFunc(n.in, func(a, b *lab.Host) int { return strings.Compare(a.Name, b.Name) })
	n.calm()
	waitFor(calm)
	to := mono.Now()
	seen, r := p.stop(), w.stop(n.network)
	is, err := n.look(c.on)
	moves, err2 := tale.moves()
	if err := errors.Join(err, err2); err != nil {
		n.t.Fatal(err)
	}
	lapsed, starved := lapses.stop(c.left)
	wrong = append(wrong, prefixed(c.what, r.overlaps(), lapsed, c.moves(before).judge(was.dealt(), is.dealt(), moves))...)
	for name, m := range was.members {
		if now, stays := is.members[name]; stays && now.Epoch != m.Epoch {
			say("%s has epoch %d, and had %d", name, now.Epoch, m.Epoch)
		}
	}
	if blind = r.blind(); starved != "" {
		blind = starved
	}
	moved := map[fsm.ItemID]bool{}
	for _, e := range moves {
		moved[e.Item] = true
	}
	for _, g := range n.groups {
		item := fsm.ItemID(g.id)
		old, now := was.rows[item], is.rows[item]
		if !moved[item] && old.Token != now.Token {
			say("%s, which nobody moved, has another token", g.id)
		}
		for _, addr := range g.addrs() {
			v, err := seen.judge(addr, from, to, n.others(c.hurt...)...)
			n.t.Logf("%s: %s of %s, %s -> %s: %v in %d; %d lost of %d, %d void, %v", c.what, addr, g.id, old.Owner, now.Owner, v.Outage, v.Times, v.Lost, v.Sent, v.Void, err)
			switch {
			case v.Repeat != "":
				blind = v.Repeat
			case err != nil:
				say("%s: %v", g.id, err)
			case !moved[item] && v.Lost > 0:
				say("%s, which nobody moved, lost %d probes, %v in all", g.id, v.Lost, v.Outage)
			case v.Outage > mostMoved && !c.slow(old.Owner, now.Owner):
				say("%s was not answered for %v, more than %v", g.id, v.Outage, mostMoved)
			}
		}
	}
	if what := n.fit.stood(began); what != "" && len(wrong) > 0 {
		blind = what
	}
	return wrong, blind
}

// slow reports whether a move may take its time: from who died first, or to who has
// just been started, on cores that all hosts share.
func (c memberChange) slow(from, to fsm.MemberID) bool {
	came := slices.ContainsFunc(c.came, func(h *lab.Host) bool { return h.Name == string(to) })
	return came || c.dead && string(from) == c.left.Name
}

func (p picture) dealt() dealt {
	out := dealt{}
	for item, r := range p.rows {
		out[item] = r.Owner
	}
	return out
}

// moves is the change as those who judge moves want it.
func (c memberChange) moves(before []*lab.Host) movesOf {
	var m movesOf
	if c.left != nil {
		m.left = fsm.MemberID(c.left.Name)
	}
	for _, h := range c.came {
		m.came = append(m.came, fsm.MemberID(h.Name))
	}
	for _, h := range before {
		m.before = append(m.before, fsm.MemberID(h.Name))
	}
	return m
}

func prefixed(what string, lists ...[]string) []string {
	var out []string
	for _, line := range slices.Concat(lists...) {
		out = append(out, what+": "+line)
	}
	return out
}

// goes plays a change that must leave nothing wrong. What went wrong while the machine
// stood still is returned: then all is played again.
func (n *memberNetwork) goes(c memberChange) (blind string) {
	n.t.Helper()
	wrong, blind := n.play(c)
	for _, w := range wrong {
		if blind == "" {
			n.t.Error(w)
		} else {
			n.t.Log(w)
		}
	}
	return blind
}

// whenSeen plays rounds of changes until one was seen whole, or twice more.
func (n *memberNetwork) whenSeen(round func() []string) {
	n.t.Helper()
	for i := 0; ; i++ {
		blind := slices.DeleteFunc(round(), func(s string) bool { return s == "" })
		switch {
		case len(blind) == 0:
			return
		case i == mostRepeats:
			n.t.Fatalf("after %d repeats: %v", i, blind)
		}
		n.t.Logf("repeated: %v", blind)
	}
}

// spare are the hosts that are no members.
func (n *memberNetwork) spare() []*lab.Host { return n.others(n.in...) }

// adds adds hosts, each by another member, at once.
func (n *memberNetwork) adds(what, role string, hosts ...*lab.Host) string {
	n.t.Helper()
	return n.goes(memberChange{what: what, came: hosts, on: n.in[0], do: func() {
		failed := make(chan error, len(hosts))
		for i, h := range hosts {
			go func() { failed <- n.comes(n.in[i], h, role) }()
		}
		for range hosts {
			if err := <-failed; err != nil {
				n.t.Fatal(err)
			}
		}
	}})
}

func (n *memberNetwork) removes(what string, h *lab.Host) string {
	n.t.Helper()
	via := slices.DeleteFunc(slices.Clone(n.in), func(o *lab.Host) bool { return o == h })[0]
	return n.goes(memberChange{what: what, left: h, on: via, do: func() { n.leaves(via, h) }})
}

// replaces kills a member, removes it although it is dead, and adds another.
func (n *memberNetwork) replaces(dead, by *lab.Host) string {
	n.t.Helper()
	via := slices.DeleteFunc(slices.Clone(n.in), func(o *lab.Host) bool { return o == dead })[0]
	return n.goes(memberChange{what: "a dead voter is replaced", left: dead, dead: true, hurt: []*lab.Host{dead}, came: []*lab.Host{by}, on: via, do: func() {
		if _, err := dead.SignalBoth(syscall.SIGKILL); err != nil {
			n.t.Fatal(err)
		}
		n.eventually(settleLimit, dead.Name+" is down", func() error {
			info, _, err := n.memberInfo(via, dead)
			if err == nil && info.State != api.MemberDown {
				err = errors.New(info.State)
			}
			return err
		})
		n.remove(via, dead)
		n.eventually(settleLimit, dead.Name+" is no member", func() error {
			info, member, err := n.memberInfo(via, dead)
			if err == nil && member {
				err = fmt.Errorf("it is %s, and waits for %v", info.State, info.Waits)
			}
			return err
		})
		n.in = slices.DeleteFunc(slices.Clone(n.in), func(o *lab.Host) bool { return o == dead })
		if err := n.comes(via, by, ""); err != nil {
			n.t.Fatal(err)
		}
	}})
}

// Voters go from three to five and back, the leader among those who leave, a dead one
// is replaced, and one comes and goes by itself: what need not move loses no probe, and
// nobody's lease ends.
func TestNetMembers(t *testing.T) {
	n := newMemberNetwork(t, "n1", "n2", "n3", "n4", "n5")
	n.whenSeen(func() (blind []string) {
		return append(blind,
			n.adds("two join, added at once by two members", "", n.spare()...),
			n.removes("the leader is removed", n.leader()),
			n.removes("another one is removed", n.others(slices.Concat(n.spare(), []*lab.Host{n.leader()})...)[0]),
			n.replaces(n.others(slices.Concat(n.spare(), []*lab.Host{n.leader()})...)[0], n.spare()[0]),
			n.adds("one joins", "", n.spare()[0]),
			n.removes("one is removed", n.others(slices.Concat(n.spare(), []*lab.Host{n.leader()})...)[0]),
		)
	})
}

// The same with an agent beside them, which comes before all that and goes after it,
// and is a voter for a while.
func TestNetMembersWithAgent(t *testing.T) {
	n := newMemberNetwork(t, "n1", "n2", "n3", "n4", "n5", "n6")
	agent := n.Host("n6")
	role := func(verb string) func() {
		return func() {
			n.must(n.in[0], func(ctx context.Context, cl *client.Client) error {
				return cl.Do(ctx, "POST", api.PathMembers+"/"+verb, map[string]string{"name": agent.Name}, nil)
			})
			n.agents[agent] = verb == "demote"
		}
	}
	n.whenSeen(func() (blind []string) {
		n.agents[agent] = true
		return append(blind,
			n.adds("an agent joins", "agent", agent),
			n.adds("two join, added at once by two members", "", n.spare()...),
			n.removes("the leader is removed", n.leader()),
			n.removes("another one is removed", n.others(slices.Concat(n.spare(), []*lab.Host{n.leader(), agent})...)[0]),
			n.goes(memberChange{what: "the agent is promoted", on: n.in[0], do: role("promote")}),
			n.goes(memberChange{what: "the agent is demoted", on: n.in[0], do: role("demote")}),
			n.removes("the agent is removed", agent),
		)
	})
}

// The controls: a machine that dies loses the probes of what it held from that moment on
// (of a daemon alone the kernel answers until its lease ends, which may be just before
// another takes over), and who is cut off its lease; both are seen, and nothing of the
// others.
func TestNetMembersControl(t *testing.T) {
	n := newMemberNetwork(t, "n1", "n2", "n3")
	victim := n.others(n.leader())[0]
	via := n.others(victim)[0]
	for _, tc := range []struct {
		name string
		do   func()
		want []string
	}{
		{"a member's machine dies", func() {
			g := n.heldBy(victim)
			n.cut(n.CutSilently, lab.Both, victim)
			if _, err := victim.SignalBoth(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			n.takenOver(settleLimit, victim, g.addrs()...)
			n.heal(victim)
			n.exit(victim, settleLimit)
			n.start(victim)
		}, []string{"was not answered for", "moved without need", "epoch"}},
		{"a member is cut off", func() {
			g := n.heldBy(victim)
			n.cut(n.CutSilently, lab.Both, victim)
			n.takenOver(settleLimit, victim, g.addrs()...)
			n.heal(victim)
		}, []string{"was not answered for", "moved without need", "the lease of " + victim.Name + " has lapsed"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n.t, n.fit.t = t, t
			wrong, _ := n.play(memberChange{what: tc.name, on: via, hurt: []*lab.Host{victim}, do: tc.do})
			t.Logf("wrong:\n%s", strings.Join(wrong, "\n"))
			for _, want := range tc.want {
				if !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, want) }) {
					t.Errorf("nobody saw %q", want)
				}
			}
			if i := slices.IndexFunc(wrong, func(w string) bool { return strings.Contains(w, "which nobody moved") }); i >= 0 {
				t.Errorf("others lost something: %s", wrong[i])
			}
		})
	}
	n.t, n.fit.t = t, t
}
