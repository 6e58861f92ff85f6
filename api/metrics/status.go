package metrics

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// StatusSource gives the status of this node. It must not block.
type StatusSource interface{ Status() api.Status }

// memberStates are all that a member can be in: a state set has a series of each.
var memberStates = []string{api.MemberUp, api.MemberDown, api.MemberNever, api.MemberLeaving, api.MemberUnsettled}

var gateStates = []string{api.GateOpen, api.GateShut, api.GateNone, api.GateNotNeeded}

var severities = []string{api.Critical, api.Warning, api.Note}

// statusCollector turns the status of the moment into metrics.
type statusCollector struct {
	families
	source StatusSource

	info, ready, waiting, epoch, leaseRunning, leaseLeft, drops                   family
	gateState, gateRenewal, addressItems, disputed                                family
	guardUp, guardRestarts, withheld                                              family
	index, age, hasLeader, leads, clusterInfo, specVersion                        family
	voters, votesNeeded, votesOthers, failover                                    family
	heartbeat, ttl, raftHeartbeat, raftElection                                   family
	memberInfo, memberState, memberVoter, memberGate, memberEpoch, heard, finding family
	rtt, loss                                                                     family
	systemInfo, items, owned, acquired, outstanding, unheld, servers              family
	maintenance, takeover, safeTakeover                                           family
	replicas, missing, braked, brakedItems, heldMoves, unplaced, claimed          family
	failures, differences, alarms                                                 family
}

func newStatusCollector(source StatusSource) *statusCollector {
	c := &statusCollector{source: source}
	c.nodeFamilies()
	c.clusterFamilies()
	c.memberFamilies()
	c.systemFamilies()
	return c
}

func (c *statusCollector) nodeFamilies() {
	c.info = c.gauge("flip_node_info", "This node: always 1.", "id", "instance", "version", "wire", "data_dir", "file")
	c.ready = c.gauge("flip_ready", "1 once a voter grants this node its lease again and its log has caught up: restart the next node only then.")
	c.waiting = c.gauge("flip_waiting_reasons", "What a node that is not ready waits for, counted; flip status has the words.")
	c.epoch = c.gauge("flip_epoch", "The newest registration of this process, an index of the log; 0: none yet.")
	c.leaseRunning = c.gauge("flip_lease_running", "1 while this node may hold at-most-one items.")
	c.leaseLeft = c.gauge("flip_lease_left_seconds", "For how long this node may still hold at-most-one items if it hears nothing more.")
	c.drops = c.counter("flip_drops_total", "Datagrams and connections refused, by reason and by the peer that they name (empty: none).", "peer", "reason")
	c.gateState = c.gauge("flip_gate_state", "1 for the state of this node's kernel gate, 0 for each other; none: it is wanted and cannot be had, takeovers wait instead.", "state")
	c.gateRenewal = c.gauge("flip_gate_renewal_last_seconds", "How long the last renewal of the kernel gate took; absent: none yet.")
	c.guardUp = c.gauge("flip_guard_up", "1 while a guard stands by to release what the daemon holds if it cannot; absent: none is needed.")
	c.guardRestarts = c.counter("flip_guard_restarts_total", "Guards that died or did not answer, and were replaced.")
	c.withheld = c.gauge("flip_items_withheld", "At-most-one items whose down hook fails here, so that nobody may start them.", "system")
	c.addressItems = c.gauge("flip_address_items", "Items whose addresses flip has plumbed here, behind the gate or not.", "system", "interface", "gated")
	c.disputed = c.gauge("flip_address_items_disputed", "Items for an address of which a host outside the cluster answers now.", "system")
	c.failures = c.gauge("flip_failures", "Items of a system that failed on a member and are remembered as failed.", "system", "member")
	c.differences = c.gauge("flip_file_differences", "Differences between this node's file and what the cluster has agreed.")
	c.alarms = c.gauge("flip_alarms", "Alarms that flip status shows, by severity.", "severity")
}

