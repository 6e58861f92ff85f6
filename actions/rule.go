package actions

// Rule names one rule of the executor that a Core can be told to leave out.
// Only tests do that: each rule has a schedule in which the checker finds two
// holders, or a gap, once the rule is gone.
type Rule uint32

// The rules of this package that can be left out (LEASES.md, L9).
const (
	// RuleLogShown: a release is reported only for an entry that the log shows.
	RuleLogShown Rule = 1 << iota
	// RuleDownFirst: a release is reported only after `down` succeeded.
	RuleDownFirst
	// RuleFailedKeeps: what failed, up or down, does not count as let go.
	RuleFailedKeeps
	// RuleOwnMachine: entries of another machine are nobody's to sweep here.
	RuleOwnMachine
	// RuleAliveFirst: `acquired` is reported only after `alive` succeeded.
	RuleAliveFirst
)

func (r Rule) has(rule Rule) bool { return r&rule != 0 }
