package main

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/api/server"
	"github.com/flip-ha/flip/config"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness/udp"
	"github.com/flip-ha/flip/raftnode"
	"github.com/flip-ha/flip/secure"
)

// udpSilent is how long a peer may say nothing by UDP before status calls it
// silent: three of the hails that are sent each second whatever happens.
const udpSilent = 3 * time.Second

// Status implements server.StatusSource.
func (d *daemon) Status() api.Status {
	state, at := d.node.View()
	phase := d.node.Phase()
	leader, addr := d.node.Leader()
	peers := d.findings(phase)
	_, partial := d.node.informed()
	return server.Compose(server.Local{
		Partial: partial,
		Node:    d.nodeStatus(phase),
		AgeMS:   d.node.Age().Milliseconds(), Leader: leader, LeaderAddr: addr,
		Peers: peers, Seed: &d.file.Spec, Differences: d.differences(state),
		Alarms: d.ownAlarms(phase),
		Unix:   time.Now().UnixMilli(), Outlook: d.outlook(state),
	}, state, at)
}

// outlook is what this node's plan holds back, and cannot place; nil: not known here.
func (d *daemon) outlook(state *fsm.State) *server.Outlook {
	n, serves := d.node.server()
	if !serves {
		return nil
	}
	o, known := n.Outlook()
	if !known {
		return nil
	}
	return &server.Outlook{
		Held: func(yield func(api.HeldMove) bool) {
			for _, h := range o.Held {
				slot, _ := state.Slot(h.Key)
				if !yield(api.HeldMove{
					System: h.System, Item: h.Item, Rank: h.Rank, From: slot.Owner, To: h.To,
					Reason: h.Reason, Why: h.Why, ForMS: h.For.Milliseconds(),
				}) {
					return
				}
			}
		},
		Unplaced: func(yield func(api.Unplaced) bool) {
			for _, u := range o.Unplaced {
				if !yield(api.Unplaced{System: u.System, Item: u.Item, Rank: u.Rank, Why: u.Why}) {
					return
				}
			}
		},
	}
}

// stamp is that of an answer, without the rest of a status, which counts all items.
func (d *daemon) stamp() api.Stamp {
	age := d.node.Age().Milliseconds() // before the index: it is no younger than that
	_, at := d.node.View()
	leader, _ := d.node.Leader()
	return api.Stamp{Index: at, AgeMS: age, Leader: string(leader)}
}

func (d *daemon) nodeStatus(phase raftnode.Phase) api.Node {
	left, leased := d.beat.Lease()
	ready := phase.Stage == raftnode.StageRunning && d.beat.Ready()
	var informant fsm.MemberID
	if a, ok := d.node.informed(); ok {
		informant = a.Source()
		ready = phase.Stage == raftnode.StageRunning && leased
	}
	return api.Node{
		ID: d.self.Name, Instance: d.self.Instance, Version: thisVersion().Version, Wire: wireVersions,
		PID: os.Getpid(), UptimeMS: time.Since(d.started).Milliseconds(),
		Phase: phase.Words, Informant: informant, Ready: ready, Waiting: d.waiting(phase, ready),
		Epoch: d.beat.Epoch(), Lease: api.Lease{Running: leased, LeftMS: left.Milliseconds()},
		Drops: d.drops(), DataDir: d.paths.data, File: d.paths.file,
		Gate: d.gateStatus(), Guard: d.guardStatus(), Addresses: d.addressStatus(), Withheld: d.withheld(),
	}
}

// waiting says what a node that is not ready waits for.
func (d *daemon) waiting(phase raftnode.Phase, ready bool) []string {
	if ready {
		return nil
	}
	words := phase.Words
	if phase.Stage == raftnode.StageRunning {
		words = "its first lease: voters that have just started grant nothing for a while"
		if d.beat.Epoch() == 0 {
			words = "its registration to be agreed on"
		}
	}
	out := []string{words}
	for _, f := range phase.Peers {
		if f.Trouble != raftnode.TroubleNone {
			out = append(out, f.Words)
		}
	}
	return out
}

// differences compares this node's file with what the cluster has agreed: the
// file counts at founding only.
func (d *daemon) differences(state *fsm.State) []string {
	if state.Spec().Version == 0 || !d.from.file {
		return nil
	}
	file := withMembersOf(*state.Spec(), d.file.Spec)
	if _, informed := d.node.informed(); informed {
		file = withSystemsOf(*state.Spec(), file)
	}
	return config.Diff(*state.Spec(), file)
}

// withSystemsOf is what a file says of the systems that an agent has been told of: of
// the others it cannot tell.
func withSystemsOf(agreed, file fsm.Spec) fsm.Spec {
	systems := map[fsm.SystemID]fsm.System{}
	for id, sys := range file.Systems {
		if _, told := agreed.Systems[id]; told {
			systems[id] = sys
		}
	}
	file.Systems = systems
	return file
}

// withMembersOf is what a file says, with who is a member as agreed: that changes
// while the cluster runs, and nobody is to touch the files for it.
func withMembersOf(agreed, file fsm.Spec) fsm.Spec {
	out, same := file, true
	out.Servers = map[fsm.MemberID]fsm.Server{}
	for name, s := range agreed.Servers {
		own, there := file.Servers[name]
		if same = same && there && !s.Removing && own.Role == s.Role; there {
			own.Role = s.Role // changed by `flip member promote` and `demote`
			s = own
		}
		out.Servers[name] = s
	}
	if !same || len(file.Servers) != len(agreed.Servers) {
		out.Quorum = agreed.Quorum // it is fitted to the number of voters
	}
	return out
}

