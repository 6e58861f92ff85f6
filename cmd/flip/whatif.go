package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// listFlag is one that may be given several times.
type listFlag []string

// Set implements flag.Value.
func (l *listFlag) Set(s string) error {
	if s == "" {
		return fmt.Errorf("it is empty")
	}
	*l = append(*l, s)
	return nil
}

// String implements flag.Value.
func (l *listFlag) String() string { return strings.Join(*l, ", ") }

func listOf(c *cli.Context, name string) []string {
	l, _ := c.Generic(name).(*listFlag)
	if l == nil {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(*l)))
}

// whatIf is what is supposed to happen.
type whatIf struct {
	fail, drain []fsm.MemberID
	add         []addition
}

// addition is a server that comes, or comes back.
type addition struct {
	name    fsm.MemberID
	systems []fsm.SystemID // none: all
	zone    string
}

// supposed reads the command line. --zone is where what --add adds stands; alone it is
// the loss of all that stands there.
func supposed(c *cli.Context, s *fsm.State) (whatIf, error) {
	var w whatIf
	for _, name := range listOf(c, "fail") {
		w.fail = append(w.fail, fsm.MemberID(name))
	}
	for _, name := range listOf(c, "drain") {
		w.drain = append(w.drain, fsm.MemberID(name))
	}
	for _, text := range listOf(c, "add") {
		add, err := parseAddition(s, text)
		if err != nil {
			return w, err
		}
		add.zone = c.String("zone")
		w.add = append(w.add, add)
	}
	if c.IsSet("zone") && len(w.add) == 0 {
		lost, err := inZone(s, c.String("zone"))
		if err != nil {
			return w, err
		}
		w.fail = append(w.fail, lost...)
	}
	for _, name := range slices.Concat(w.fail, w.drain) {
		if err := knownServer(s, name); err != nil {
			return w, err
		}
		if slices.Contains(w.fail, name) && slices.Contains(w.drain, name) {
			return w, &usageError{what: string(name) + " is to fail and to be drained", hint: "give one of them"}
		}
	}
	return w, nil
}

func parseAddition(s *fsm.State, text string) (addition, error) {
	name, list, named := strings.Cut(text, "=")
	add := addition{name: fsm.MemberID(name)}
	if !fsm.GoodServerName(name) {
		return add, &usageError{what: fmt.Sprintf("the name of a member cannot be %q", name), hint: "--add n9, or --add n9=web,db"}
	}
	if !named {
		add.systems = slices.Sorted(maps.Keys(s.Spec().Systems))
		return add, nil
	}
	for id := range strings.SplitSeq(list, ",") {
		if _, known := s.Spec().Systems[fsm.SystemID(id)]; !known {
			return add, noSystem(s, fsm.SystemID(id))
		}
		add.systems = append(add.systems, fsm.SystemID(id))
	}
	slices.Sort(add.systems)
	add.systems = slices.Compact(add.systems)
	return add, nil
}

// noSystem names the nearest one, or all.
func noSystem(s *fsm.State, id fsm.SystemID) error {
	all := slices.Sorted(maps.Keys(s.Spec().Systems))
	return unknownName("no system "+string(id), string(id), all, "the cluster's systems: ")
}

func knownServer(s *fsm.State, name fsm.MemberID) error {
	if _, known := s.Spec().Servers[name]; known {
		return nil
	}
	all := slices.Sorted(maps.Keys(s.Spec().Servers))
	return unknownName("no member "+string(name), string(name), all, "the members: ")
}

func unknownName[T ~string](what, name string, all []T, list string) error {
	hint := ""
	if near := api.Nearest(name, all); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	} else {
		words := make([]string, 0, len(all))
		for _, n := range all {
			words = append(words, string(n))
		}
		hint = list + strings.Join(words, ", ")
	}
	return &api.Error{Code: api.CodeNotFound, Message: what, Hint: hint}
}

func inZone(s *fsm.State, zone string) (out []fsm.MemberID, err error) {
	var zones []string
	for _, name := range slices.Sorted(maps.Keys(s.Spec().Servers)) {
		server := s.Spec().Servers[name]
		if server.Zone == zone {
			out = append(out, name)
		}
		if server.Zone != "" {
			zones = append(zones, server.Zone)
		}
	}
	if len(out) == 0 {
		slices.Sort(zones)
		return nil, unknownName("no member is in zone "+zone, zone, slices.Compact(zones), "the zones: ")
	}
	return out, nil
}