func (c *statusCollector) clusterFamilies() {
	c.index = c.gauge("flip_log_applied_index", "Index of the log up to which this node has applied it.")
	c.age = c.gauge("flip_log_age_seconds", "Time since this node last knew its log up to date; absent: never.")
	c.hasLeader = c.gauge("flip_has_leader", "1 if this node knows a leader.")
	c.leads = c.gauge("flip_is_leader", "1 if this node is the leader.")
	c.clusterInfo = c.gauge("flip_cluster_info", "The cluster: always 1.", "cluster", "leader", "leader_address", "preset")
	c.specVersion = c.gauge("flip_spec_version", "Index of the log at which the agreed configuration last changed.")
	c.voters = c.gauge("flip_voters", "Members with a vote, as committed.")
	c.votesNeeded = c.gauge("flip_quorum_votes", "Votes of others that it takes to call a lost voter down.")
	c.votesOthers = c.gauge("flip_quorum_others", "Voters other than a lost one.")
	c.failover = c.gauge("flip_failover_possible", "1 if the loss of any one member would be made good now.")
	c.heartbeat = c.gauge("flip_heartbeat_interval_seconds", "Interval of heartbeats as agreed.")
	c.ttl = c.gauge("flip_lease_duration_seconds", "Length of a lease as agreed: a lost member is called down about that long after its last heartbeat.")
	c.raftHeartbeat = c.gauge("flip_raft_heartbeat_timeout_seconds", "Silence of the leader after which an election begins.")
	c.raftElection = c.gauge("flip_raft_election_timeout_seconds", "Time that an election may take before it is begun again.")
}

func (c *statusCollector) memberFamilies() {
	c.memberInfo = c.gauge("flip_member_info", "A member: always 1.", "member", "address", "role", "instance")
	c.memberState = c.gauge("flip_member_state", "1 for the state that the log has a member in, 0 for each other.", "member", "state")
	c.memberVoter = c.gauge("flip_member_voter", "1 if a member is on the committed list of voters.", "member")
	c.memberGate = c.gauge("flip_member_gate", "1 if a member's kernel lets go of at-most-one addresses by itself when its lease ends.", "member")
	c.memberEpoch = c.gauge("flip_member_epoch", "A member's newest registration, an index of the log.", "member")
	c.heard = c.gauge("flip_member_heard_seconds", "Time since the last verified datagram of another member; absent: none yet.", "member")
	c.rtt = c.gauge("flip_peer_rtt_seconds", "Round trip of a heartbeat to a member; absent: not known.", "member")
	c.loss = c.gauge("flip_peer_loss_ratio", "Share of the heartbeats to a member that were not answered lately (to), and of its own that did not arrive (from); absent: not known.", "member", "direction")
	c.finding = c.gauge("flip_peer_finding", "What this node met when it tried to reach a member: 1 for the present finding (ok: reached).", "member", "protocol", "finding")
}

func (c *statusCollector) systemFamilies() {
	c.systemInfo = c.gauge("flip_system_info", "A system: always 1.", "system", "type", "action", "guarantee")
	c.servers = c.gauge("flip_system_servers", "Members that serve a system.", "system")
	c.items = c.gauge("flip_system_items", "Items of a system; a replica counts by itself.", "system")
	c.owned = c.gauge("flip_system_items_owned", "Items that are assigned to a member.", "system")
	c.acquired = c.gauge("flip_system_items_acquired", "Items whose owner has reported to hold them.", "system")
	c.outstanding = c.gauge("flip_system_outstanding", "Entries of members that may still hold an item that is not theirs.", "system")
	c.maintenance = c.gauge("flip_system_maintenance", "1 while nothing of a system is moved or repaired.", "system")
	c.takeover = c.gauge("flip_system_takeover_after_seconds", "How long after a holder was called down others take over what nobody has confirmed; absent: no such bet is made.", "system")
	c.safeTakeover = c.gauge("flip_system_takeover_safe_seconds", "The smallest safe value of that time.", "system")
	c.unheld = c.gauge("flip_system_items_unheld", "Items that nobody is known to hold; with replicas, those without a primary.", "system")
	c.replicas = c.gauge("flip_system_replicas", "How many members are to hold each item of a system.", "system")
	c.missing = c.gauge("flip_system_copies_missing", "Copies of items, besides the primary, that nobody is known to hold.", "system")
	c.braked = c.gauge("flip_system_braked", "1 while nothing of a system is moved, since too many of its servers were lost at once, until somebody cleans up.", "system")
	c.brakedItems = c.gauge("flip_system_items_braked", "Items that are not moved, since they failed again where they had just been moved, until somebody cleans up.", "system")
	c.claimed = c.gauge("flip_system_programs", "Of action client: members on which a program has claimed a system.", "system")
	c.heldMoves = c.gauge("flip_system_moves_held", "Moves that are wanted and held back for now; absent: not known on this node.", "system")
	c.unplaced = c.gauge("flip_system_items_unplaced", "Items, a replica counting by itself, that no member can have; absent: not known on this node.", "system")
}

