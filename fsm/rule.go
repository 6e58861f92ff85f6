package fsm

// Rule names one rule of LEASES.md that a State can be told to leave out. Only
// tests do that: each rule has a schedule in which the checker finds two
// holders once the rule is gone.
type Rule uint32

// The rules of this package that can be left out.
const (
	RuleOutstanding       Rule = 1 << iota // a move adds the old owner's entry
	RuleReportToken                        // a report must name its token
	RuleDownSparesUngated                  // Down removes gated entries only
	RuleFreshToken                         // a change of kind gives a new token
	RuleRemovalWaits                       // a member is not removed while entries name it
	RuleRemovedKeepsSet                    // a removed item keeps its outstanding set
	RuleUnsettled                          // another machine begins unsettled, the former instance outstanding
	RuleReplaces                           // a registration names what it replaces
	RuleGoodbyeEpoch                       // a goodbye counts up to its process's epochs only
	RuleAcquiredToken                      // `acquired` must name the slot's token
	RuleReleaseLast                        // at-least-one: an entry stays until `acquired`
	RuleOwnMachine                         // a process sweeps and reports its own machine's entries only
)
