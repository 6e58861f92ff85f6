package placement

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/flip-ha/flip/fsm"
)

var update = flag.Bool("update", false, "rewrite the output in testdata; the oracle must agree with it")

// TestScripts runs each file of testdata. A line that begins with two spaces is
// output of the command above it; # begins prose. Every plan is judged by the
// oracle, and applied.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d scripts: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(want), "# ") {
				t.Fatal("the script begins without a line of prose")
			}
			got := runScript(t, string(want))
			if got == string(want) {
				return
			}
			if !*update {
				t.Fatalf("got\n%s\nwant\n%s", got, want)
			}
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// runScript returns the script with the output that it should have.
func runScript(t *testing.T, script string) string {
	s := &scripted{cluster: newCluster(t)}
	var out strings.Builder
	for number, line := range strings.Split(strings.TrimSuffix(script, "\n"), "\n") {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		out.WriteString(line + "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		output, err := s.command(strings.Fields(line))
		if err != nil {
			t.Fatalf("line %d: %v", number+1, err)
		}
		out.WriteString(output)
	}
	return out.String()
}

type scripted struct {
	*cluster
	budget int
}

// command runs one line:
//
//	server NAME [PRIORITY] [serves SYSTEM…]    remove server|system NAME
//	system NAME TYPE [at-most-one] [ip] [ITEM…]     data SYSTEM [+ITEM…] [-ITEM…]
//	removing NAME    staying NAME              it is to leave the cluster, or after all not
//	release NAME                               it confirms all that it may still hold
//	commit                                     the above enters the log
//	up NAME…    down NAME…    leave NAME       reboot NAME   settle NAME
//	fail NAME SYSTEM ITEM TEXT…                it failed there
//	mend NAME SYSTEM ITEM                      and would not any more
//	cleanup [SYSTEM [ITEM]]                    what failed is forgotten
//	maintain on|off [SYSTEM]
//	unusable NAME WHY…    usable NAME          what health says
//	budget N    plan
func (s *scripted) command(words []string) (string, error) {
	verb, args := words[0], words[1:]
	switch verb {
	case "server":
		s.addServer(args)
	case "system":
		return "", s.addSystem(args)
	case "remove":
		delete(s.spec.Servers, fsm.MemberID(args[1]))
		delete(s.spec.Systems, fsm.SystemID(args[1]))
	case "removing", "staying":
		s.removing(args[0], verb == "removing")
	case "release":
		s.release(args[0])
	case "data":
		s.data(args)
	case "commit":
		s.commit()
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
	case "fail":
		s.fail(args[0], fsm.Key{System: fsm.SystemID(args[1]), Item: fsm.ItemID(args[2])}, strings.Join(args[3:], " "))
	case "mend":
		s.mend(args[0], fsm.Key{System: fsm.SystemID(args[1]), Item: fsm.ItemID(args[2])})
	case "cleanup", "maintain":
		s.admin(verb, append(args, "", ""))
	case "unusable":
		s.unusable[fsm.MemberID(args[0])] = strings.Join(args[1:], " ")
	case "usable":
		delete(s.unusable, fsm.MemberID(args[0]))
	case "budget":
		n, err := strconv.Atoi(args[0])
		s.budget = n
		return "", err
	case "plan":
		return s.planned(), nil
	default:
		return "", fmt.Errorf("unknown command %q", verb)
	}
	return "", nil
}

// admin runs what operators say; what they leave out is "".
func (s *scripted) admin(verb string, args []string) {
	if verb == "maintain" {
		s.maintain(args[1], args[0] == "on")
		return
	}
	s.apply(fsm.Cleanup{System: fsm.SystemID(args[0]), Item: fsm.ItemID(args[1])})
}

func (s *scripted) planned() string {
	moves := s.plan(s.budget)
	if len(moves) == 0 {
		return "  nothing to do\n"
	}
	return describe(moves) + "  --\n" + s.holdings()
}

func (s *scripted) addServer(args []string) {
	priority, systems := 0, args[1:]
	if len(systems) > 0 && systems[0] != "serves" {
		priority, _ = strconv.Atoi(systems[0])
		systems = systems[1:]
	}
	if len(systems) > 0 {
		systems = systems[1:]
	}
	s.server(args[0], priority, systems...)
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
	if len(items) > 0 && items[0] == "ip" {
		s.addresses(args[0], split, guarantee, items[1:]...)
		return nil
	}
	s.system(args[0], split, guarantee, items...)
	return nil
}

func (s *scripted) data(args []string) {
	sys := s.spec.Systems[fsm.SystemID(args[0])]
	var items []string
	for _, item := range sys.Items {
		items = append(items, string(item.ID))
	}
	for _, change := range args[1:] {
		if name := change[1:]; change[0] == '+' {
			items = append(items, name)
		} else {
			items = slices.DeleteFunc(items, func(have string) bool { return have == name })
		}
	}
	s.system(args[0], sys.Split, sys.Guarantee, items...)
}
