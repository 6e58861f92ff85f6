package placement

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// keyOf reads ITEM or ITEM.RANK, when what follows the last point is one digit.
func keyOf(system, item string) (fsm.Key, error) {
	k := fsm.Key{System: fsm.SystemID(system), Item: fsm.ItemID(item)}
	if at := strings.LastIndex(item, "."); at >= 0 && len(item) == at+2 && !strings.Contains(item[:at], ".") {
		rank, err := strconv.Atoi(item[at+1:])
		if err != nil {
			return k, fmt.Errorf("rank of %s: %w", item, err)
		}
		k.Item, k.Rank = fsm.ItemID(item[:at]), rank
	}
	return k, nil
}

// configure runs what changes the next configuration:
//
//	server NAME [PRIORITY] [weight N] [capacity N] [zone Z] [tag NAME=VALUE]… [serves SYSTEM…]
//	remove server|system NAME
//	system NAME TYPE [at-most-one] [ip|client] [ITEM…]     data SYSTEM [+ITEM…] [-ITEM…]
//	set SYSTEM …               see set
//	item SYSTEM ITEM [weight N] [prefer NAME…]
//	removing NAME    staying NAME              it is to leave the cluster, or after all not
//	commit                                     the above enters the log
func (s *scripted) configure(verb string, args []string) (bool, error) {
	switch verb {
	case "server":
		return true, s.addServer(args)
	case "system":
		return true, s.addSystem(args)
	case "set":
		return true, s.set(args[0], args[1], args[2:])
	case "item":
		return true, s.item(args)
	case "remove":
		delete(s.spec.Servers, fsm.MemberID(args[1]))
		delete(s.spec.Systems, fsm.SystemID(args[1]))
	case "removing", "staying":
		s.removing(args[0], verb == "removing")
	case "data":
		s.data(args)
	case "commit":
		s.commit()
	default:
		return false, nil
	}
	return true, nil
}

// happen runs what happens to members and to what they hold:
//
//	up NAME…    down NAME…    leave NAME       reboot NAME   settle NAME
//	release NAME                               it confirms all that it may still hold
//	fail NAME SYSTEM ITEM TEXT…                it failed there
//	unfit NAME SYSTEM ITEM TEXT…               its machine cannot hold it for now
//	mend NAME SYSTEM ITEM                      and would not any more
//	cleanup [SYSTEM [ITEM]]                    what failed is forgotten, and what is braked is not
//	maintain on|off [SYSTEM]
//	programs NAME [SYSTEM…]                    a program there has claimed these
//	unusable NAME WHY…    usable NAME          what health says
//	well NAME… DURATION                        they have been well for so long; others not at all
//	wait DURATION                              time passes, from now on only so
func (s *scripted) happen(verb string, args []string) (bool, error) {
	switch verb {
	case "up":
		s.up(args...)
	case "down":
		s.down(args...)
	case "leave":
		s.leave(args[0])
	case "reboot":
		s.register(args[0], "another machine than at "+strconv.Itoa(int(s.at)))
	case "settle":
		s.settle(args[0])
	case "release":
		s.release(args[0])
	case "fail", "unfit", "mend":
		return true, s.hook(verb, args)
	case "cleanup", "maintain":
		s.admin(verb, append(args, "", ""))
	case "programs":
		s.programs(args[0], args[1:]...)
	case "unusable":
		s.unusable[fsm.MemberID(args[0])] = strings.Join(args[1:], " ")
	case "usable":
		delete(s.unusable, fsm.MemberID(args[0]))
	case "well":
		return true, s.wellFor(args)
	case "wait":
		return true, s.wait(args[0])
	default:
		return false, nil
	}
	return true, nil
}

func (s *scripted) hook(verb string, args []string) error {
	k, err := keyOf(args[1], args[2])
	if err != nil {
		return err
	}
	if verb == "mend" {
		s.mend(args[0], k)
		return nil
	}
	s.fail(args[0], k, strings.Join(args[3:], " "), verb == "unfit")
	return nil
}

func (s *scripted) wellFor(args []string) error {
	d, err := time.ParseDuration(args[len(args)-1])
	if err != nil {
		return err
	}
	if s.well == nil {
		s.well = map[fsm.MemberID]time.Duration{}
	}
	for _, name := range args[:len(args)-1] {
		s.well[fsm.MemberID(name)] = d
	}
	return nil
}