// suppose has it happen. What it returns is a picture of afterwards, before anything was
// moved, and what is to be said of it.
func (w whatIf) suppose(p picture) (after picture, notes []string, err error) {
	after = p
	after.Unusable = maps.Clone(p.Unusable)
	if after.Unusable == nil {
		after.Unusable = map[fsm.MemberID]string{}
	}
	after.Well = maps.Clone(p.Well)
	for _, add := range w.add {
		said, err := after.join(add)
		if err != nil {
			return after, nil, err
		}
		notes = append(notes, said...)
	}
	lost := []fsm.MemberID{}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(w.fail))) {
		m, registered := after.State.Member(name)
		if !registered || !m.Up {
			notes = append(notes, string(name)+" is down already")
			continue
		}
		lost = append(lost, name)
		down := fsm.Down{Member: name, Epoch: m.Epoch, Voters: after.State.Voters().Index, At: after.at}
		if err := after.apply(down); err != nil {
			return after, nil, err
		}
	}
	for _, name := range w.drain {
		after.Unusable[name] = "is to be drained"
	}
	return after, append(notes, voices(p.State, lost)...), nil
}

func (p *picture) apply(cmds ...fsm.Command) error {
	next, err := p.State.Suppose(p.index+1, cmds...)
	if err != nil {
		return err
	}
	p.State, p.index = next, p.index+fsm.Index(len(cmds))
	return nil
}

// join has a server added, or one that is down come back; it is well at once, since the
// question is what becomes of it and not when.
func (p *picture) join(add addition) (notes []string, err error) {
	server, listed := p.State.Spec().Servers[add.name]
	m, registered := p.State.Member(add.name)
	switch {
	case listed && server.Removing:
		return nil, &usageError{what: string(add.name) + " is being removed", hint: "choose another name"}
	case listed && registered && m.Up:
		return []string{string(add.name) + " is there already"}, nil
	case !listed:
		server = fsm.Server{Name: add.name, Addr: string(add.name), Role: fsm.RoleAgent, Systems: add.systems, Zone: add.zone}
		if err := p.apply(fsm.SetSpec{Was: p.State.Spec().Version, Spec: p.State.Spec().WithServer(server), At: p.at}); err != nil {
			return nil, err
		}
	}
	nonce := fsm.Nonce{0: 'i', 1: 'f', 8: byte(p.index >> 8), 9: byte(p.index)}
	host := m.Host
	if !registered {
		host = fsm.Host{Machine: "supposed " + string(add.name), Boot: "supposed", Instance: "supposed"}
	}
	if err := p.apply(fsm.Register{Member: add.name, Nonce: nonce, Process: nonce, Replaces: m.Epoch, Host: host, Gate: true, Wire: [2]uint16{1, 1}, At: p.at}); err != nil {
		return nil, err
	}
	if p.Well != nil {
		p.Well[add.name] = longEnough
	}
	programs := fsm.Programs{}
	for _, id := range server.Systems {
		if p.State.Spec().Systems[id].Action == fsm.ActionClient {
			programs.Systems = append(programs.Systems, id)
		}
	}
	if len(programs.Systems) == 0 {
		return nil, nil
	}
	now, _ := p.State.Member(add.name)
	return nil, p.apply(fsm.Report{Member: add.name, Epoch: now.Epoch, Programs: &programs, At: p.at})
}

// voices says why what is lost at once would not be called down, or nothing be agreed on.
func voices(s *fsm.State, lost []fsm.MemberID) []string {
	if len(lost) == 0 || len(s.Voters().IDs) == 0 {
		return nil
	}
	left := 0
	for _, v := range s.Voters().IDs {
		if m, ok := s.Member(v.Member()); ok && m.Up && !slices.Contains(lost, v.Member()) {
			left++
		}
	}
	list := s.Voters()
	switch need := s.Spec().VotesNeeded(list); {
	case left < list.Majority():
		return []string{fmt.Sprintf("with %d of %d voters left nothing would be agreed on: nobody would be called down and nothing would move", left, len(list.IDs))}
	case left < need:
		return []string{fmt.Sprintf("it takes the votes of %d voters to call a member down, and %d would be left: nothing would move", need, left)}
	default:
		return nil
	}
}
