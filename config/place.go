package config

import (
	"time"

	"github.com/flip-ha/flip/fsm"
)

const (
	mostNames = 1000 // that one key lists
	mostRound = 1_000_000
	// defaultRound is Wackamole's interval, as it was documented.
	defaultRound = 4 * time.Second
)

// placeKeys are for systems whose items are given to members.
var placeKeys = []string{
	"replicas", "partitions", "select", "match", "with", "apart", "failback", "nopreempt", "mature", "preempt_delay", "round", "brake",
}

// refs are the names that stand in a system, and where: they are compared with others'
// once all are known.
type refs struct {
	with, apart []named
	prefer      []named // of all items
	values      []tagged
	selects     field
	replicas    field
}

// named is a name somewhere in the file.
type named struct {
	name, key string
	at        int
}

// tagged is a value of a tag that a system selects; "" is any.
type tagged struct {
	tag, value, key string
	at              int
}

// unplaced says why a type has nothing to be placed, "" if it has.
func unplaced(split fsm.Split) string {
	switch split {
	case fsm.Replicate:
		return "belongs to types shard and choose_one: every server that lists a replicated system holds all of its items"
	case fsm.Nothing:
		return "belongs to types shard and choose_one: this system has no items"
	default:
		return ""
	}
}

// place reads where a system's items are to be.
func (p *parser) place(o object, s *system, action fsm.Action) {
	if why := unplaced(s.Split); why != "" {
		p.refuse(o, placeKeys, "leave it out", why)
		return
	}
	s.Replicas = p.replicas(o, s, action)
	s.Partitions = p.partitions(o, s.Split, action)
	p.selection(o, s)
	s.names.with, s.names.apart = p.names(o, "with"), p.names(o, "apart")
	s.Failback = p.failback(o, s.Split)
	s.Mature = p.mature(o)
	p.round(o, s)
	if on, f := p.onOff(o, "brake"); f.good {
		s.NoBrake = !on
	}
}

// names reads a list of names, or one alone.
func (p *parser) names(o object, key string) []named {
	entries, f := p.list(o, key, mostNames)
	var out []named
	seen := map[string]bool{}
	for _, v := range entries {
		name, g := p.text(v, field{at: v.at, keyAt: v.at, key: f.key, set: true})
		switch {
		case !g.good:
		case seen[name]:
			p.fail(v.at, f.key, "", "names %s twice", quote(name))
		default:
			seen[name] = true
			out = append(out, named{name: name, key: f.key, at: v.at})
		}
	}
	return out
}

// replicas reads how many members hold each item.
func (p *parser) replicas(o object, s *system, action fsm.Action) int {
	n, f := o.integer("replicas", 1, fsm.MaxReplicas)
	s.names.replicas = f
	switch {
	case !f.good || n == 1:
		return 0
	case s.Split == fsm.ChooseOne:
		p.fail(f.at, f.key, "take type shard: each item has its copies there, also if there is only one", "type choose_one has all items on one server")
		return 0
	case action == fsm.ActionIP:
		p.fail(f.at, f.key, "leave it out", "an address has one holder; type replicate, at-least-one, has it on every server")
		return 0
	}
	return int(n)
}

// failback reads how long a member must have been well before its items come home.
func (p *parser) failback(o object, split fsm.Split) time.Duration {
	v, f := o.get("failback")
	stay, n := o.boolean("nopreempt")
	switch {
	case f.set && n.set:
		p.fail(n.keyAt, n.key, "keep failback", "cannot stand beside failback")
		return 0
	case n.good && !stay:
		return 0
	case n.good, !f.set && split == fsm.ChooseOne:
		return fsm.NeverFailback
	case !f.set:
		return 0
	}
	words := []string{"auto", "manual"}
	const either = `"auto", "manual", or how long the home must have been well, such as "30s"`
	switch {
	case v.kind == kindString && v.text == "auto":
		return 0
	case v.kind == kindString && v.text == "manual":
		return fsm.NeverFailback
	case v.kind == kindString && nearest(v.text, words) != "":
		p.fail(v.at, f.key, meant(v.text, words), "%s is unknown", quote(v.text))
		return 0
	case v.kind == kindString:
		if _, err := time.ParseDuration(v.text); err != nil {
			p.fail(v.at, f.key, either, "%s is unknown", quote(v.text))
			return 0
		}
	case v.kind != kindNumber:
		p.wrong(v, f, either, "")
		return 0
	}
	d, _ := p.duration(v, f, 0, mostTimeout)
	return d
}

// mature reads how long a member must have been up before it is given anything that
// others can have. keepalived's name of it counted seconds.
func (p *parser) mature(o object) time.Duration {
	v, f := o.oneOf("mature", "preempt_delay")
	d, f := p.duration(v, f, 0, mostTimeout)
	if _, old := o.get("preempt_delay"); f.good && old.set && v.kind == kindNumber && d > 0 {
		p.note(f.at, f.key, "in keepalived it is seconds: write \""+v.text+"s\"", "%s counts milliseconds here: %s", v.text, short(d))
	}
	return d
}

// round reads how many moves that are not urgent are made at one time.
func (p *parser) round(o object, s *system) {
	v, f := o.get("round")
	if !f.set {
		return
	}
	r := p.object(v, f.key+".", levelRound)
	moves, m := r.integer("moves", 1, mostRound)
	if r.is && !m.set {
		p.missing(m, "how many items are moved at one time; leave out round for all")
	}
	every, e := r.duration("every", leastTimeout, mostTimeout)
	if m.good {
		s.RoundMoves, s.RoundEvery = int(moves), defaultRound
	}
	if m.good && e.good {
		s.RoundEvery = every
	}
}

// wants reads what an item counts and where it is to be.
func (p *parser) wants(o object, s *system, item *fsm.Item) {
	if why := unplaced(s.Split); why != "" {
		p.refuse(o, []string{"weight", "prefer"}, "leave it out", why)
		return
	}
	item.Weight = weight(o)
	for _, n := range p.names(o, "prefer") {
		item.Prefer = append(item.Prefer, fsm.MemberID(n.name))
		s.names.prefer = append(s.names.prefer, n)
	}
}
