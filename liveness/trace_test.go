package liveness

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// sight is what is written to the trace when it changes.
type sight struct {
	leased, ready, superseded, done, voters, takeover, behind bool
	epoch                                                     fsm.Epoch
}

// observe writes down what has changed on a node.
func (w *world) observe(n *node) {
	now := n.local(w.now)
	left, leased := n.p.Lease(now)
	sees := sight{
		leased: leased, ready: n.p.Ready(now), superseded: n.p.Superseded(), done: n.p.GoodbyeDone(),
		voters: n.p.MayChangeVoters(now), takeover: n.p.TakeOver(now), epoch: n.p.Epoch(), behind: n.p.Behind(now),
	}
	was := n.seen
	n.seen = sees
	if sees.epoch != was.epoch {
		w.printf("%s has epoch %d", n.name, sees.epoch)
	}
	if leased != was.leased || (leased && sees.epoch != was.epoch) {
		if leased {
			w.printf("%s has a lease for %s", n.name, ms(left))
		} else {
			w.printf("%s has no lease", n.name)
		}
	}
	say := func(is, was bool, yes, no string) {
		if is && !was {
			w.printf("%s %s", n.name, yes)
		} else if !is && was {
			w.printf("%s %s", n.name, no)
		}
	}
	say(sees.ready, was.ready, "is ready", "is not ready")
	say(sees.superseded, was.superseded, "is superseded", "is not superseded")
	say(sees.done, was.done, "has said goodbye", "has not said goodbye")
	say(sees.voters, was.voters, "may change the voters", "may not change the voters")
	say(sees.behind, was.behind, "is behind", "is not behind")
	say(sees.takeover, was.takeover, "takes over", "does not take over")
}

// polled writes down once what a round of heartbeats asks.
func (w *world) polled(from fsm.MemberID, out []Out) {
	asked := ""
	for _, o := range out {
		if hb, ok := o.Msg.(Heartbeat); ok && len(hb.Polls) > 0 && polls(hb.Polls) != asked {
			asked = polls(hb.Polls)
			w.printf("%s sends%s", from, asked)
		}
	}
}

// message writes a message down; heartbeats and acknowledgements only on demand.
func (w *world) message(from From, o Out, lost bool) {
	note := ""
	if lost {
		note = " (lost)"
	}
	n := w.nodes[from.Member]
	switch m := o.Msg.(type) {
	case Heartbeat:
		if w.verbose {
			w.printf("%s>%s heartbeat %d sent %s list %d applied %d%s%s", from.Member, o.To, m.Epoch,
				ms(n.real(m.Sent)), m.Voters, m.Applied, polls(m.Polls), note)
		}
	case Ack:
		if w.verbose {
			w.printf("%s>%s ack %d sent %s ttl %s list %s applied %d%s", from.Member, o.To, m.Epoch,
				ms(w.real(o.To, m.Sent)), ms(m.TTL), list(m.Voters), m.Applied, note)
		}
	case Ballot:
		w.printf("%s>%s ballot: %s/%d down, poll of %s, list %d, silent %s%s", from.Member, o.To, m.Poll.Of,
			m.Poll.Epoch, ms(w.real(o.To, m.Poll.At)), m.Voters, ms(m.Silent), note)
	case Goodbye:
		w.printf("%s>%s goodbye %d kept %v%s%s", from.Member, o.To, m.Epoch, m.Kept,
			map[bool]string{true: " (dead)"}[m.Dead], note)
	case GoodbyeAck:
		w.printf("%s>%s goodbye acknowledged, %d kept%s", from.Member, o.To, m.Kept, note)
	}
}

// real is a node's clock as the trace counts.
func (n *node) real(local time.Duration) time.Duration { return n.global(local) }

func (w *world) real(name fsm.MemberID, local time.Duration) time.Duration {
	if n, ok := w.nodes[name]; ok {
		return n.real(local)
	}
	return local
}

func ms(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) }

func polls(all []Poll) string {
	var b strings.Builder
	for _, p := range all {
		fmt.Fprintf(&b, " poll %s/%d", p.Of, p.Epoch)
	}
	return b.String()
}

func list(v fsm.Voters) string {
	if len(v.IDs) == 0 {
		return fmt.Sprint(v.Index)
	}
	names := make([]string, 0, len(v.IDs))
	for _, id := range v.IDs {
		names = append(names, string(id.Member()))
	}
	return fmt.Sprintf("%d=%s", v.Index, strings.Join(names, ","))
}

// describe puts a command into words.
func describe(cmd fsm.Command) string {
	switch c := cmd.(type) {
	case fsm.Register:
		return fmt.Sprintf("register %s replacing %d", c.Member, c.Replaces)
	case fsm.Settle:
		return fmt.Sprintf("settle %s/%d", c.Member, c.Epoch)
	case fsm.Down:
		var votes []string
		for _, v := range c.Evidence {
			votes = append(votes, string(v.Voter.Member()))
		}
		slices.Sort(votes)
		why := "by " + strings.Join(votes, ",")
		if c.Goodbye != nil {
			why = strings.TrimSpace(why[len(why)-len(strings.Join(votes, ",")):] + " by goodbye")
		}
		return fmt.Sprintf("down %s/%d %s", c.Member, c.Epoch, why)
	case fsm.Goodbye:
		return fmt.Sprintf("goodbye %s/%d kept %v", c.Member, c.Epoch, c.Kept)
	case fsm.SetSpec:
		return fmt.Sprintf("spec lease %s", ms(c.Spec.Timing.Lease))
	case fsm.Assign:
		return fmt.Sprintf("assign %d", len(c.Moves))
	case fsm.RemoveMember:
		return fmt.Sprintf("remove %s", c.Member)
	default:
		return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", cmd), "fsm."))
	}
}

func verdict(r fsm.Result) string {
	if r.Applied {
		return ""
	}
	return " (refused: " + r.Why + ")"
}
