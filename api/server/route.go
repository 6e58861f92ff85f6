package server

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// route answers where a key is.
func (l local) route(r *http.Request) (any, error) {
	q := r.URL.Query()
	if !q.Has("system") || !q.Has("key") {
		return nil, badRoute("a look-up needs a system and a key")
	}
	if err := l.verify(r); err != nil {
		return nil, err
	}
	stamp, state := l.stamp()
	return RouteOf(state, stamp, fsm.SystemID(q.Get("system")), q.Get("key"))
}

// routeTable answers with what rows do not say.
func (l local) routeTable(r *http.Request) (any, error) {
	q := r.URL.Query()
	if !q.Has("system") {
		return nil, badRoute("which system?")
	}
	if err := l.verify(r); err != nil {
		return nil, err
	}
	stamp, state := l.stamp()
	sys, found := state.Spec().Systems[fsm.SystemID(q.Get("system"))]
	if !found {
		return nil, unknownSystem(state, fsm.SystemID(q.Get("system")))
	}
	table := tableOf(state, stamp, sys)
	table.Items = itemsOf(sys)
	return *table, nil
}

func badRoute(what string) error {
	return &api.Error{Code: api.CodeBadRequest, Message: what, Hint: api.PathRoute + "?system=NAME&key=KEY says where a key is"}
}

// RouteOf is where a key of a system is. It costs what the system's members do, however
// many items there are.
func RouteOf(s *fsm.State, stamp api.Stamp, system fsm.SystemID, key string) (api.Route, error) {
	sys, found := s.Spec().Systems[system]
	if !found {
		return api.Route{}, unknownSystem(s, system)
	}
	id := fsm.ItemID(key)
	if sys.Partitions != nil {
		id = sys.Partitions.Item(key)
	}
	at, found := slices.BinarySearchFunc(sys.Items, id, func(i fsm.Item, id fsm.ItemID) int { return cmp.Compare(i.ID, id) })
	if !found && id != "" {
		return api.Route{}, known(s, system, id)
	}
	if !found {
		return api.Route{}, badRoute("the key is empty")
	}
	item := routeItem(sys.Items[at])
	members := tableOf(s, stamp, sys).Directory(nil)
	owners := members.Owners(itemRows(s, sys, at))
	return api.Route{
		Stamp: stamp, System: system, Key: key, Item: id, Addresses: item.Addresses,
		Owners: owners, Members: members.Preference(item, owners),
	}, nil
}

// tableOf is the table of a system but for its items.
func tableOf(s *fsm.State, stamp api.Stamp, sys fsm.System) *api.RouteTable {
	t := &api.RouteTable{Stamp: stamp, System: sys.Name, Type: sys.Split.String(), Items: []api.RouteItem{}, Members: []api.RouteMember{}}
	if sys.Split == fsm.Shard || sys.Split == fsm.ChooseOne {
		t.Ranks = sys.Ranks()
	}
	if sys.Partitions != nil {
		t.Partitions = &api.RoutePartitions{Count: sys.Partitions.Count, Hash: sys.Partitions.Hash.String()}
	}
	servers := s.Spec().Servers
	for _, name := range sortedKeys(servers) {
		server := servers[name]
		t.Members = append(t.Members, api.RouteMember{
			Name: name, Address: server.Addr, State: memberState(s, name), Zone: server.Zone, Eligible: eligible(sys, server),
		})
	}
	// As placement orders them: by priority, lower first, then those without one.
	slices.SortStableFunc(t.Members, func(a, b api.RouteMember) int {
		x, y := servers[a.Name], servers[b.Name]
		switch {
		case x.HasPriority != y.HasPriority && x.HasPriority:
			return -1
		case x.HasPriority != y.HasPriority:
			return 1
		default:
			return cmp.Compare(x.Priority, y.Priority)
		}
	})
	return t
}

func itemsOf(sys fsm.System) []api.RouteItem {
	out := []api.RouteItem{}
	if sys.Partitions != nil {
		return out
	}
	for _, i := range sys.Items {
		out = append(out, routeItem(i))
	}
	return out
}

func routeItem(i fsm.Item) api.RouteItem {
	return api.RouteItem{ID: i.ID, Addresses: i.Addrs, Prefer: i.Prefer}
}

// eligible reports whether a server may have items of a system.
func eligible(sys fsm.System, server fsm.Server) bool {
	return !server.Removing && slices.Contains(server.Systems, sys.Name) && sys.Selects(server)
}

// itemRows are the rows of the item that stands at one place of a system's.
func itemRows(s *fsm.State, sys fsm.System, at int) []api.Row {
	if sys.Split == fsm.Replicate {
		sys.Items = sys.Items[at : at+1]
		return replicated(s, sys)
	}
	var rows []api.Row
	for rank := range sys.Ranks() {
		if slot, there := s.Slot(fsm.Key{System: sys.Name, Item: sys.Items[at].ID, Rank: rank}); there {
			rows = append(rows, rowOf(s, slot))
		}
	}
	return rows
}
