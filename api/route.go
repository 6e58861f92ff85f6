package api

import (
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// The paths of looking things up. PathRoute, with system=NAME&key=KEY, says where a key
// is. PathRouteTable, with system=NAME, has what somebody needs who answers that by
// himself from the rows of the system.
const (
	PathRoute      = "/v1/route"
	PathRouteTable = "/v1/route/table"
)

// Route answers a GET of PathRoute: where a key of a system is.
type Route struct {
	Stamp
	System fsm.SystemID `json:"system"`
	Key    string       `json:"key"`
	// Item is what the key maps to: one of the partitions, or the item of that name.
	Item      fsm.ItemID `json:"item"`
	Addresses []string   `json:"addresses,omitempty"` // the item's own, which move with it
	// Owners are whose it is, by rank: the first is the primary. Of a replicated system
	// they are all its servers, those that run first.
	Owners []RouteOwner `json:"owners"`
	// Members are the whole preference list: the owners, then those that the item
	// prefers, then its home, then the others that may have it, around the ring that the
	// servers of the system form in their order.
	Members []RouteMember `json:"members"`
}

// RouteOwner is whose one rank of an item is.
type RouteOwner struct {
	Rank    int          `json:"rank"`
	Member  fsm.MemberID `json:"member"`            // "": nobody's
	Address string       `json:"address,omitempty"` // HOST:PORT of flip there
	State   string       `json:"state"`             // as of Row
	Held    bool         `json:"held"`              // it is known to have it now
	Token   fsm.Token    `json:"token"`
	Home    fsm.MemberID `json:"home,omitempty"`
}

// RouteMember is a server in a preference list.
type RouteMember struct {
	Name    fsm.MemberID `json:"name"`
	Address string       `json:"address"`        // HOST:PORT of flip there
	State   string       `json:"state"`          // as of Member
	Zone    string       `json:"zone,omitempty"` // what may fail all at once with it
	// Eligible: it may have items of the system.
	Eligible bool `json:"eligible"`
}

// RouteTable answers a GET of PathRouteTable: what the rows of a system do not say. It
// is another one when the configuration is another, but for the states in it.
type RouteTable struct {
	Stamp
	System fsm.SystemID `json:"system"`
	Type   string       `json:"type"`
	Ranks  int          `json:"ranks"` // how many members are to hold each item; 0: it is nobody's, or all's
	// Partitions is there when keys map to partitions; the items then are their numbers,
	// and Items has none.
	Partitions *RoutePartitions `json:"partitions,omitempty"`
	Items      []RouteItem      `json:"items"`   // sorted
	Members    []RouteMember    `json:"members"` // all servers, in the order of preference
}

// RoutePartitions is how keys map to the items of a system: by the hash of the key,
// modulo Count.
type RoutePartitions struct {
	Count int    `json:"count"`
	Hash  string `json:"hash"`
}

// RouteItem is an item of a system.
type RouteItem struct {
	ID        fsm.ItemID     `json:"id"`
	Addresses []string       `json:"addresses,omitempty"`
	Prefer    []fsm.MemberID `json:"prefer,omitempty"`
}

// Hashing is the same as fsm has it; false: by a hash that this program does not know.
func (p RoutePartitions) Hashing() (fsm.Partitions, bool) {
	for _, h := range []fsm.Hash{fsm.FNV64a, fsm.FNV32a} {
		if h.String() == p.Hash && p.Count > 0 {
			return fsm.Partitions{Count: p.Count, Hash: h}, true
		}
	}
	return fsm.Partitions{}, false
}

// Directory finds members in a table, their states as of now.
type Directory struct {
	table *RouteTable
	at    map[fsm.MemberID]int
	state func(fsm.MemberID) string // nil: as the table has it
}

// Directory makes one; state is how a member is by now, nil or "": as the table says.
func (t *RouteTable) Directory(state func(fsm.MemberID) string) *Directory {
	d := &Directory{table: t, at: make(map[fsm.MemberID]int, len(t.Members)), state: state}
	for i, m := range t.Members {
		d.at[m.Name] = i
	}
	return d
}

func (d *Directory) member(i int) RouteMember {
	m := d.table.Members[i]
	if d.state == nil {
		return m
	}
	if now := d.state(m.Name); now != "" {
		m.State = now
	}
	return m
}

// runs reports whether a member does, for all that the log knows.
func runs(state string) bool {
	return state == MemberUp || state == MemberUnsettled || state == MemberLeaving
}

// Owners are whose an item is, by its rows: those of other ranks than the system has
// count for nothing.
func (d *Directory) Owners(rows []Row) []RouteOwner {
	if d.table.Ranks == 0 {
		return d.replicas(rows)
	}
	out := make([]RouteOwner, d.table.Ranks)
	for rank := range out {
		out[rank] = RouteOwner{Rank: rank, State: RowNobody}
	}
	for _, r := range rows {
		if r.Rank >= 0 && r.Rank < len(out) && r.State != RowRemoved {
			out[r.Rank] = d.owner(r)
		}
	}
	return out
}

func (d *Directory) owner(r Row) RouteOwner {
	o := RouteOwner{Rank: r.Rank, Member: r.Owner, State: r.State, Held: r.Held(), Token: r.Token, Home: r.Home}
	if i, known := d.at[r.Owner]; known {
		o.Address = d.table.Members[i].Address
	}
	return o
}

// replicas are the servers that hold a replicated item: first those that run, each in
// the table's order.
func (d *Directory) replicas(rows []Row) []RouteOwner {
	out := []RouteOwner{}
	for _, r := range rows {
		if r.Key().Server == "" {
			continue
		}
		o := d.owner(r)
		i, known := d.at[r.Owner]
		o.Held = o.Held && known && runs(d.member(i).State)
		out = append(out, o)
	}
	slices.SortStableFunc(out, func(a, b RouteOwner) int {
		switch {
		case a.Held && !b.Held:
			return -1
		case !a.Held && b.Held:
			return 1
		default:
			return d.at[a.Member] - d.at[b.Member]
		}
	})
	return out
}

// Preference is the preference list of an item whose owners these are.
func (d *Directory) Preference(item RouteItem, owners []RouteOwner) []RouteMember {
	out := []RouteMember{}
	listed := make([]bool, len(d.table.Members))
	add := func(name fsm.MemberID, always bool) {
		i, known := d.at[name]
		if known && !listed[i] && (always || d.table.Members[i].Eligible) {
			listed[i] = true
			out = append(out, d.member(i))
		}
	}
	first := 0 // where the ring begins: behind the primary, else behind its home
	for _, o := range owners {
		add(o.Member, true)
	}
	if len(owners) > 0 {
		for _, name := range []fsm.MemberID{owners[0].Home, owners[0].Member} {
			if at, known := d.at[name]; known {
				first = at + 1
			}
		}
	}
	for _, name := range item.Prefer {
		add(name, false)
	}
	for _, o := range owners {
		add(o.Home, false)
	}
	for i := range d.table.Members {
		add(d.table.Members[(first+i)%len(d.table.Members)].Name, false)
	}
	return out
}