// wait lets time pass: who is well has been so for longer.
func (s *scripted) wait(arg string) error {
	d, err := time.ParseDuration(arg)
	if err != nil {
		return err
	}
	s.timed = true
	s.now += d.Milliseconds()
	for m := range s.well {
		s.well[m] += d
	}
	return nil
}

// admin runs what operators say; what they leave out is "".
func (s *scripted) admin(verb string, args []string) {
	if verb == "maintain" {
		s.maintain(args[1], args[0] == "on")
		return
	}
	s.apply(fsm.Cleanup{System: fsm.SystemID(args[0]), Item: fsm.ItemID(args[1]), At: s.now})
}

func (s *scripted) addServer(args []string) error {
	server := fsm.Server{Name: fsm.MemberID(args[0]), Addr: args[0] + ":1", Role: fsm.RoleVoter}
	words := args[1:]
	if len(words) > 0 {
		if n, err := strconv.Atoi(words[0]); err == nil {
			server.Priority, server.HasPriority = n, true
			words = words[1:]
		}
	}
	for len(words) > 0 && words[0] != "serves" {
		if len(words) < 2 {
			return fmt.Errorf("%s of what?", words[0])
		}
		n, _ := strconv.Atoi(words[1])
		switch words[0] {
		case "weight":
			server.Weight = n
		case "capacity":
			server.Capacity = n
		case "zone":
			server.Zone = words[1]
		case "tag":
			name, value, _ := strings.Cut(words[1], "=")
			server.Tags = append(server.Tags, fsm.Tag{Name: name, Value: value})
		default:
			return fmt.Errorf("a server has no %q", words[0])
		}
		words = words[2:]
	}
	for _, id := range words[min(1, len(words)):] {
		server.Systems = append(server.Systems, fsm.SystemID(id))
	}
	slices.Sort(server.Systems)
	slices.SortFunc(server.Tags, func(a, b fsm.Tag) int { return strings.Compare(a.Name, b.Name) })
	s.spec.Servers[server.Name] = server
	return nil
}

func (s *scripted) addSystem(args []string) error {
	splits := map[string]fsm.Split{}
	for split := fsm.Shard; split <= fsm.Nothing; split++ {
		splits[split.String()] = split
	}
	split, ok := splits[args[1]]
	if !ok {
		return fmt.Errorf("unknown type %q", args[1])
	}
	guarantee, items := fsm.AtLeastOne, args[2:]
	if len(items) > 0 && items[0] == "at-most-one" {
		guarantee, items = fsm.AtMostOne, items[1:]
	}
	switch {
	case len(items) > 0 && items[0] == "ip":
		s.addresses(args[0], split, guarantee, items[1:]...)
	case len(items) > 0 && items[0] == "client":
		s.system(args[0], split, guarantee, items[1:]...)
		s.change(args[0], func(sys *fsm.System) { sys.Action, sys.Alive, sys.Down = fsm.ActionClient, "", "" })
	default:
		s.system(args[0], split, guarantee, items...)
	}
	return nil
}

// data adds items and takes them away; what is said of the others stays.
func (s *scripted) data(args []string) {
	s.change(args[0], func(sys *fsm.System) {
		for _, change := range args[1:] {
			id := fsm.ItemID(change[1:])
			sys.Items = slices.DeleteFunc(sys.Items, func(have fsm.Item) bool { return have.ID == id })
			if change[0] != '+' {
				continue
			}
			item := fsm.Item{ID: id}
			if sys.Action == fsm.ActionIP {
				item.Addrs = []string{string(id) + "/32"}
			}
			sys.Items = append(sys.Items, item)
		}
		slices.SortFunc(sys.Items, func(a, b fsm.Item) int { return strings.Compare(string(a.ID), string(b.ID)) })
	})
}

// item says what there is to say of an item.
func (s *scripted) item(args []string) error {
	err := fmt.Errorf("%s has no item %s", args[0], args[1])
	s.change(args[0], func(sys *fsm.System) {
		at := slices.IndexFunc(sys.Items, func(i fsm.Item) bool { return string(i.ID) == args[1] })
		if at < 0 {
			return
		}
		err = nil
		item := &sys.Items[at]
		item.Weight, item.Prefer = 0, nil
		for i := 2; i < len(args); i++ {
			switch args[i] {
			case "weight":
				_, err = fmt.Sscan(args[i+1], &item.Weight)
				i++
			case "prefer":
				for _, m := range args[i+1:] {
					item.Prefer = append(item.Prefer, fsm.MemberID(m))
				}
				return
			default:
				err = fmt.Errorf("an item has no %q", args[i])
			}
		}
	})
	return err
}
