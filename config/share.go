package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/flip-ha/flip/fsm"
)

// share reads how much a server is to have, and what is said of it.
func (p *parser) share(o object, s *fsm.Server) {
	s.Weight = weight(o)
	if n, f := o.integer("capacity", 1, fsm.MaxCapacity); f.good {
		s.Capacity = int(n)
	}
	if zone, f := o.text("zone"); f.good {
		if !fsm.GoodZone(zone) {
			p.fail(f.at, f.key, "", "the name of a zone has at most %d bytes, this one has %d", fsm.MaxName, len(zone))
		}
		s.Zone = zone
	}
	s.Tags = p.tags(o)
}

// weight reads the key of that name. 1 is what nothing said means, and both are
// written alike.
func weight(o object) int {
	if n, f := o.integer("weight", 1, fsm.MaxWeight); f.good && n > 1 {
		return int(n)
	}
	return 0
}

// tags reads what systems select servers by.
func (p *parser) tags(o object) []fsm.Tag {
	v, f := o.get("tags")
	switch {
	case !f.set:
		return nil
	case v.kind != kindObject:
		p.wrong(v, f, `an object such as {"disk": "ssd"}`, "")
		return nil
	}
	var out []fsm.Tag
	for _, m := range v.members {
		g := field{at: m.value.at, keyAt: m.at, key: f.key + "." + m.name, set: true}
		if !p.tagName(m.name, g) {
			continue
		}
		if value, ok := p.tagValue(m.value, g, ""); ok {
			out = append(out, fsm.Tag{Name: m.name, Value: value})
		}
	}
	slices.SortFunc(out, func(a, b fsm.Tag) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (p *parser) tagName(name string, f field) bool {
	if !fsm.GoodTagName(name) {
		p.fail(f.keyAt, f.key, fmt.Sprintf("letters, digits and ._-/ are good, at most %d of them", fsm.MaxName), "a tag cannot be called %s", quote(name))
		return false
	}
	return true
}

// tagValue reads one value of a tag. What a star means here is said if it is one.
func (p *parser) tagValue(v *value, f field, star string) (string, bool) {
	if v.kind == kindNumber || v.kind == kindBool {
		p.wrong(v, f, "a string", fmt.Sprintf("with quotes: %q", v.describe()))
		return "", false
	}
	text, f := p.text(v, f)
	switch {
	case !f.good:
		return "", false
	case text == "*":
		p.fail(f.at, f.key, star, `"*" is no value: where a system selects, it means any`)
		return "", false
	case !fsm.GoodTagValue(text):
		p.fail(f.at, f.key, "", "the value of a tag is too long, it has %d bytes", len(text))
		return "", false
	}
	return text, true
}

// zones notes servers that were forgotten when the others got a zone.
func (p *parser) zones(f field, servers map[fsm.MemberID]fsm.Server) {
	var without []string
	there := false
	for name, s := range servers {
		there = there || s.Zone != ""
		if s.Zone == "" && len(s.Systems) > 0 {
			without = append(without, string(name))
		}
	}
	slices.Sort(without)
	if there && len(without) > 0 {
		p.note(f.keyAt, f.key, "", "servers without a zone count as one zone of their own: %s", some(without))
	}
}