// Collect implements prometheus.Collector.
func (c *statusCollector) Collect(ch chan<- prometheus.Metric) {
	st := c.source.Status()
	c.node(ch, st)
	c.cluster(ch, st)
	for _, m := range st.Members {
		c.member(ch, m)
	}
	for _, s := range st.Systems {
		name := string(s.Name)
		c.systemInfo.put(ch, 1, name, s.Type, s.Action, s.Guarantee)
		c.servers.put(ch, float64(len(s.Servers)), name)
		c.items.put(ch, float64(s.Items), name)
		c.owned.put(ch, float64(s.Owned), name)
		c.acquired.put(ch, float64(s.Acquired), name)
		c.outstanding.put(ch, float64(s.Outstanding), name)
		c.unheld.put(ch, float64(s.Unheld), name)
		c.maintenance.put(ch, truth(s.Maintenance), name)
		c.stuck(ch, s)
		if t := s.Takeover; t != nil {
			c.takeover.put(ch, seconds(t.MS), name)
			c.safeTakeover.put(ch, seconds(t.SmallestSafeMS), name)
		}
	}
	c.troubles(ch, st)
}

// stuck is what of a system does not move, or cannot be placed.
func (c *statusCollector) stuck(ch chan<- prometheus.Metric, s api.System) {
	name := string(s.Name)
	c.replicas.put(ch, float64(s.Replicas), name)
	c.missing.put(ch, float64(s.Missing), name)
	c.braked.put(ch, truth(s.Braked), name)
	c.brakedItems.put(ch, float64(s.BrakedItems), name)
	if s.Action == fsm.ActionClient.String() {
		c.claimed.put(ch, float64(len(s.Claimed)), name)
	}
	if s.Held != nil {
		c.heldMoves.put(ch, float64(*s.Held), name)
	}
	if s.Unplaced != nil {
		c.unplaced.put(ch, float64(*s.Unplaced), name)
	}
}

func (c *statusCollector) node(ch chan<- prometheus.Metric, st api.Status) {
	n := st.Node
	c.info.put(ch, 1, string(n.ID), n.Instance, n.Version, wire(n.Wire), n.DataDir, n.File)
	c.ready.put(ch, truth(n.Ready))
	c.waiting.put(ch, float64(len(n.Waiting)))
	c.epoch.put(ch, float64(n.Epoch))
	c.leaseRunning.put(ch, truth(n.Lease.Running))
	c.leaseLeft.put(ch, seconds(max(n.Lease.LeftMS, 0)))
	type from struct {
		peer   fsm.MemberID
		reason string
	}
	sum := map[from]uint64{}
	for _, d := range n.Drops {
		sum[from{d.Peer, d.Reason}] += d.Count
	}
	for k, count := range sum {
		c.drops.put(ch, float64(count), string(k.peer), k.reason)
	}
	if g := n.Guard; g.State == api.GuardRunning || g.State == api.GuardNone {
		c.guardUp.put(ch, truth(g.State == api.GuardRunning))
		c.guardRestarts.put(ch, float64(g.Restarts))
	}
	withheld := map[fsm.SystemID]int{}
	for _, w := range n.Withheld {
		withheld[w.System]++
	}
	for system, count := range withheld {
		c.withheld.put(ch, float64(count), string(system))
	}
	c.addresses(ch, n)
}

