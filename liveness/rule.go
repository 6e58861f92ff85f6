package liveness

// Rule names one rule of LEASES.md that a Process can be told to leave out.
// Only tests do that: each rule has a schedule in which the checker finds two
// holders once the rule is gone.
type Rule uint32

// The rules of this package that can be left out.
const (
	// RulePromise: a vote keeps the voter from acknowledging the epoch (L4).
	RulePromise Rule = 1 << iota
	// RuleStartPause: a voter that has just started neither grants nor votes
	// (L7). Without it nothing counts from the start: epochs and lists in the
	// first log read count as long shown, and a lease of its own as long held.
	RuleStartPause
	// RuleNoRevival: a lease that has ended never runs again in its epoch (L2).
	RuleNoRevival
	// RuleOldPolls: only answers of one poll, within ttl of it, count (L5).
	// Without it every answer ever given about the epoch does.
	RuleOldPolls
	// RuleHeldPoll: hearing a member drops the polls held about it (L4). Without
	// it a held poll goes by the silence there was when it arrived.
	RuleHeldPoll
	// RuleGoodbyeEpoch: a goodbye downs its own process's epoch only (L8).
	RuleGoodbyeEpoch
	// RuleGrantTTL: a grant lasts as long as its voter says (L1). Without it the
	// member counts with the ttl of its own log.
	RuleGrantTTL
	// RuleViewsForward: no log is read below an index read before (L3), no list
	// of voters followed that is older than one seen (L2).
	RuleViewsForward
	// RuleCommittedLists: only committed lists of voters are named (L1).
	RuleCommittedLists
	// RuleSpacing: the next change of voters waits for slack after a majority
	// has reported applying the last (L7). Without it, after the leader's apply.
	RuleSpacing
	// RuleFirstLease: the first lease of an epoch begins in time or never (L2).
	RuleFirstLease
	// RuleUnbrokenLease: a voter votes only with an unbroken lease (L4).
	RuleUnbrokenLease
	// RulePromiseWindow: an answer counts no longer than its promise stands (L5),
	// even when the leader's ttl has grown and its voter does not know yet.
	RulePromiseWindow
	// RuleRunning: a voter that was late itself does not vote until it has been
	// running for slack (L4).
	RuleRunning
)

// has reports whether the rules left out include r.
func (without Rule) has(r Rule) bool { return without&r != 0 }
