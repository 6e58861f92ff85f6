package api

import (
	"strings"

	"github.com/flip-ha/flip/fsm"
)

// The paths of members: a GET, and POSTs that change who is one. Each change is
// agreed on when its answer comes; what follows from it the leader does by itself,
// and MemberInfo.Waits says what is still to come.
const (
	PathMembers       = "/v1/members"
	PathMemberAdd     = "/v1/members/add"
	PathMemberRemove  = "/v1/members/remove"
	PathMemberPromote = "/v1/members/promote"
	PathMemberDemote  = "/v1/members/demote"
)

// MaxVoters is the most voters that a cluster may have: each commit waits for a
// majority of them.
const MaxVoters = 7

// Members answers a GET of PathMembers: everybody that the configuration or the
// log names.
type Members struct {
	Stamp
	Voters  VoterSummary `json:"voters"`
	Members []MemberInfo `json:"members"` // by name
}

// Find is the member of a name.
func (m Members) Find(name fsm.MemberID) (MemberInfo, bool) {
	for _, info := range m.Members {
		if info.Name == name {
			return info, true
		}
	}
	return MemberInfo{}, false
}

// VoterSummary is what the voters decide with.
type VoterSummary struct {
	Have     int `json:"have"`     // on the committed list
	Majority int `json:"majority"` // what a commit takes
	Quorum   int `json:"quorum"`   // votes of others that call a lost voter down
	// BearsLost is how many voters may be lost at once while the others go on.
	BearsLost int    `json:"bears_lost"`
	Words     string `json:"words"`
}

// MemberInfo is one member as the cluster has agreed.
type MemberInfo struct {
	Name     fsm.MemberID   `json:"name"`
	Addr     string         `json:"addr"`
	Role     string         `json:"role"` // voter, arbiter or agent; "" of a member that only the log knows
	Systems  []fsm.SystemID `json:"systems"`
	Priority *int           `json:"priority,omitempty"`
	Weight   int            `json:"weight"`             // its share of each system's load, relative to the others'
	Capacity int            `json:"capacity,omitempty"` // the most that it holds of any one system; 0: no limit
	Zone     string         `json:"zone,omitempty"`
	// Tags are what is said of it, for systems to select by.
	Tags     map[string]string `json:"tags,omitempty"`
	State    string            `json:"state"` // as of Member
	Leader   bool              `json:"leader,omitempty"`
	Vote     bool              `json:"vote"`
	Removing bool              `json:"removing,omitempty"`
	Items    int               `json:"items"`   // it owns
	Entries  int               `json:"entries"` // items of others that it may still hold
	Epoch    fsm.Epoch         `json:"epoch"`
	Instance string            `json:"instance,omitempty"`
	// Waits is why its joining, its removal or its change of role is not done yet, in
	// words; empty: it is.
	Waits []string `json:"waits,omitempty"`
}

// MemberAdd asks to make a member of a node. No Systems: all that there are.
type MemberAdd struct {
	Name     fsm.MemberID   `json:"name"`
	Addr     string         `json:"addr"` // IP:PORT, for TCP and UDP
	Systems  []fsm.SystemID `json:"systems,omitempty"`
	Priority *int           `json:"priority,omitempty"`
	Role     string         `json:"role,omitempty"`     // voter; arbiter, which serves no system; agent, which has no vote
	Weight   int            `json:"weight,omitempty"`   // its share of each system's load, relative to the others'; 0: 1
	Capacity int            `json:"capacity,omitempty"` // the most that it holds of any one system; 0: no limit
	Zone     string         `json:"zone,omitempty"`     // what may fail all at once with it
	// Tags are what is said of it, for systems to select by.
	Tags map[string]string `json:"tags,omitempty"`
}

// MemberRemove asks to take a member out of the cluster.
type MemberRemove struct {
	Name fsm.MemberID `json:"name"`
}

// MemberPromote asks to make a voter of an agent: an arbiter, if it serves nothing.
type MemberPromote struct {
	Name fsm.MemberID `json:"name"`
}

// MemberDemote asks to make an agent of a voter. It keeps what it has.
type MemberDemote struct {
	Name fsm.MemberID `json:"name"`
}

// MemberChanged answers all four: the member as it is by then.
type MemberChanged struct {
	Stamp
	Member   MemberInfo `json:"member"`
	Warnings []string   `json:"warnings,omitempty"`
}

// PathJoin is on the members-only port: a node that has the key and belongs to no
// cluster yet asks whether it was added.
const PathJoin = "/v1/peer/join"

// Join is such a question.
type Join struct {
	Name     fsm.MemberID `json:"name"`
	Instance string       `json:"instance"`
	Version  string       `json:"version"`
	Wire     [2]uint16    `json:"wire"`
	Cluster  string       `json:"cluster,omitempty"` // of its data directory; "": of none
}

// Joined is the answer. Spec, a fsm.SetSpec as fsm encodes it, is there once the
// configuration names who asks.
type Joined struct {
	Cluster string    `json:"cluster"` // "": not founded yet
	Index   fsm.Index `json:"index"`   // as far as the one who answers has read the log
	Named   bool      `json:"named"`
	// Removing: the configuration names who asks, as one that is to be taken out.
	Removing bool     `json:"removing,omitempty"`
	Spec     []byte   `json:"spec,omitempty"`
	Leader   string   `json:"leader,omitempty"`
	Keys     *KeyHint `json:"keys,omitempty"`
	// Others are the servers that could be asked too, HOST:PORT.
	Others []string `json:"others,omitempty"`
}

// CodeTaken says that another node has the name that this one joins under.
const CodeTaken = "taken"

// Nearest is the name closest to word, "" when none is close enough to be what
// was meant.
func Nearest[T ~string](word string, names []T) T {
	var best T
	bestAt := len(word)/3 + 2 // a third of the letters may be wrong
	for _, name := range names {
		if d := distance(strings.ToLower(word), strings.ToLower(string(name))); d < bestAt {
			best, bestAt = name, d
		}
	}
	return best
}

// distance counts the letters to insert, delete or replace.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	const longest = 100 // no slip of a name
	if len(x) > longest || len(y) > longest {
		return longest
	}
	last, row := make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := range x {
		row[0] = i + 1
		for j := range y {
			differ := 1
			if x[i] == y[j] {
				differ = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+differ)
		}
		last, row = row, last
	}
	return last[len(y)]
}
