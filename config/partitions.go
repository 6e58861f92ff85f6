package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/flip-ha/flip/fsm"
)

// partitions reads how keys map to items.
func (p *parser) partitions(o object, split fsm.Split, action fsm.Action) *fsm.Partitions {
	v, f := o.get("partitions")
	if !f.set {
		return nil
	}
	if v.kind == kindNumber {
		p.wrong(v, f, "an object", `write {"count": `+v.text+`}`)
		return nil
	}
	in := p.object(v, f.key+".", levelPartitions)
	count, n := in.integer("count", 1, fsm.MaxPartitions)
	if in.is && !n.set {
		p.missing(n, "how many partitions there are; it stays that way: with another count keys map to others")
	}
	word, h := in.word("hash", []string{fsm.FNV64a.String(), fsm.FNV32a.String()})
	hash := fsm.FNV64a
	if h.good && word == fsm.FNV32a.String() {
		hash = fsm.FNV32a
	}
	switch {
	case split == fsm.ChooseOne:
		p.fail(f.keyAt, f.key, "take type shard", "type choose_one has all items on one server: there is nothing that keys could map to")
	case action == fsm.ActionIP:
		p.fail(f.keyAt, f.key, "take action hooks or client", "a partition is a number, and action ip has addresses")
	case n.good:
		return &fsm.Partitions{Count: int(count), Hash: hash}
	}
	return nil
}

// numbered are the items of a system with partitions: their numbers, in decimal.
func (p *parser) numbered(data field, of *fsm.Partitions) []fsm.Item {
	if data.set {
		p.fail(data.keyAt, data.key, "leave it out", "cannot stand beside partitions, which are the data")
	}
	if of == nil {
		return nil
	}
	items := make([]fsm.Item, of.Count)
	for i := range items {
		items[i].ID = fsm.ItemID(strconv.Itoa(i))
	}
	slices.SortFunc(items, func(a, b fsm.Item) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return items
}
