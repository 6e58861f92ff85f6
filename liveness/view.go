package liveness

import (
	"slices"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// view is what this process knows of the log: the State it has read, the newest
// list of voters it has seen, and who leads. It never goes back (L3).
type view struct {
	cfg     *Config
	without Rule // tests only
	votes   bool // this process is or may become a voter; else it is an agent

	state *fsm.State
	at    fsm.Index

	list      fsm.Voters // newest committed one, read in the log or named in an Ack
	listSince time.Duration

	leading    bool
	leader     fsm.VoterID
	ledFrom    time.Duration // since when leading
	lastLeader fsm.VoterID   // the newest one known, also while there is none …
	leaderless time.Duration // … since then

	sendTo electors
}

// electors are all that vote or are about to, by one Spec and one list.
type electors struct {
	spec  *fsm.Spec
	list  fsm.Index
	names []fsm.MemberID
}

func newView(cfg *Config) view {
	left := cfg.Without //nolint:forbidigo // handed on here, and set by tests only
	return view{cfg: cfg, without: left, votes: cfg.Voter, state: fsm.New(), listSince: cfg.Started}
}

// lead notes who leads.
func (v *view) lead(now time.Duration, leading bool, leader fsm.VoterID) {
	if leading && !v.leading {
		v.ledFrom = now
	}
	if leader == "" && v.leader != "" {
		v.leaderless = now
	}
	v.leading, v.leader = leading, leader
	if leader != "" {
		v.lastLeader = leader
	}
}

// read takes a newer State in; an older one is refused.
func (v *view) read(s *fsm.State, at fsm.Index) bool {
	if s == nil || (at < v.at && !v.without.has(RuleViewsForward)) {
		return false
	}
	v.state, v.at = s, at
	return true
}

// adopt follows a list of voters if it is newer than the one known.
func (v *view) adopt(now time.Duration, list fsm.Voters) bool {
	if len(list.IDs) == 0 || len(list.IDs) > maxVoters || list.Index == v.list.Index {
		return false
	}
	if list.Index < v.list.Index && !v.without.has(RuleViewsForward) {
		return false
	}
	v.list = fsm.Voters{Index: list.Index, IDs: slices.Clone(list.IDs)}
	v.listSince = now
	return true
}

// self is this process as a Raft server.
func (v *view) self() fsm.VoterID { return fsm.NewVoterID(v.cfg.Self, v.cfg.Instance) }

// spec is the agreed configuration, or the seed as long as there is none.
func (v *view) spec() *fsm.Spec {
	if s := v.state.Spec(); s.Version != 0 {
		return s
	}
	return &v.cfg.Seed
}

// ttl is the lease time that this process grants.
func (v *view) ttl() time.Duration {
	if ttl := bounded(v.spec().Timing.Lease); ttl > 0 {
		return ttl
	}
	return defaultLease
}

// late is how much later than it asked for a process may be called and still
// count as running (L4): it wakes for each of its heartbeats, so it has listened
// for a third of the lease, two heartbeats, in any case. On a busy machine all
// voters are a little late all the time, and must be able to vote.
func (v *view) late() time.Duration { return v.ttl() / 2 }

// beat is the time from one heartbeat to the next.
func (v *view) beat() time.Duration {
	if beat := bounded(v.spec().Timing.Heartbeat); beat > 0 {
		return beat
	}
	return defaultBeat
}

// election is how long Raft waits for an election at least.
func (v *view) election() time.Duration {
	if e := bounded(v.spec().Timing.RaftElection); e > 0 {
		return e
	}
	return defaultElection
}

// maxTTL is the largest lease time that the log has had, as far as it is read.
func (v *view) maxTTL() time.Duration { return max(bounded(v.state.MaxTTL()), v.ttl()) }

// slack is the slack of the largest lease time.
func (v *view) slack() time.Duration { return fsm.Slack(v.maxTTL()) }

// member is what the log shows of a member; the zero Member when it shows none.
func (v *view) member(m fsm.MemberID) fsm.Member {
	shown, _ := v.state.Member(m)
	return shown
}

// knows tells a member of this cluster from a name never heard of, so that
// nothing is remembered for the latter.
func (v *view) knows(m fsm.MemberID) bool {
	if _, ok := v.spec().Servers[m]; ok {
		return true
	}
	if _, ok := v.state.Member(m); ok {
		return true
	}
	return slices.ContainsFunc(v.list.IDs, func(id fsm.VoterID) bool { return id.Member() == m })
}

// voters are all that vote or are about to: the servers of the Spec and the
// newest list, without this process, by name. Nobody may change what it answers.
func (v *view) voters() []fsm.MemberID {
	if v.sendTo.spec != v.spec() || v.sendTo.list != v.list.Index {
		v.sendTo = electors{spec: v.spec(), list: v.list.Index, names: v.electors()}
	}
	return v.sendTo.names
}

func (v *view) electors() []fsm.MemberID {
	var all []fsm.MemberID
	for name, server := range v.spec().Servers {
		if server.Votes() {
			all = append(all, name)
		}
	}
	for _, id := range v.list.IDs {
		all = append(all, id.Member())
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return slices.DeleteFunc(all, func(m fsm.MemberID) bool { return m == v.cfg.Self })
}

// loggedList is the list by which votes count: the newest one known, if the log
// that this process has read shows the same.
func (v *view) loggedList() (fsm.Voters, bool) {
	if v.state.Voters().Index != v.list.Index || len(v.list.IDs) == 0 {
		return fsm.Voters{}, false
	}
	return v.list, true
}
