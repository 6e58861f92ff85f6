package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/flip-ha/flip/fsm"
)

// data compares the items of a system, of which there may be a million. Another number
// of partitions is said already.
func (d *differ) data(what string, a, b fsm.System) {
	var added, removed []string
	var changed [][2]fsm.Item
	for i, j := 0, 0; i < len(a.Items) || j < len(b.Items); {
		switch {
		case j == len(b.Items), i < len(a.Items) && a.Items[i].ID < b.Items[j].ID:
			removed = append(removed, string(a.Items[i].ID))
			i++
		case i == len(a.Items), b.Items[j].ID < a.Items[i].ID:
			added = append(added, string(b.Items[j].ID))
			j++
		default:
			if !sameItem(&a.Items[i], &b.Items[j]) {
				changed = append(changed, [2]fsm.Item{a.Items[i], b.Items[j]})
			}
			i, j = i+1, j+1
		}
	}
	if a.Partitions == nil || b.Partitions == nil {
		d.set(what+": data", removed, added)
	}
	for _, pair := range changed {
		d.item(what, pair[0], pair[1])
	}
}

func sameItem(a, b *fsm.Item) bool {
	return slices.Equal(a.Addrs, b.Addrs) && a.Interface == b.Interface && a.Load() == b.Load() && slices.Equal(a.Prefer, b.Prefer)
}

// item compares what is said of an item.
func (d *differ) item(what string, a, b fsm.Item) {
	of := func(part string) string { return fmt.Sprintf("%s: %s of %s", what, part, b.ID) }
	d.change(of("addresses"), strings.Join(a.Addrs, " "), strings.Join(b.Addrs, " "))
	d.change(of("interface"), a.Interface, b.Interface)
	d.change(of("weight"), strconv.Itoa(a.Load()), strconv.Itoa(b.Load()))
	d.change(fmt.Sprintf("%s: %s prefers", what, b.ID), strings.Join(plainStrings(a.Prefer), ", "), strings.Join(plainStrings(b.Prefer), ", "))
}
