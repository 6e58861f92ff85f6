package config

import (
	"cmp"
	"slices"

	"github.com/flip-ha/flip/fsm"
)

// data reads the items: strings, or objects with an id.
func (p *parser) data(o object, s *system, action fsm.Action, addrs *plumbed) []fsm.Item {
	v, f := o.get("data")
	if _, g := o.get("partitions"); g.set {
		return p.numbered(f, s.Partitions)
	}
	switch {
	case !f.set && s.Split == fsm.Nothing:
		return nil
	case !f.set:
		p.missing(f, "a list of strings, which may be empty")
		return nil
	case v.kind != kindArray:
		p.wrong(v, f, "a list", "")
		return nil
	}
	first := map[string]int{}
	items := make([]fsm.Item, 0, len(v.list))
	for _, entry := range v.list {
		item, g := p.item(entry, f, s, action, addrs)
		if !g.good {
			continue
		}
		id := string(item.ID)
		if at, twice := first[id]; twice {
			line, column := p.lines.at(at)
			p.fail(g.at, f.key, "remove one of the two", "%s is there twice, first at %d:%d", quote(id), line, column)
			continue
		}
		first[id] = g.at
		items = append(items, item)
	}
	slices.SortFunc(items, func(a, b fsm.Item) int { return cmp.Compare(a.ID, b.ID) })
	return items
}

// item reads one datum. With action 0, which could not be read, only its id
// counts.
func (p *parser) item(entry *value, data field, s *system, action fsm.Action, addrs *plumbed) (fsm.Item, field) {
	f := field{at: entry.at, keyAt: entry.at, key: data.key, set: true}
	var o object
	var id string
	switch entry.kind {
	case kindObject:
		o = p.object(entry, data.key+"[].", levelItem)
		if id, f = o.text("id"); !f.set && action != fsm.ActionIP {
			p.missing(f, "")
		}
	case kindString:
		id, f = p.text(entry, f)
	default:
		hint := ""
		if entry.kind == kindNumber {
			hint = "with quotes: \"" + entry.text + "\""
		}
		p.wrong(entry, f, "a string or an object with id", hint)
	}
	item := fsm.Item{}
	switch {
	case action == fsm.ActionIP && (f.good || !f.set):
		id, f = p.ipItem(&item, entry, o, id, f, &s.System, addrs)
	case action == fsm.ActionHooks, action == fsm.ActionClient:
		for _, name := range []string{"addresses", "interface"} {
			if _, g := o.get(name); g.set {
				p.fail(g.keyAt, g.key, `set "action": "ip"`, ofIP)
			}
		}
	}
	if o.is {
		p.wants(o, s, &item)
	}
	if f.good && len(id) > maxItem {
		p.fail(f.at, f.key, "", "a datum has at most %d bytes, this one has %d", maxItem, len(id))
		f.good = false
	}
	item.ID = fsm.ItemID(id)
	return item, f
}

// ipItem reads the addresses of a datum: the datum itself when it has no list of
// them. Without an id it is called by its first address, as written.
func (p *parser) ipItem(item *fsm.Item, entry *value, o object, id string, f field, s *fsm.System, addrs *plumbed) (string, field) {
	var dev, listed field
	item.Interface, dev = p.device(o)
	var texts []*value
	if o.is {
		if texts, listed = p.list(o, "addresses", mostItemAddrs); listed.set && len(texts) == 0 {
			p.fail(listed.at, listed.key, "", "is empty")
		}
	}
	if !listed.set {
		if !f.set {
			p.fail(entry.at, f.key, `write {"id": "web", "addresses": ["10.0.0.5"]}`, "is missing, and addresses too")
			return "", f
		}
		listed = f
		texts = []*value{{at: f.at, kind: kindString, text: id}}
	}
	local := item.Interface == "" && s.IP.Interface == ""
	good := len(texts) > 0 && (!dev.set || dev.good)
	for _, v := range texts {
		text, g := p.text(v, field{at: v.at, keyAt: v.at, key: listed.key, set: true})
		if !g.good {
			good = false
			continue
		}
		a, bad := itemAddress(text)
		if bad == nil && local && a.Addr().Is6() && a.Addr().IsLinkLocalUnicast() {
			bad = &wrongAddress{a.Addr().String() + " is link-local: it is in a subnet of every interface", `set "interface"`}
		}
		if bad != nil {
			good = false
			if o.is && listed == f {
				bad.hint = `"addresses" names them, or the id is one`
			}
			p.fail(g.at, g.key, bad.hint, "%s", bad.what)
			continue
		}
		if id == "" {
			id = text
		}
		good = p.hold(addrs, a.Addr(), g.at, g.key) && good
		item.Addrs = append(item.Addrs, a.String())
	}
	f.good = good && (f.good || !f.set)
	if !f.set {
		f = field{at: entry.at, keyAt: entry.at, key: f.key, set: true, good: f.good}
	}
	return id, f
}
