package actions

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/fsm"
)

var update = flag.Bool("update", false, "rewrite the expected output of the scripts")

// TestCoreScripts runs testdata/core/*.txt. A script is a sequence of blocks:
// commands, a line ----, and what came of them; lines with # are prose. Each
// command ends with a Step. The commands:
//
//	set AT EPOCH              a slice; the indented lines below it are its jobs:
//	  want ITEM@TOKEN [most] [keep] [reported] [failed] [barred] [rank=N] [alive=CMD] [down=CMD] [blocked=M,M]
//	  owe ITEM@TOKEN EPOCH [most] [down=CMD] [rank=N] [on=MACHINE]
//	  failed ITEM@TOKEN         the log remembers a failure of this member
//	                        of addresses: ip, gated, addr=A,A, link=NAME, notify=HOSTS
//	                        bets: blocked=M:DURATION, or M#EPOCH:DURATION
//	                      of all: bet, maintained; of owe: void
//	clean ITEM [most] [down=CMD]
//	adopt ITEM@TOKEN ..., sweep ITEM@TOKEN ...   as want
//	unfit ITEM WORDS, fit ITEM
//	lease on|off
//	done ITEM[/RANK] [ERROR]  the effect in flight ends
//	after DURATION
//	stop most|all
//	limit N                   effects at a time; first of all only
//	without RULE              first of all only
//	gate                      first of all only: say whether the gate may open
func TestCoreScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/core/*.txt")
	if err != nil || len(files) < 25 {
		t.Fatalf("only %d scripts: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(data, []byte("# ")) {
				t.Error("a script begins with prose")
			}
			s := &script{t: t}
			got := s.run(string(data))
			if s.o != nil && s.o.rule == 0 && len(s.o.wrong) > 0 {
				t.Fatalf("the oracle rejects this: %s", strings.Join(s.o.wrong, "\n"))
			}
			if got == string(data) {
				return
			}
			if !*update {
				t.Fatalf("got\n%s\nwant\n%s", got, data)
			}
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

type script struct {
	t     *testing.T
	cfg   CoreConfig
	o     *oracle
	lease bool
	gate  bool
	out   strings.Builder
	next  time.Duration
}

// run executes a script and answers with it, the output made new.
func (s *script) run(text string) string {
	s.cfg = CoreConfig{Self: "n1", Machine: "m1", Note: func(k fsm.Key, tok fsm.Token, text string) {
		fmt.Fprintf(&s.out, "note %s@%d %s\n", name(k), tok, text)
	}}
	var result strings.Builder
	for i, block := range strings.Split(strings.TrimSpace(text), "\n\n") {
		input, _, ok := strings.Cut(block, "\n----")
		if i > 0 {
			result.WriteString("\n")
		}
		result.WriteString(input + "\n")
		s.out.Reset()
		s.block(input)
		if !ok {
			continue // prose, or what the Core is made of
		}
		result.WriteString("----\n" + s.out.String())
	}
	return result.String()
}

func (s *script) block(input string) {
	var lines []string
	for _, line := range strings.Split(input, "\n") {
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		if strings.HasPrefix(line, "  ") && len(lines) > 0 {
			lines[len(lines)-1] += "\n" + strings.TrimSpace(line)
			continue
		}
		lines = append(lines, line)
	}
	for _, line := range lines {
		head, rest, _ := strings.Cut(line, "\n")
		s.command(strings.Fields(head), rest)
	}
	s.state()
}

func (s *script) command(f []string, jobs string) {
	switch f[0] {
	case "limit":
		s.cfg.MaxParallel = s.int(f[1])
		return
	case "gate":
		s.gate = true
		return
	case "without":
		s.cfg.Without = map[string]Rule{
			"log-shown": RuleLogShown, "down-first": RuleDownFirst, "failed-keeps": RuleFailedKeeps,
			"own-machine": RuleOwnMachine, "alive-first": RuleAliveFirst,
		}[f[1]]
		return
	}
	if s.o == nil {
		s.o = newOracle(s.cfg)
	}
	switch f[0] {
	case "set":
		s.o.Set(s.slice(f, jobs))
	case "clean":
		s.o.Clean([]fsm.Job{s.job(f[1:])})
	case "adopt":
		s.o.Adopt([]fsm.Job{s.job(f[1:])})
	case "sweep":
		s.o.Sweep([]fsm.Job{s.job(f[1:])})
	case "unfit":
		s.o.unfit(s.key(f[1]), strings.Join(f[2:], " "))
	case "fit":
		s.o.unfit(s.key(f[1]), "")
	case "lease":
		s.lease = f[1] == "on"
	case "done":
		var err error
		if len(f) > 2 {
			err = errors.New(strings.Join(f[2:], " "))
		}
		if len(f) > 2 && f[2] == "outside" {
			err = ErrOutsideGate
		}
		if !s.o.end(s.key(f[1]), err) {
			s.t.Fatalf("%s has no effect in flight", f[1])
		}
	case "after":
		d, err := time.ParseDuration(f[1])
		if err != nil {
			s.t.Fatal(err)
		}
		s.o.now += d
	case "stop":
		s.o.Stop(f[1] == "all")
	default:
		s.t.Fatalf("unknown command %q", f)
	}
	start, cancel, next := s.o.Step(s.lease)
	for _, e := range cancel {
		fmt.Fprintf(&s.out, "cancel %v %s@%d\n", e.Kind, name(e.Job.Key), e.Job.Token)
	}
	for _, e := range start {
		fmt.Fprintf(&s.out, "start %v %s@%d %q", e.Kind, name(e.Job.Key), e.Job.Token, e.Job.Reason)
		if e.Kind == Release && e.Job.Down != "down" && e.Job.Action == fsm.ActionHooks {
			fmt.Fprintf(&s.out, " by %s", e.Job.Down)
		}
		fmt.Fprintln(&s.out)
	}
	for _, j := range s.o.Adopted() {
		if j.Action == fsm.ActionIP {
			fmt.Fprintf(&s.out, "adopted %s@%d\n", name(j.Key), j.Token)
		}
	}
	for _, j := range s.o.Awaited() {
		if j.Action == fsm.ActionIP {
			fmt.Fprintf(&s.out, "awaited %s@%d\n", name(j.Key), j.Token)
		}
	}
	s.next = next
}

// state prints what is true and reported after a block.
func (s *script) state() {
	if s.o == nil {
		return
	}
	if s.next != Never {
		fmt.Fprintf(&s.out, "retry in %v\n", s.next-s.o.now)
	}
	var held []string
	for _, j := range s.o.Held() {
		held = append(held, fmt.Sprintf("%s@%d", name(j.Key), j.Token))
	}
	kept, of := s.o.Kept()
	fmt.Fprintf(&s.out, "held [%s] kept %s", strings.Join(held, " "), names(kept))
	if of == 0 {
		fmt.Fprint(&s.out, " at least")
	}
	fmt.Fprintln(&s.out)
	if epoch, ok := s.o.Clear(); s.gate && ok {
		fmt.Fprintf(&s.out, "the gate may open for epoch %d\n", epoch)
	} else if s.gate {
		fmt.Fprintln(&s.out, "the gate may not open")
	}
	r := s.o.Report()
	for _, l := range []struct {
		what   string
		claims []fsm.Claim
	}{{"acquired", r.Acquired}, {"released", r.Released}, {"swept", r.Swept}} {
		for _, c := range l.claims {
			fmt.Fprintf(&s.out, "report %s %s@%d epoch %d\n", l.what, name(c.Key), c.Token, c.Epoch)
		}
	}
	for _, f := range r.Failed {
		fmt.Fprintf(&s.out, "report failed %s@%d %q\n", name(f.Key), f.Token, f.Err)
	}
	for _, k := range r.Mended {
		fmt.Fprintf(&s.out, "report mended %s\n", name(k))
	}
	for _, st := range s.o.Status() {
		if st.Phase == PhaseWaiting || st.Phase == PhaseFailed {
			fmt.Fprintf(&s.out, "status %s %s", name(st.Key), st.Phase)
			if st.Withheld {
				fmt.Fprint(&s.out, " withheld")
			}
			if st.Why != "" {
				fmt.Fprintf(&s.out, " %q", st.Why)
			}
			fmt.Fprintln(&s.out)
		}
	}
}

func (s *script) slice(f []string, jobs string) fsm.Slice {
	sl := fsm.Slice{At: fsm.Index(s.int(f[1])), Epoch: fsm.Epoch(s.int(f[2]))}
	for _, line := range strings.Split(jobs, "\n") {
		g := strings.Fields(line)
		switch {
		case len(g) == 0:
		case g[0] == "want":
			sl.Want = append(sl.Want, s.job(g[1:]))
		case g[0] == "failed":
			sl.Failed = append(sl.Failed, s.job(g[1:]))
		case g[0] == "owe":
			j := s.job(append([]string{g[1]}, g[3:]...))
			host := fsm.Host{Machine: "m1"}
			for _, o := range g[3:] {
				if m, ok := strings.CutPrefix(o, "on="); ok {
					host.Machine = m
				}
			}
			sl.Owe = append(sl.Owe, fsm.Owed{Job: j, Entry: fsm.Entry{
				Member: "n1", Epoch: fsm.Epoch(s.int(g[2])), Token: j.Token, Host: host, AtMostOne: j.AtMostOne, Gated: j.Gated,
				Void: slices.Contains(g, "void"),
			}})
		default:
			s.t.Fatalf("unknown job %q", line)
		}
	}
	return sl
}

func (s *script) job(f []string) fsm.Job {
	item, token, _ := strings.Cut(f[0], "@")
	j := fsm.Job{
		Key: fsm.Key{System: "s", Item: fsm.ItemID(item)}, Token: fsm.Token(s.int(token)),
		Alive: "up", Down: "down", Action: fsm.ActionHooks, Reason: "assigned",
	}
	for _, o := range f[1:] {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "most":
			j.AtMostOne = true
		case "keep":
			j.Keep = true
		case "reported":
			j.Reported = true
		case "failed":
			j.Failed = true
		case "rank":
			j.Rank = s.int(value)
		case "barred":
			j.Barred = true
		case "bet":
			j.Bet = true
		case "maintained":
			j.Maintained = true
		case "alive":
			j.Alive = value
		case "down":
			j.Down = value
		case "blocked":
			for _, m := range strings.Split(value, ",") {
				j.Blocked = append(j.Blocked, s.blocker(m))
			}
		case "ip", "gated", "addr", "link", "notify":
			address(&j, key, value)
		case "on", "void":
		default:
			s.t.Fatalf("unknown option %q", o)
		}
	}
	return j
}

// address takes in what only addresses have.
func address(j *fsm.Job, key, value string) {
	switch key {
	case "ip":
		j.Action, j.Alive, j.Down, j.IP = fsm.ActionIP, "", "", &fsm.IP{}
	case "gated":
		j.Gated, j.AtMostOne = true, true
	case "addr":
		j.Addrs = strings.Split(value, ",")
	case "link":
		j.Interface = value
	case "notify":
		j.IP.Notify = []fsm.Notify{{Hosts: value}}
	}
}

func (s *script) blocker(text string) fsm.Blocker {
	who, after, _ := strings.Cut(text, ":")
	m, epoch, _ := strings.Cut(who, "#")
	b := fsm.Blocker{Entry: fsm.Entry{Member: fsm.MemberID(m), Epoch: fsm.Epoch(s.int(epoch))}}
	if after != "" {
		d, err := time.ParseDuration(after)
		if err != nil {
			s.t.Fatal(err)
		}
		b.After = d
	}
	return b
}

func (s *script) key(text string) fsm.Key {
	item, rank, _ := strings.Cut(text, "/")
	return fsm.Key{System: "s", Item: fsm.ItemID(item), Rank: s.int(rank)}
}

func (s *script) int(text string) int {
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func name(k fsm.Key) string {
	if k.Rank != 0 {
		return fmt.Sprintf("%s/%d", k.Item, k.Rank)
	}
	return string(k.Item)
}

func names(keys []fsm.Key) string {
	var all []string
	for _, k := range keys {
		all = append(all, name(k))
	}
	return "[" + strings.Join(all, " ") + "]"
}