func (c *statusCollector) addresses(ch chan<- prometheus.Metric, n api.Node) {
	for _, s := range gateStates {
		c.gateState.put(ch, truth(n.Gate.State == s), s)
	}
	if n.Gate.RenewalUS > 0 {
		c.gateRenewal.put(ch, float64(n.Gate.RenewalUS)/1e6)
	}
	type place struct {
		system fsm.SystemID
		link   string
		gated  bool
	}
	items, disputed := map[place]int{}, map[fsm.SystemID]int{}
	for _, a := range n.Addresses {
		items[place{a.System, a.Interface, a.Gated}]++
		disputed[a.System] += int(truth(a.Stranger != ""))
	}
	for p, count := range items {
		c.addressItems.put(ch, float64(count), string(p.system), p.link, strconv.FormatBool(p.gated))
	}
	for system, count := range disputed {
		c.disputed.put(ch, float64(count), string(system))
	}
}

func (c *statusCollector) cluster(ch chan<- prometheus.Metric, st api.Status) {
	k := st.Cluster
	c.index.put(ch, float64(st.Index))
	if st.AgeMS >= 0 {
		c.age.put(ch, seconds(st.AgeMS))
	}
	c.hasLeader.put(ch, truth(k.Leader != ""))
	c.leads.put(ch, truth(k.Leader != "" && k.Leader == st.Node.ID))
	c.clusterInfo.put(ch, 1, k.ID, string(k.Leader), k.LeaderAddr, k.Timing.Preset)
	c.specVersion.put(ch, float64(k.SpecVersion))
	c.voters.put(ch, float64(len(k.Voters)))
	c.votesNeeded.put(ch, float64(k.Quorum.Votes))
	c.votesOthers.put(ch, float64(k.Quorum.Others))
	if !st.Partial { // an agent cannot tell
		c.failover.put(ch, truth(k.Failover.Possible))
	}
	c.heartbeat.put(ch, seconds(k.Timing.HeartbeatMS))
	c.ttl.put(ch, seconds(k.Timing.TTLMS))
	c.raftHeartbeat.put(ch, seconds(k.Timing.RaftHeartbeatMS))
	c.raftElection.put(ch, seconds(k.Timing.RaftElectionMS))
}

func (c *statusCollector) member(ch chan<- prometheus.Metric, m api.Member) {
	name := string(m.Name)
	c.memberInfo.put(ch, 1, name, m.Address, m.Role, m.Instance)
	if m.State != api.MemberUnknown { // to an agent all others are
		for _, s := range memberStates {
			c.memberState.put(ch, truth(m.State == s), name, s)
		}
	}
	c.memberVoter.put(ch, truth(m.Voter), name)
	c.memberGate.put(ch, truth(m.Gate), name)
	c.memberEpoch.put(ch, float64(m.Epoch), name)
	if m.HeardMS != nil {
		c.heard.put(ch, seconds(*m.HeardMS), name)
	}
	if m.RTTUS != nil {
		c.rtt.put(ch, float64(*m.RTTUS)/1e6, name)
	}
	for way, permille := range map[string]*int64{"to": m.LossPermille, "from": m.LossFromPermille} {
		if permille != nil {
			c.loss.put(ch, float64(*permille)/1e3, name, way)
		}
	}
	for _, f := range []struct{ protocol, code string }{{"tcp", m.TCP.Code}, {"udp", m.UDP.Code}} {
		if f.code != api.FindSelf {
			c.finding.put(ch, 1, name, f.protocol, cmp.Or(f.code, "unknown"))
		}
	}
}

func (c *statusCollector) troubles(ch chan<- prometheus.Metric, st api.Status) {
	type at struct {
		system fsm.SystemID
		member fsm.MemberID
	}
	failed := map[at]int{}
	for _, f := range st.Failures {
		failed[at{f.System, f.Member}]++
	}
	for k, n := range failed {
		c.failures.put(ch, float64(n), string(k.system), string(k.member))
	}
	c.differences.put(ch, float64(len(st.Differences)))
	count := map[string]int{}
	for _, s := range severities {
		count[s] = 0
	}
	for _, a := range st.Alarms {
		count[a.Severity]++
	}
	for _, s := range slices.Sorted(maps.Keys(count)) {
		c.alarms.put(ch, float64(count[s]), s)
	}
}

func wire(w [2]uint16) string { return itoa(w[0]) + "-" + itoa(w[1]) }

func seconds(ms int64) float64 { return float64(ms) / 1000 }
