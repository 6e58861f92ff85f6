package api

import "github.com/flip-ha/flip/fsm"

// MaxProposal is the longest command a member may propose. 4,096 moves, the
// most that one command carries, are under 2 MB with the longest names.
const MaxProposal = 8 << 20

// Result is fsm.Result for the wire: what Apply answered.
type Result struct {
	Applied bool      `json:"applied"`
	Why     string    `json:"why,omitempty"`
	Epoch   fsm.Epoch `json:"epoch,omitempty"`
	Dropped []Move    `json:"dropped,omitempty"`
	Each    []Result  `json:"each,omitempty"`
	// Index is how far the leader had read its log by then, this command included;
	// 0 from one that does not say.
	Index fsm.Index `json:"index,omitempty"`
}

// Move is fsm.Move for the wire.
type Move struct {
	System fsm.SystemID `json:"system"`
	Item   fsm.ItemID   `json:"item"`
	Rank   int          `json:"rank"`
	Was    fsm.Token    `json:"was"`
	Home   fsm.MemberID `json:"home,omitempty"`
	To     fsm.MemberID `json:"to"`
	Reason string       `json:"reason,omitempty"`
	Cause  fsm.Cause    `json:"cause,omitempty"`
}

// ResultOf turns Apply's answer into its wire form.
func ResultOf(r fsm.Result) Result {
	out := Result{Applied: r.Applied, Why: r.Why, Epoch: r.Epoch}
	for _, m := range r.Dropped {
		out.Dropped = append(out.Dropped, Move{
			System: m.System, Item: m.Item, Rank: m.Rank,
			Was: m.Was, Home: m.Home, To: m.To, Reason: m.Reason, Cause: m.Cause,
		})
	}
	for _, e := range r.Each {
		out.Each = append(out.Each, ResultOf(e))
	}
	return out
}

// FSM is the way back.
func (r Result) FSM() fsm.Result {
	out := fsm.Result{Applied: r.Applied, Why: r.Why, Epoch: r.Epoch}
	for _, m := range r.Dropped {
		out.Dropped = append(out.Dropped, fsm.Move{
			Key: fsm.Key{System: m.System, Item: m.Item, Rank: m.Rank},
			Was: m.Was, Home: m.Home, To: m.To, Reason: m.Reason, Cause: m.Cause,
		})
	}
	for _, e := range r.Each {
		out.Each = append(out.Each, e.FSM())
	}
	return out
}
