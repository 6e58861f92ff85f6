package server

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// Local is what only this daemon knows; the rest of a status is in the State.
type Local struct {
	Node        api.Node
	AgeMS       int64 // as in api.Stamp
	Leader      fsm.MemberID
	LeaderAddr  string
	Peers       map[fsm.MemberID]Peer
	Seed        *fsm.Spec // this node's file: shown until the log has a Spec
	Differences []string  // between the file and the log
	Failures    []api.Failure
	Alarms      []api.Alarm // the daemon's own
	Partial     bool        // it is an agent's, which knows its own part alone
	Unix        int64       // this node's time, in milliseconds; 0: not known
	Outlook     *Outlook    // nil: not known here
}

// Peer is what this node found when it tried to reach a member.
type Peer struct {
	Heard    time.Duration // since its last verified datagram
	Ever     bool          // Heard means something
	TCP, UDP api.Finding
	RTT      time.Duration // of a heartbeat and its answer; 0: not known
	// Loss is the share of heartbeats to it that were not answered lately, LossFrom
	// of its own that did not arrive, 0 to 1; negative, or without Measured: not known.
	Loss, LossFrom float64
	Measured       bool
}

// Compose makes the status of a node. It is pure: every clock has been read
// into l.
func Compose(l Local, s *fsm.State, at fsm.Index) api.Status {
	spec := s.Spec()
	if spec.Version == 0 && l.Seed != nil {
		spec = l.Seed
	}
	st := api.Status{
		Stamp:       api.Stamp{Index: at, AgeMS: l.AgeMS, Leader: string(l.Leader)},
		Node:        l.Node,
		Members:     membersOf(l, s, spec),
		Systems:     systemsOf(s, spec, l.Partial),
		Failures:    slices.Concat(failuresOf(s), l.Failures),
		Differences: l.Differences,
		Partial:     l.Partial,
	}
	if g := &st.Node.Gate; g.State == api.GateOpen || g.State == api.GateShut {
		g.Protection = api.Protect(g.Owned)
	}
	l.Outlook.show(&st)
	st.Brakes = brakesOf(s)
	st.Cluster = clusterOf(l, s, spec)
	against := obstacles(st, s, spec)
	st.Cluster.Failover = failover(against)
	st.Alarms = alarms(st, s, l, against)
	return st
}

func clusterOf(l Local, s *fsm.State, spec *fsm.Spec) api.Cluster {
	t := spec.Timing
	return api.Cluster{
		ID: s.Cluster(), SpecVersion: s.Spec().Version,
		Leader: l.Leader, LeaderAddr: l.LeaderAddr,
		Voters: append([]fsm.VoterID{}, s.Voters().IDs...), // [], never null
		Quorum: quorumOf(s.Voters(), spec),
		Timing: api.Timing{
			Preset: t.Preset, HeartbeatMS: t.Heartbeat.Milliseconds(), TTLMS: t.Lease.Milliseconds(),
			RaftHeartbeatMS: t.RaftHeartbeat.Milliseconds(), RaftElectionMS: t.RaftElection.Milliseconds(),
		},
		Maintenance: maintenanceOf(s),
	}
}

// quorumOf says how many down votes a lost voter takes. Before there is a
// committed list it is what the file's servers will make of it.
func quorumOf(v fsm.Voters, spec *fsm.Spec) api.Quorum {
	n, majority := len(v.IDs), v.Majority()
	if n == 0 {
		n = len(spec.Staying())
		majority = n/2 + 1
	}
	q := api.Quorum{Votes: max(majority, min(spec.Quorum, n-1)), Others: max(n-1, 0)}
	switch {
	case n == 0:
		q = api.Quorum{Words: "not known yet"}
	case q.Votes > q.Others:
		q.Words = fmt.Sprintf("nobody calls a lost voter down: it takes %d votes of others, there can be %d", q.Votes, q.Others)
	default:
		q.Words = fmt.Sprintf("%d of the %d others call a lost voter down", q.Votes, q.Others)
	}
	return q
}

func membersOf(l Local, s *fsm.State, spec *fsm.Spec) []api.Member {
	out := []api.Member{}
	for _, name := range memberNames(s, spec) {
		server := spec.Servers[name]
		reg, known := s.Member(name)
		state := memberState(s, name)
		if l.Partial && !known {
			state = api.MemberUnknown
		}
		m := api.Member{
			Name: name, Address: server.Addr, Role: server.Role.String(), State: state,
			Epoch: reg.Epoch, Instance: reg.Host.Instance, Gate: reg.Gate,
			Voter: slices.ContainsFunc(s.Voters().IDs, func(v fsm.VoterID) bool { return v.Member() == name }),
		}
		if p, ok := l.Peers[name]; ok {
			m.TCP, m.UDP = p.TCP, p.UDP
			if p.Ever {
				ms := p.Heard.Milliseconds()
				m.HeardMS = &ms
			}
			m.RTTUS, m.LossPermille, m.LossFromPermille = p.quality()
		}
		if name == l.Node.ID {
			m.TCP, m.UDP, m.HeardMS = api.Finding{Code: api.FindSelf}, api.Finding{Code: api.FindSelf}, nil
			m.RTTUS, m.LossPermille, m.LossFromPermille = nil, nil, nil
		}
		out = append(out, m)
	}
	return out
}

