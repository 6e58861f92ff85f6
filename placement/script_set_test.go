package placement

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// set changes one thing about a system:
//
//	set SYSTEM replicas N
//	set SYSTEM partitions N [fnv32a]           its items are the numbers of N partitions
//	set SYSTEM select [any] TAG[=VALUE,…]…
//	set SYSTEM with SYSTEM…    set SYSTEM apart SYSTEM…
//	set SYSTEM failback auto|never|DURATION    set SYSTEM mature DURATION
//	set SYSTEM round MOVES DURATION
//	set SYSTEM brake on|off
func (s *scripted) set(system, what string, args []string) error {
	if _, known := s.spec.Systems[fsm.SystemID(system)]; !known {
		return fmt.Errorf("there is no system %s", system)
	}
	var err error
	s.change(system, func(sys *fsm.System) { err = setting(sys, what, args) })
	return err
}

func setting(sys *fsm.System, what string, args []string) (err error) {
	switch what {
	case "replicas":
		sys.Replicas, err = strconv.Atoi(args[0])
	case "partitions":
		return partitions(sys, args)
	case "select":
		selecting(sys, args)
	case "with":
		sys.With = systemIDs(args)
	case "apart":
		sys.Apart = systemIDs(args)
	case "failback":
		switch args[0] {
		case "auto":
			sys.Failback = 0
		case "never":
			sys.Failback = fsm.NeverFailback
		default:
			sys.Failback, err = time.ParseDuration(args[0])
		}
	case "mature":
		sys.Mature, err = time.ParseDuration(args[0])
	case "round":
		if sys.RoundMoves, err = strconv.Atoi(args[0]); err == nil {
			sys.RoundEvery, err = time.ParseDuration(args[1])
		}
	case "brake":
		sys.NoBrake = args[0] == "off"
	default:
		return fmt.Errorf("a system has no %q", what)
	}
	return err
}

func systemIDs(args []string) []fsm.SystemID {
	var out []fsm.SystemID
	for _, id := range args {
		out = append(out, fsm.SystemID(id))
	}
	slices.Sort(out)
	return out
}

func partitions(sys *fsm.System, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	sys.Partitions = &fsm.Partitions{Count: n, Hash: fsm.FNV64a}
	if len(args) > 1 && args[1] == fsm.FNV32a.String() {
		sys.Partitions.Hash = fsm.FNV32a
	}
	sys.Items = nil
	for i := range n {
		sys.Items = append(sys.Items, fsm.Item{ID: fsm.ItemID(strconv.Itoa(i))})
	}
	slices.SortFunc(sys.Items, func(a, b fsm.Item) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return nil
}

func selecting(sys *fsm.System, args []string) {
	sys.Select, sys.SelectAny = nil, false
	if len(args) > 0 && args[0] == "any" {
		sys.SelectAny, args = true, args[1:]
	}
	for _, arg := range args {
		tag, values, some := strings.Cut(arg, "=")
		match := fsm.Match{Tag: tag}
		if some {
			match.Values = slices.Sorted(strings.SplitSeq(values, ","))
		}
		sys.Select = append(sys.Select, match)
	}
	slices.SortFunc(sys.Select, func(a, b fsm.Match) int { return strings.Compare(a.Tag, b.Tag) })
}
