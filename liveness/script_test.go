package liveness

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

var update = flag.Bool("update", false, "rewrite the expected traces of testdata/*.txt")

// named lists the rules by the names that scripts use.
var named = map[string]Rule{
	"promise": RulePromise, "start-pause": RuleStartPause, "no-revival": RuleNoRevival,
	"old-polls": RuleOldPolls, "held-poll": RuleHeldPoll, "goodbye-epoch": RuleGoodbyeEpoch,
	"grant-ttl": RuleGrantTTL, "views-forward": RuleViewsForward, "committed-lists": RuleCommittedLists,
	"spacing": RuleSpacing, "first-lease": RuleFirstLease, "unbroken-lease": RuleUnbrokenLease,
	"promise-window": RulePromiseWindow, "running": RuleRunning,
}

// availability are the rules whose traces show a needless Down.
const availability = RuleUnbrokenLease | RuleRunning

var firstLine = regexp.MustCompile(`^# L(?:[0-9]|10)\b.*\S`)

// TestScripts runs every script of testdata and compares its whole trace. A
// script's first line names its rule in words. Below it stand blocks: commands,
// a line of four dashes, the trace that they give, an empty line. -update writes
// the traces anew, except when a check failed that the script did not announce
// by leaving a rule out.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 25 {
		t.Fatalf("testdata: %d scripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScript(t, file) })
	}
}

func runScript(t *testing.T, file string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !firstLine.Match(raw) {
		t.Fatalf("the first line names no rule")
	}
	got, w := play(t, string(raw), true)
	if w.without != 0 {
		safe, complete := play(t, string(raw), false)
		if len(complete.broken) > 0 {
			t.Errorf("with the rule in place, too: %s\n%s", strings.Join(complete.broken, "\n"), safe)
		}
	}
	if w.without&^availability == 0 && len(w.broken) > 0 {
		t.Errorf("%s\n%s", strings.Join(w.broken, "\n"), got)
		return
	}
	if w.without&^availability != 0 && len(w.broken) == 0 {
		t.Errorf("a rule is left out and nothing happened\n%s", got)
	}
	if got == string(raw) {
		return
	}
	if !*update {
		t.Errorf("the trace differs (rewrite with -update):\n%s", got)
		return
	}
	if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
		t.Fatal(err)
	}
}

// play runs a script and answers with the same script and its new traces. With
// mutants false it leaves no rule out, whatever the script says.
func play(t *testing.T, text string, mutants bool) (string, *world) {
	w := newWorld()
	w.mutants = mutants
	var out strings.Builder
	expecting := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case expecting && line != "":
			continue
		case expecting:
			expecting = false
			out.WriteString("\n")
		case line == "----":
			expecting = true
			fmt.Fprintf(&out, "----\n%s", w.trace.String())
			w.trace.Reset()
		default:
			out.WriteString(line + "\n")
			if line != "" && !strings.HasPrefix(line, "#") {
				command(t, w, line)
			}
		}
	}
	return out.String(), w
}

// words are a command's arguments: names and key=value pairs.
type words struct {
	t     *testing.T
	names []fsm.MemberID
	pairs map[string]string
}

func parse(t *testing.T, args []string) words {
	ws := words{t: t, pairs: map[string]string{}}
	for _, a := range args {
		if k, v, ok := strings.Cut(a, "="); ok {
			ws.pairs[k] = v
			continue
		}
		for name := range strings.SplitSeq(a, ",") {
			ws.names = append(ws.names, fsm.MemberID(name))
		}
	}
	return ws
}

func (ws words) span(key string, otherwise time.Duration) time.Duration {
	v, ok := ws.pairs[key]
	if !ok {
		return otherwise
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		ws.t.Fatal(err)
	}
	return d
}

func (ws words) kept() (keys []fsm.Key) {
	for item := range strings.SplitSeq(ws.pairs["kept"], "+") {
		if item != "" {
			keys = append(keys, fsm.Key{System: "s", Item: fsm.ItemID(item)})
		}
	}
	return keys
}

func (ws words) number(key string, otherwise int) int {
	v, ok := ws.pairs[key]
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		ws.t.Fatal(err)
	}
	return n
}

// command runs one line; "-" in front of it keeps its trace out.
func command(t *testing.T, w *world, line string) {
	line, quiet := strings.CutPrefix(line, "-")
	was := w.silent
	w.silent = was || quiet
	defer func() { w.silent = was }()
	fields := strings.Fields(line)
	if do, ok := commands[fields[0]]; ok {
		do(w, parse(t, fields[1:]))
		return
	}
	t.Fatalf("unknown command: %s", line)
}

// way reads "n1>n2" (one way) and "n1-n2" (both).
func way(s string) [][2]fsm.MemberID {
	if a, b, ok := strings.Cut(s, ">"); ok {
		return [][2]fsm.MemberID{{fsm.MemberID(a), fsm.MemberID(b)}}
	}
	a, b, _ := strings.Cut(s, "-")
	return [][2]fsm.MemberID{{fsm.MemberID(a), fsm.MemberID(b)}, {fsm.MemberID(b), fsm.MemberID(a)}}
}

// spec is the configuration of the scripts: servers and one at-most-one system.
func (w *world) spec(ws words) fsm.Spec {
	old := w.state().Spec()
	spec := fsm.Spec{
		Timing: fsm.Timing{
			Heartbeat: ws.span("beat", max(old.Timing.Heartbeat, defaultBeat)),
			Lease:     ws.span("ttl", max(old.Timing.Lease, 0)),
		},
		Quorum: ws.number("quorum", old.Quorum), Servers: map[fsm.MemberID]fsm.Server{},
		Systems: map[fsm.SystemID]fsm.System{"s": {
			Name: "s", Split: fsm.Shard, Guarantee: fsm.AtMostOne, Action: fsm.ActionHooks,
			Items: []fsm.Item{{ID: "a"}, {ID: "b"}},
		}},
	}
	if spec.Timing.Lease == 0 {
		spec.Timing.Lease = defaultLease
	}
	names := ws.names
	if len(names) == 0 {
		for name := range old.Servers {
			names = append(names, name)
		}
	}
	for _, name := range names {
		role := max(old.Servers[name].Role, fsm.RoleVoter)
		spec.Servers[name] = fsm.Server{Name: name, Role: role, Systems: []fsm.SystemID{"s"}}
	}
	for key, role := range map[string]fsm.Role{"agents": fsm.RoleAgent, "voters": fsm.RoleVoter} {
		for name := range strings.SplitSeq(ws.pairs[key], "+") {
			if id := fsm.MemberID(name); id != "" {
				spec.Servers[id] = fsm.Server{Name: id, Role: role, Systems: []fsm.SystemID{"s"}}
			}
		}
	}
	return spec
}

func (w *world) setSpec(ws words) {
	w.commit(fsm.SetSpec{Was: w.state().Spec().Version, Cluster: "c", Spec: w.spec(ws)})
}

// voters appends a list of voters to the log.
func (w *world) voters(names []fsm.MemberID) {
	list := w.list(w.index()+1, names)
	w.append(w.state().WithVoters(list), "voters "+strings.TrimPrefix(fmt.Sprint(names), ""))
}

func (w *world) list(at fsm.Index, names []fsm.MemberID) fsm.Voters {
	var ids []fsm.VoterID
	for _, name := range names {
		ids = append(ids, fsm.NewVoterID(name, w.node(name).host.Instance))
	}
	slices.Sort(ids)
	return fsm.Voters{Index: at, IDs: ids}
}
