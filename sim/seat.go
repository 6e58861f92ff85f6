package sim

import (
	"fmt"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// seat is a member's place in the cluster: its present machine and data
// directory, whoever runs there.
type seat struct {
	name      fsm.MemberID
	machine   *Machine
	disk      *disk
	instances int
	machines  int
	gone      []*Machine // machines it was replaced on
	joins     bool       // to be started once the configuration names it
}

// Boot makes a machine and a process for every member.
func (w *World) Boot() {
	for _, m := range w.names {
		w.Launch(m)
	}
}

// seat is made at the first use, with the instance that the log was founded with.
func (w *World) seat(name fsm.MemberID) *seat {
	for _, s := range w.seats {
		if s.name == name {
			return s
		}
	}
	s := &seat{name: name, machines: 1, instances: 1, machine: w.NewMachine("m-" + string(name))}
	s.disk = &disk{instance: instanceName(name, 1), keys: w.given()}
	w.seats = append(w.seats, s)
	return s
}

// Launch starts a member's process where it belongs, unless one runs there, or the
// configuration does not name it: then it would only wait until it does.
func (w *World) Launch(name fsm.MemberID) *Process {
	s := w.seat(name)
	for _, p := range w.on(s.machine) {
		if p.Name == name {
			return p
		}
	}
	if !w.named(name) {
		return nil
	}
	return w.Start(name, s.machine, s.disk)
}

// Wipe empties a member's data directory: its process, if one runs, dies, and
// the next one is another instance.
func (w *World) Wipe(name fsm.MemberID) {
	s := w.seat(name)
	for _, p := range w.on(s.machine) {
		p.Kill()
	}
	w.Count.add(Wipes)
	s.instances++
	s.disk = &disk{instance: instanceName(name, s.instances), keys: w.given()}
	w.tracef("%s: its data directory is wiped", name)
}

// Replace gives a member's name to a new machine with an empty data directory.
// What runs and is held on the old one stays as it is.
func (w *World) Replace(name fsm.MemberID) {
	s := w.seat(name)
	w.Count.add(Replacements)
	s.gone = append(s.gone, s.machine)
	s.machines++
	s.instances++
	s.machine = w.NewMachine(fmt.Sprintf("m-%s-%d", name, s.machines))
	s.disk = &disk{instance: instanceName(name, s.instances), keys: w.given()}
	w.tracef("%s: moves to another machine, %s", name, s.machine.Name)
}

// PowerOff really switches off the machines that a member was replaced on, and
// is what an operator then tells the cluster.
func (w *World) PowerOff(name fsm.MemberID) {
	s := w.seat(name)
	for _, m := range s.gone {
		for _, p := range w.on(m) {
			p.Kill()
		}
		m.off()
		w.tracef("%s is switched off", m.Name)
	}
}

// fence proposes what PowerOff has made true until the log has it.
func (w *World) fence(name fsm.MemberID) {
	s := w.seat(name)
	state := w.checker.newest()
	for _, m := range s.gone {
		if upTo, found := newestOn(state, name, m.Name); found {
			w.Propose(fsm.Fence{Member: name, Host: fsm.Host{Machine: m.Name}, UpTo: upTo})
		}
	}
}

// newestOn is the newest epoch of the entries that name a member's machine.
func newestOn(s *fsm.State, name fsm.MemberID, machine string) (newest fsm.Epoch, found bool) {
	for slot := range s.Slots() {
		for _, e := range slot.Outstanding {
			if e.Member == name && e.Host.Machine == machine {
				newest, found = max(newest, e.Epoch), true
			}
		}
	}
	return newest, found
}

// Propose hands a command to the leader, as a client would; without a leader it
// is lost.
func (w *World) Propose(c fsm.Command) {
	if l := w.log.leader; l != nil && l.leading && !l.Frozen() {
		l.do(func() { l.propose(fsm.Encode(c), nil) })
	}
}

// Agreed is the state at the highest index that anybody has applied.
func (w *World) Agreed() *fsm.State { return w.checker.newest() }

// Process is the newest process of a member; nil: none runs.
func (w *World) Process(name fsm.MemberID) *Process { return w.running(name) }

// Holders are the machines that effectively hold an item now.
func (w *World) Holders(k fsm.Key) []string {
	var names []string
	for _, m := range w.machines {
		if m.Holds(k) {
			names = append(names, m.Name)
		}
	}
	return names
}

// Settle runs until every slot is held by its owner; it says what is missing
// when it gives up.
func (w *World) Settle(limit time.Duration) string {
	missing := "nothing was looked at"
	for end := w.now + limit; w.checker.found == nil && w.now < end; {
		w.Run(min(end, w.now+20*time.Millisecond))
		if missing = w.Unfinished(); missing == "" {
			return ""
		}
	}
	return missing
}
