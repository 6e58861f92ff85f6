package sim

import (
	"fmt"
	"strings"
)

// Counter names something that a World counts.
type Counter int

// Faults first, then what the cluster decided.
const (
	Dropped Counter = iota
	Doubled
	Delayed
	LostRequests
	LogCuts
	Stalls
	Elections
	LateCommits
	LostCommits
	Kills
	Starts
	Reboots
	Wipes
	Replacements
	Freezes
	HooksFailed
	HooksHung
	HooksForked
	HooksKilled
	LateAlives
	StuckLanded
	GuardKills
	GuardFreezes
	GuardsStarved
	PipesClosed
	EffectsStarved
	GateShut
	Starved
	CarriersLost
	AddressesExpired
	SpecGuarantee
	SpecTTL
	ItemsAdded
	ItemsRemoved
	SpecReplicas
	SpecPrefer
	Cleanups
	Forces
	Leaves

	Registrations
	RegistrationsRefused
	Overdue
	Downs
	DownsByVote
	DownsByGoodbye
	DownsRefused
	MovesDropped
	Polls
	Ballots
	HeldPolls
	Acks
	Refusals
	Promises
	Lapses
	Moves
	RanksRaised
	RanksLowered
	SystemsBraked
	ItemsBraked
	MovesBraked
	Acquires
	Releases
	ReportsAcquired
	ReportsReleased
	ReportsSwept
	ReportsFailed
	ReportsUnfit
	ReportsMended
	Settles
	Goodbyes
	VoterChanges
	TakeOvers
	GateOpened
	GateRenewed
	GateRefused
	GateWaits
	AddressesRefreshed
	AddressesSwept
	BetsWon
	Guards
	GuardWaits
	KillsByGuard
	GuardRemoves
	GuardDowns
	GuardGoodbyes
	GuardExits
	LockWaits
	OrphansEnded
	ListedReleased
	ListedAdopted
	BetsLost

	// From here on: where members come and go.
	Superseded // a voter that was replaced gets no log, and never learns of it
	Adds
	Marks
	MarksBack
	DeadRemoved
	Joins
	Removals
	RemovedExits
	VotesGiven
	VotesTaken
	HandOvers
	RolesChanged
	Promotions
	Demotions
	StreamsBroken
	StaleVoters
	StreamsSilent
	StreamsBehind
	StreamsRefused
	StreamsLeaderless
	ChangeOvers
	Parts
	PartsAnew
	AgentGoodbyes
	LeaverGoodbyes
	Rotations
	KeysAcked
	KeyPhases
	KeysWithout
	KeysRefused
	KeysHandedOut
	counters
)

var counterNames = [counters]string{
	"dropped", "doubled", "delayed", "lost requests", "log cuts", "stalls", "elections", "late commits", "lost commits",
	"kills", "starts", "reboots", "wipes", "replacements", "freezes", "hooks failed", "hooks hung", "hooks caught between fork and exec", "hooks killed",
	"late alives", "stuck calls landed",
	"guards killed", "guards frozen", "guards starved", "pipes closed", "effects starved", "gate shut",
	"gate starved", "carriers lost", "addresses expired",
	"guarantee changed", "ttl changed", "items added", "items removed", "replicas changed", "preferences changed", "cleanups", "forces", "leaves",
	"registrations", "registrations refused", "overdue", "downs", "downs by vote", "downs by goodbye", "downs refused",
	"moves dropped", "polls", "ballots", "held polls", "acks", "refusals", "promises kept", "lapses", "moves",
	"ranks raised", "ranks lowered", "systems braked", "items braked", "moves braked",
	"acquires", "releases", "reports acquired", "reports released", "reports swept", "reports failed", "reports unfit", "reports mended", "settles",
	"goodbyes", "voter changes", "take-overs", "gate opened", "gate renewed", "gate refused", "gate waits", "addresses refreshed",
	"addresses swept", "bets won",
	"guards", "guard waits", "kills by guard", "removes by guard", "downs by guard", "goodbyes by guard", "guards exited", "lock waits", "orphans ended", "listed released", "listed adopted", "bets lost",
	"superseded", "servers added", "servers marked", "marks taken back", "dead ones removed", "joins", "removals", "exits of the removed", "votes given", "votes taken", "hand-overs",
	"roles changed", "promotions", "demotions", "streams broken", "stale voters", "streams silent", "streams behind", "streams refused", "streams without a leader", "change-overs", "parts", "parts anew",
	"goodbyes of agents", "goodbyes of leavers", "rotations", "keys acknowledged", "key phases", "members rotated without", "datagrams under another key", "keys handed out",
}

// online are the counters that count only where members come and go.
const online = Superseded

// String is the counter's name.
func (c Counter) String() string { return counterNames[c] }

// Counters are all counts of one World, or of many added up.
type Counters [counters]int

func (c *Counters) add(which Counter)         { c[which]++ }
func (c *Counters) addN(which Counter, n int) { c[which] += n }

// Sum adds another World's counts.
func (c *Counters) Sum(o *Counters) {
	for i, n := range o {
		c[i] += n
	}
}

// String lists all counts in one line.
func (c *Counters) String() string {
	var b strings.Builder
	for i, n := range c {
		fmt.Fprintf(&b, "%s %d, ", Counter(i), n)
	}
	return strings.TrimSuffix(b.String(), ", ")
}

// Zero are the counters that have counted nothing.
func (c *Counters) Zero() []Counter {
	var none []Counter
	for i, n := range c {
		if n == 0 {
			none = append(none, Counter(i))
		}
	}
	return none
}