// ownAlarms are what only this daemon knows of.
func (d *daemon) ownAlarms(phase raftnode.Phase) []api.Alarm {
	out := d.late.alarms()
	if phase.Stage == raftnode.StageRemoved {
		out = append(out, api.Alarm{
			Severity: api.Critical, What: phase.Words,
			Do: "stop flip here; to take part again, move " + d.paths.data + " away and start it anew",
		})
	}
	out = append(out, d.fencer.alarms()...)
	out = append(out, d.keys.alarms()...)
	out = append(out, d.certAlarms()...)
	if d.noMetrics != "" {
		out = append(out, api.Alarm{Severity: api.Warning, What: d.noMetrics, Do: noMetricsDo})
	}
	if d.bootOnly() {
		out = append(out, api.Alarm{Severity: api.Note, What: bootOnlyWhat, Do: bootOnlyDo})
	}
	return out
}

// withheld are the items whose `down` failed: nobody may start them as long as what
// it undoes may still be in effect.
func (d *daemon) withheld() []api.Withheld {
	var out []api.Withheld
	for _, slot := range d.exec.Status() {
		if slot.Withheld {
			out = append(out, api.Withheld{System: slot.System, Item: slot.Item, Rank: slot.Rank, Fails: slot.Fails, Error: slot.Err})
		}
	}
	return out
}

const (
	bootOnlyWhat = "this machine has no number of its own that flip can read (root may read the DMI product_uuid): after a reboot it counts as another machine, and at-most-one items that a crash left here stay blocked"
	bootOnlyDo   = "set `machine` in this node's file to something that only this machine has"
)

// bootOnly reports whether this machine can be told from others only until its
// next boot, and whether that matters here.
func (d *daemon) bootOnly() bool {
	if !strings.HasPrefix(d.host.Machine, fsm.BootMachine) {
		return false
	}
	spec := d.spec()
	for _, id := range spec.Servers[d.self.Name].Systems {
		if spec.Systems[id].Guarantee == fsm.AtMostOne {
			return true
		}
	}
	return false
}

// findings is what this node met on each peer's two ports.
func (d *daemon) findings(phase raftnode.Phase) map[fsm.MemberID]server.Peer {
	out := make(map[fsm.MemberID]server.Peer)
	for _, f := range phase.Peers {
		out[f.Name] = server.Peer{TCP: tcpFinding(f)}
	}
	if a, ok := d.node.informed(); ok && a.Source() != "" {
		out[a.Source()] = server.Peer{TCP: api.Finding{Code: api.FindOK}}
	}
	for _, s := range d.beat.Peers() {
		p := out[s.Name]
		p.Heard, p.Ever = s.Heard, s.Heard >= 0
		p.UDP = d.udpFinding(s)
		p.RTT, p.Loss, p.LossFrom, p.Measured = s.RTT, s.Loss, s.LossFrom, true
		out[s.Name] = p
	}
	return out
}

func tcpFinding(f raftnode.Finding) api.Finding {
	detail := f.Words
	if f.Hint != "" {
		detail += ": " + f.Hint
	}
	switch f.Trouble {
	case raftnode.TroubleNone:
		return api.Finding{Code: api.FindOK}
	case raftnode.TroubleName:
		return api.Finding{Code: api.FindSilent, Detail: detail}
	case raftnode.TroubleOther:
		return api.Finding{Code: api.FindName, Detail: detail}
	default: // the other words are the same on both sides
		return api.Finding{Code: string(f.Trouble), Detail: detail}
	}
}

func (d *daemon) udpFinding(s udp.PeerStats) api.Finding {
	_, port, err := net.SplitHostPort(d.spec().Servers[s.Name].Addr)
	if err != nil {
		port = "its port"
	}
	if s.Heard >= 0 && s.Heard < udpSilent {
		return api.Finding{Code: api.FindOK}
	}
	if s.Refused >= 0 && s.Refused < udpSilent {
		return refused(s)
	}
	switch {
	case time.Since(d.started) < udpSilent:
		return api.Finding{}
	default:
		return api.Finding{Code: api.FindSilent, Detail: "firewall? flip needs TCP and UDP on " + port}
	}
}

// refused says why what came from a peer lately was not taken.
func refused(s udp.PeerStats) api.Finding {
	switch s.Why {
	case udp.DropCluster:
		return api.Finding{Code: api.FindCluster, Detail: "it says it is of cluster " + s.OtherCluster}
	case udp.DropForeign:
		return api.Finding{Code: api.FindKey, Detail: "its heartbeats are sealed with another key"}
	case udp.DropOldKey:
		return api.Finding{Code: api.FindOldKey, Detail: string(s.Name) + "'s heartbeats are sealed with a key that was rotated away"}
	case udp.DropVersion:
		return api.Finding{Code: api.FindWire, Detail: "it speaks another wire version"}
	default:
		return api.Finding{Code: api.FindSilent, Detail: "what comes from it is dropped: " + s.Why.String()}
	}
}

// drops counts what was not taken, by peer; the rest is strangers'.
func (d *daemon) drops() []api.Drop {
	var out []api.Drop
	rest := d.beat.Drops()
	for _, s := range d.beat.Peers() {
		for why, n := range s.Drops {
			if n > 0 {
				out = append(out, api.Drop{Peer: s.Name, Reason: udp.Drop(why).String(), Count: n})
			}
			rest[why] -= min(n, rest[why])
		}
	}
	for why, n := range rest {
		if n > 0 {
			out = append(out, api.Drop{Reason: udp.Drop(why).String(), Count: n})
		}
	}
	for reason, n := range d.port.Failures() {
		if reason != secure.FailClosing {
			out = append(out, api.Drop{Reason: fmt.Sprintf("TCP: %s", reason), Count: n})
		}
	}
	slices.SortFunc(out, func(a, b api.Drop) int {
		return cmp.Or(cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}
