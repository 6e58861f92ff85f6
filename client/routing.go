package client

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// routes are what look-ups read. They are replaced, never changed, but for the owners in
// their cells.
type routes struct {
	index    fsm.Index // of the newest event in it
	table    *api.RouteTable
	members  *api.Directory
	hashing  fsm.Partitions
	byNumber []*cell // where keys map to partitions
	byItem   map[fsm.ItemID]*cell
}

// cell is one item.
type cell struct {
	item   api.RouteItem
	owners atomic.Pointer[[]api.RouteOwner]
	rows   []api.Row // Run's own: those of the item, by rank and server
}

func (t *routes) find(key string) *cell {
	if t.byNumber != nil {
		return t.byNumber[t.hashing.Number(key)]
	}
	return t.byItem[fsm.ItemID(key)]
}

func (t *routes) unknown(key string) error {
	return &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("system %s has no item %s", t.table.System, key)}
}

// picture is a copy in the making: only Run touches it.
type picture struct {
	index   fsm.Index
	resync  bool // in the midst of the present state
	owed    bool // the table is to be read: the configuration may be another
	table   *api.RouteTable
	members *api.Directory
	states  map[fsm.MemberID]string // replaced, not changed: look-ups read it
	cells   map[fsm.ItemID]*cell    // of the table's items; look-ups read it
	numbers []*cell
	strays  map[fsm.ItemID]*cell // with rows, and not in the table (yet)
	touched map[*cell]struct{}
	moved   bool // a member's state is another
}

// take takes one event in. It reports whether that was the last of those that belong
// together.
func (p *picture) take(e api.Event) bool {
	if e.Resync {
		p.forget()
		p.resync, p.owed = true, true
	}
	p.index = e.Index
	if e.Slot != nil {
		p.row(*e.Slot, e.Kind == api.KindGone)
	}
	if e.MemberState != "" && p.states[e.Member] != e.MemberState {
		if !p.moved {
			p.states, p.moved = maps.Clone(p.states), true
		}
		p.states[e.Member] = e.MemberState
	}
	switch e.Kind {
	case fsm.KindConfigured, fsm.KindFounded, fsm.KindAdded, fsm.KindRemoving, fsm.KindRemoved, fsm.KindRole, fsm.KindMore:
		p.owed = true
	}
	return !e.More
}

// forget begins anew.
func (p *picture) forget() {
	*p = picture{table: p.table, states: map[fsm.MemberID]string{}, moved: true}
	p.strays, p.touched = map[fsm.ItemID]*cell{}, map[*cell]struct{}{}
}

// row puts a row in the place of the one of its key, or takes that away.
func (p *picture) row(r api.Row, gone bool) {
	c := p.cells[r.Item]
	if c == nil {
		c = p.strays[r.Item]
	}
	if c == nil {
		c = &cell{item: api.RouteItem{ID: r.Item}}
		p.strays[r.Item] = c
	}
	r.Outstanding, r.Seen, r.Reason, r.Why, r.Do = nil, nil, "", "", "" // a million of them are kept
	at, there := slices.BinarySearchFunc(c.rows, r, compareRows)
	switch {
	case there && gone:
		c.rows = slices.Delete(c.rows, at, at+1)
	case there:
		c.rows[at] = r
	case !gone:
		c.rows = slices.Insert(c.rows, at, r)
	}
	p.touched[c] = struct{}{}
}

func compareRows(a, b api.Row) int {
	return cmp.Or(cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.Key().Server, b.Key().Server))
}

// tabled takes another table in: items that it does not have any more become strays, and
// those that it has and that were strays, items.
func (p *picture) tabled(t api.RouteTable) error {
	items := t.Items
	if t.Partitions != nil {
		if _, known := t.Partitions.Hashing(); !known {
			return fmt.Errorf("its keys map to partitions by %q, which this program does not know", t.Partitions.Hash)
		}
		items = make([]api.RouteItem, t.Partitions.Count)
		for i := range items {
			items[i].ID = fsm.ItemID(strconv.Itoa(i))
		}
	}
	was := p.cells
	p.table, p.owed, p.cells, p.numbers = &t, false, make(map[fsm.ItemID]*cell, len(items)), nil
	for _, item := range items {
		c := &cell{item: item}
		for _, old := range []*cell{was[item.ID], p.strays[item.ID]} {
			if old != nil {
				c.rows = old.rows
			}
		}
		delete(p.strays, item.ID)
		p.cells[item.ID] = c
		if t.Partitions != nil {
			p.numbers = append(p.numbers, c)
		}
	}
	for id, c := range was { // which look-ups read: it stays as it is
		if _, still := p.cells[id]; !still && len(c.rows) > 0 {
			p.strays[id] = &cell{item: c.item, rows: c.rows}
		}
	}
	p.moved = true // whatever it is, all is to be shown anew
	return nil
}

// routes are what the copy is by now, for look-ups.
func (p *picture) routes() *routes {
	if p.moved {
		states := p.states
		p.members = p.table.Directory(func(m fsm.MemberID) string { return states[m] })
	}
	if p.moved {
		for _, c := range p.cells {
			p.show(c)
		}
	} else {
		for c := range p.touched {
			p.show(c)
		}
	}
	clear(p.touched)
	p.moved, p.resync = false, false
	out := &routes{index: p.index, table: p.table, members: p.members, byNumber: p.numbers, byItem: p.cells}
	if p.table.Partitions != nil {
		out.hashing, _ = p.table.Partitions.Hashing()
	}
	return out
}

func (p *picture) show(c *cell) {
	owners := p.members.Owners(c.rows)
	c.owners.Store(&owners)
}
