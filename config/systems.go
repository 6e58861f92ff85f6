package config

import (
	"net/netip"
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
	addrs plumbed
}

type system struct {
	fsm.System
	at    int // of its name
	names refs
}

func (s *systems) specs() map[fsm.SystemID]fsm.System {
	out := map[fsm.SystemID]fsm.System{}
	for _, one := range s.list {
		out[one.Name] = one.System
	}
	return out
}

// systems reads cluster.system.
func (p *parser) systems(cluster object, timing fsm.Timing) *systems {
	out := &systems{addrs: plumbed{first: map[netip.Addr]int{}}}
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
			out.list = append(out.list, p.system(m, shared, &out.addrs, timing))
		}
	}
	p.together(out)
	return out
}

// system reads one system.
func (p *parser) system(m member, shared *value, addrs *plumbed, timing fsm.Timing) system {
	o := p.object(m.value, "cluster.system."+m.name+".", levelSystem)
	s := system{at: m.at, System: fsm.System{
		Name: fsm.SystemID(m.name), Action: fsm.ActionHooks,
		StartTimeout: defaultTimeout, StopTimeout: defaultTimeout, CleanOnStart: true,
	}}
	if !o.is {
		return s
	}
	action := p.action(o)
	s.Split = p.split(o)
	s.Guarantee = p.guarantee(o, s.Split, action)
	if action != 0 {
		p.misplaced(o, action)
	}
	switch action {
	case fsm.ActionHooks:
		s.Alive, s.Down = p.hook(o, "alive", s.Split), p.hook(o, "down", s.Split)
		s.Config = p.config(o, shared)
	case fsm.ActionIP:
		s.Action = action
		p.ip(o, &s.System)
	case fsm.ActionClient:
		s.Action = action
		word, _ := o.word("on_timeout", []string{"keep", "kill"})
		s.KillOnTimeout = word == "kill"
	default:
		p.config(o, shared) // for what is wrong with it
	}
	p.place(o, &s, action)
	s.Items = p.data(o, &s, action, addrs)
	if d, f := o.duration("start_timeout", leastTimeout, mostTimeout); f.good {
		s.StartTimeout = d
	}
	if d, f := o.duration("stop_timeout", leastTimeout, mostTimeout); f.good {
		s.StopTimeout = d
	}
	s.Delay, _ = o.duration("delay", 0, mostDelay)
	s.TakeoverAfter = p.takeover(o, &s.System, action, timing)
	p.fence(o, &s.System, action)
	p.clean(o, &s.System)
	return s
}

// config is what the commands of a system get.
func (p *parser) config(o object, shared *value) []byte {
	own, f := o.get("config")
	if f.set && own.kind != kindObject {
		p.wrong(own, f, "an object", "")
		own = nil
	}
	return merge(shared, own)
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

// guarantee is by default what Flip did with hooks: an isolated holder keeps
// serving. An address has one holder.
func (p *parser) guarantee(o object, split fsm.Split, action fsm.Action) fsm.Guarantee {
	word, f := o.word("guarantee", []string{"at-least-one", "at-most-one"})
	byDefault := !f.set && action == fsm.ActionIP
	if word != "at-most-one" && !byDefault {
		return fsm.AtLeastOne
	}
	if split == fsm.Replicate && byDefault {
		_, f = o.get("type")
		p.fail(f.at, f.key, `set "guarantee": "at-least-one", or take type shard or choose_one`,
			"a replicated address has many holders, and action ip promises at-most-one unless told otherwise")
	} else if split == fsm.Replicate {
		p.fail(f.at, f.key, "take at-least-one, or type shard or choose_one", "a replicated datum has many holders, never at most one")
	}
	return fsm.AtMostOne
}

// action reads how the system's data are made true; 0 when that cannot be read.
func (p *parser) action(o object) fsm.Action {
	word, f := o.word("action", []string{"hooks", "ip", "client"})
	switch {
	case !f.set, word == "hooks":
		return fsm.ActionHooks
	case word == "ip":
		return fsm.ActionIP
	case word == "client":
		return fsm.ActionClient
	default:
		return 0
	}
}

// hook reads a command's name.
func (p *parser) hook(o object, name string, split fsm.Split) string {
	command, f := o.text(name)
	if !f.set && split != fsm.Nothing {
		p.missing(f, "the command that takes or lets go of a datum")
	}
	p.shellLess(command, f, "put arguments into config, or into a script")
	return command
}

// shellLess notes a command that looks as if it had arguments.
func (p *parser) shellLess(command string, f field, hint string) {
	if strings.ContainsAny(command, " \t") {
		p.note(f.at, f.key, hint, "%s is started as it stands, without a shell: the space is part of its name", quote(command))
	}
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
