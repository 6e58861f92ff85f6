package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/flip-ha/flip/fsm"
)

// selection reads which of the servers that list a system may hold its items.
func (p *parser) selection(o object, s *system) {
	v, f := o.get("select")
	word, m := o.word("match", []string{"all", "any"})
	s.names.selects = f
	switch {
	case !f.set && m.set:
		p.fail(m.keyAt, m.key, "leave it out, or name tags in select", "nothing is selected that could match")
		return
	case !f.set:
		return
	case v.kind != kindObject:
		p.wrong(v, f, `an object of tags such as {"disk": "ssd"}`, "")
		return
	case len(v.members) == 0:
		p.fail(v.at, f.key, "leave it out: then all servers that list the system may hold its items", "is empty")
		return
	}
	before := len(p.errs)
	s.SelectAny = word == "any" && len(v.members) > 1 // of one, any is all
	for _, m := range v.members {
		g := field{at: m.value.at, keyAt: m.at, key: f.key + "." + m.name, set: true}
		if !p.tagName(m.name, g) {
			continue
		}
		if values, ok := p.selectValues(m, g, s); ok {
			s.Select = append(s.Select, fsm.Match{Tag: m.name, Values: values})
		}
	}
	s.names.selects.good = len(p.errs) == before
	slices.SortFunc(s.Select, func(a, b fsm.Match) int { return strings.Compare(a.Tag, b.Tag) })
}

// selectValues reads the values of a tag, of which a server must have one; none: any.
func (p *parser) selectValues(m member, f field, s *system) ([]string, bool) {
	if m.value.kind == kindString && m.value.text == "*" {
		s.names.values = append(s.names.values, tagged{tag: m.name, key: f.key, at: f.keyAt})
		return nil, true
	}
	entries := []*value{m.value}
	if m.value.kind == kindArray {
		entries = m.value.list
	}
	if len(entries) == 0 {
		p.fail(f.at, f.key, `"*" is any value`, "is empty")
		return nil, false
	}
	var values []string
	for _, v := range entries {
		text, ok := p.tagValue(v, field{at: v.at, keyAt: v.at, key: f.key, set: true}, `"*" stands alone, outside a list`)
		switch {
		case !ok:
		case slices.Contains(values, text):
			p.fail(v.at, f.key, "remove one of the two", "%s is there twice", quote(text))
		default:
			values = append(values, text)
			s.names.values = append(s.names.values, tagged{tag: m.name, value: text, key: f.key, at: v.at})
		}
	}
	slices.Sort(values)
	return values, len(values) > 0
}

// selected are those of the servers that may hold a system's items. Values that none
// has are slips, or wait for a server that is to come.
func (p *parser) selected(s *system, who []fsm.Server) []fsm.Server {
	if len(s.Select) == 0 {
		return who
	}
	may := slices.DeleteFunc(slices.Clone(who), func(server fsm.Server) bool { return !s.Selects(server) })
	there := map[string]map[string]bool{}
	for _, server := range who {
		for _, t := range server.Tags {
			if there[t.Name] == nil {
				there[t.Name] = map[string]bool{}
			}
			there[t.Name][t.Value] = true
		}
	}
	f, hint := s.names.selects, ""
	if !f.good { // reported
		return may
	}
	if len(s.Select) > 1 && !s.SelectAny {
		hint = `each has to match all; "match": "any" takes those of which one matches`
	}
	for _, v := range s.names.values {
		known, what := slices.Sorted(maps.Keys(there)), v.tag
		switch {
		case there[v.tag] != nil && (v.value == "" || there[v.tag][v.value]):
			continue
		case there[v.tag] != nil:
			known, what = slices.Sorted(maps.Keys(there[v.tag])), v.value
		}
		if len(may) == 0 {
			hint = meant(what, known)
			f.keyAt, f.key = v.at, v.key
			break
		}
		near := ""
		if nearest(what, known) != "" {
			near = meant(what, known)
		}
		p.note(v.at, v.key, near, "no server of this system has %s", strings.TrimSuffix(v.tag+"="+v.value, "="))
	}
	if len(may) == 0 {
		p.fail(f.keyAt, f.key, hint, "no server of this system matches: nobody may hold its items")
	}
	return may
}
