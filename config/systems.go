package config

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

const (
	defaultTimeout = time.Minute // of a hook, as lite-raft's monitor had it
	leastTimeout   = time.Millisecond
	mostTimeout    = 24 * time.Hour
	mostDelay      = time.Hour
	// maxItem keeps an item far below what one argument of a process may hold
	// (128 KiB on Linux).
	maxItem = 4096
)

// systems is what cluster.system says, with places for later checks.
type systems struct {
	names []string // also of those that are wrong elsewhere
	list  []system
}

type system struct {
	fsm.System
	at int // of its name
}

func (s *systems) specs() map[fsm.SystemID]fsm.System {
	out := map[fsm.SystemID]fsm.System{}
	for _, one := range s.list {
		out[one.Name] = one.System
	}
	return out
}

// systems reads cluster.system.
func (p *parser) systems(cluster object) *systems {
	out := &systems{}
	shared, f := cluster.get("config")
	if f.set && shared.kind != kindObject {
		p.wrong(shared, f, "an object", "")
		shared = nil
	}
	v, f := cluster.get("system")
	switch {
	case !cluster.is: // reported
		return out
	case !f.set:
		p.missing(f, "the systems by name")
		return out
	case v.kind != kindObject:
		p.wrong(v, f, "an object", "")
		return out
	}
	for _, m := range v.members {
		out.names = append(out.names, m.name)
		if p.name(m, "cluster.system.", "system", inSystemName) {
			out.list = append(out.list, system{p.system(m, shared), m.at})
		}
	}
	return out
}

// system reads one system.
func (p *parser) system(m member, shared *value) fsm.System {
	o := p.object(m.value, "cluster.system."+m.name+".", levelSystem)
	s := fsm.System{
		Name: fsm.SystemID(m.name), Action: fsm.ActionHooks,
		StartTimeout: defaultTimeout, StopTimeout: defaultTimeout, CleanOnStart: true,
	}
	if !o.is {
		return s
	}
	s.Split = p.split(o)
	s.Guarantee = p.guarantee(o, s.Split)
	if p.action(o) {
		s.Alive = p.hook(o, "alive", s.Split)
		s.Down = p.hook(o, "down", s.Split)
	}
	own, f := o.get("config")
	if f.set && own.kind != kindObject {
		p.wrong(own, f, "an object", "")
		own = nil
	}
	s.Config = merge(shared, own)
	s.Items = p.data(o, s.Split)
	if d, f := o.duration("start_timeout", leastTimeout, mostTimeout); f.good {
		s.StartTimeout = d
	}
	if d, f := o.duration("stop_timeout", leastTimeout, mostTimeout); f.good {
		s.StopTimeout = d
	}
	s.Delay, _ = o.duration("delay", 0, mostDelay)
	p.clean(o, &s)
	return s
}

func (p *parser) split(o object) fsm.Split {
	word, f := o.word("type", []string{"shard", "replicate", "choose_one", "nothing", "sharded", "replicated", "round_robin"})
	if !f.set {
		p.missing(f, "shard, replicate, choose_one or nothing")
	}
	switch word {
	case "shard", "sharded", "round_robin":
		return fsm.Shard
	case "replicate", "replicated":
		return fsm.Replicate
	case "choose_one":
		return fsm.ChooseOne
	case "nothing":
		return fsm.Nothing
	default:
		return 0
	}
}

func (p *parser) guarantee(o object, split fsm.Split) fsm.Guarantee {
	word, f := o.word("guarantee", []string{"at-least-one", "at-most-one"})
	if word != "at-most-one" {
		return fsm.AtLeastOne // what Flip did with hooks: an isolated holder keeps serving
	}
	if split == fsm.Replicate {
		p.fail(f.at, f.key, "take at-least-one, or type shard or choose_one", "a replicated datum has many holders, never at most one")
	}
	return fsm.AtMostOne
}

// action reports whether the system's data are made true by hooks.
func (p *parser) action(o object) bool {
	word, f := o.text("action")
	switch {
	case !f.set:
		return true
	case !f.good:
		return false
	case word == "ip":
		p.fail(f.at, f.key, "hooks can plumb the addresses", "the built-in ip action is not there yet")
		return false
	case word != "hooks":
		p.fail(f.at, f.key, meant(word, []string{"hooks"}), "%s is unknown", quote(word))
		return false
	default:
		return true
	}
}

// hook reads a command's name.
func (p *parser) hook(o object, name string, split fsm.Split) string {
	command, f := o.text(name)
	if !f.set && split != fsm.Nothing {
		p.missing(f, "the command that takes or lets go of a datum")
	}
	if strings.ContainsAny(command, " \t") {
		p.note(f.at, f.key, "put arguments into config, or into a script",
			"%s is started as it stands, without a shell: the space is part of its name", quote(command))
	}
	return command
}

// data reads the items: strings, or objects with an id.
func (p *parser) data(o object, split fsm.Split) []fsm.Item {
	v, f := o.get("data")
	switch {
	case !f.set && split == fsm.Nothing:
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
		id, g := p.item(entry, f)
		if !g.good {
			continue
		}
		if at, twice := first[id]; twice {
			line, column := p.lines.at(at)
			p.fail(g.at, f.key, "remove one of the two", "%s is there twice, first at %d:%d", quote(id), line, column)
			continue
		}
		first[id] = g.at
		items = append(items, fsm.Item{ID: fsm.ItemID(id)})
	}
	slices.SortFunc(items, func(a, b fsm.Item) int { return cmp.Compare(a.ID, b.ID) })
	return items
}

func (p *parser) item(entry *value, data field) (string, field) {
	f := field{at: entry.at, keyAt: entry.at, key: data.key, set: true}
	var id string
	switch entry.kind {
	case kindObject:
		o := p.object(entry, data.key+"[].", levelItem)
		id, f = o.text("id")
		if !f.set {
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
	if f.good && len(id) > maxItem {
		p.fail(f.at, f.key, "", "a datum has at most %d bytes, this one has %d", maxItem, len(id))
		f.good = false
	}
	return id, f
}

// clean reads whether leftovers are cleaned up at start, by its new name or by
// the old one, whose meaning is inverted.
func (p *parser) clean(o object, s *fsm.System) {
	clean, c := o.boolean("clean_on_start")
	skip, r := o.boolean("remove_on_start")
	switch {
	case c.set && r.set:
		p.fail(r.keyAt, r.key, "keep clean_on_start", "cannot stand beside clean_on_start")
	case c.good:
		s.CleanOnStart = clean
	case r.good:
		s.CleanOnStart = !skip
		does := "runs `down` at start for all that is not assigned here"
		if skip {
			does = "runs no `down` at start"
		}
		p.note(r.keyAt, r.key, "write \"clean_on_start\": "+map[bool]string{true: "false", false: "true"}[skip],
			"the old key is inverted: %t %s", skip, does)
	}
}