// quality is the way to a member as it goes over the wire.
func (p Peer) quality() (rttUS, loss, lossFrom *int64) {
	if p.RTT > 0 {
		us := max(p.RTT.Microseconds(), 1)
		rttUS = &us
	}
	permille := func(share float64) *int64 {
		if !p.Measured || share < 0 {
			return nil
		}
		n := int64(math.Round(share * 1000))
		return &n
	}
	return rttUS, permille(p.Loss), permille(p.LossFrom)
}

func systemsOf(s *fsm.State, spec *fsm.Spec, partial bool) []api.System {
	out := []api.System{}
	for _, id := range sortedKeys(spec.Systems) {
		sys := spec.Systems[id]
		as := api.System{
			Name: id, Type: sys.Split.String(), Action: sys.Action.String(), Guarantee: sys.Guarantee.String(),
			Servers:     append([]fsm.MemberID{}, serversOf(spec, id)...),
			Outstanding: outstandingOf(s, id),
			Maintenance: s.Maintained(id), Takeover: takeoverOf(s, spec, sys), Fence: sys.Fence,
			Replicas: sys.Ranks(),
		}
		_, as.Braked = brakeOf(s, id)
		if sys.Action == fsm.ActionClient {
			as.Claimed = claimedBy(s, id)
		}
		switch {
		case sys.Split == fsm.Nothing:
		case sys.Split != fsm.Replicate:
			countSlots(&as, s, sys, partial)
		case !partial: // else the others are not known
			countReplicated(&as, s, sys)
		}
		out = append(out, as)
	}
	return out
}

// claimedBy are the members on which a program has claimed a system.
func claimedBy(s *fsm.State, id fsm.SystemID) []fsm.MemberID {
	var out []fsm.MemberID
	for name, m := range s.Members() {
		if m.Up && m.HasProgram(id) {
			out = append(out, name)
		}
	}
	return out
}

// outstandingOf counts the entries of a system that are not void, those of
// items no longer configured included.
func outstandingOf(s *fsm.State, id fsm.SystemID) int {
	n := 0
	for slot := range s.SlotsOf(id) {
		for _, e := range slot.Outstanding {
			if !e.Void {
				n++
			}
		}
	}
	return n
}

func countReplicated(as *api.System, s *fsm.State, sys fsm.System) {
	if s.Spec().Version == 0 {
		as.Items = len(sys.Items) * len(as.Servers)
		as.Unheld = as.Items
		return
	}
	for _, row := range replicated(s, sys) {
		as.Items++
		as.Owned++
		if row.State == api.RowReplicated {
			as.Acquired++
		}
	}
}

// countSlots counts the items of one system; partial: those there are, since the
// others' are not known.
func countSlots(as *api.System, s *fsm.State, sys fsm.System, partial bool) {
	var placed [2]int // primaries, and other ranks
	for slot := range s.SlotsOf(sys.Name) {
		if !configured(s.Spec(), slot.Key) {
			continue
		}
		placed[min(slot.Rank, 1)]++
		row := rowOf(s, slot)
		if slot.Owner != "" {
			as.Owned++
		}
		if row.Held() {
			as.Acquired++
		}
		if slot.Braked {
			as.BrakedItems++
		}
		if row.Held() || heldByAnother(s, slot) {
			continue
		}
		if slot.Rank == 0 {
			as.Unheld++
		} else {
			as.Missing++
		}
	}
	as.Items = len(sys.Items) * sys.Ranks()
	if partial {
		as.Items = placed[0] + placed[1]
		return
	}
	as.Unheld += len(sys.Items) - placed[0]
	as.Missing += as.Items - len(sys.Items) - placed[1]
}

// heldByAnother reports whether a member that runs keeps an at-least-one item
// while its new owner is still acquiring it.
func heldByAnother(s *fsm.State, slot fsm.Slot) bool {
	return !slot.AtMostOne && slices.ContainsFunc(slot.Outstanding, func(e fsm.Entry) bool {
		m, known := s.Member(e.Member)
		return known && m.Up && m.Host == e.Host && !e.Void
	})
}

func failuresOf(s *fsm.State) []api.Failure {
	var out []api.Failure
	for m, f := range s.Failures() {
		out = append(out, api.Failure{
			System: f.System, Item: f.Item, Rank: f.Rank, Member: m, Token: f.Token, Error: f.Err,
		})
	}
	return out
}
