package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

func statusCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "how this node and its cluster are, what is wrong and what to do about it",
		Description: `Answers from this node's own copy of the log; --consistent asks the leader first.

Examples:
  flip status                    for a person
  flip status --json | jq        for a program
  flip status --check            for a monitoring system: one line and an exit code:
                                 0 all owned and acquired, and a failover is possible
                                 1 failover impossible (under maintenance too), drift, a
                                   failure remembered, a brake, a copy without a holder,
                                   or another critical alarm
                                 2 an item without a holder, or no leader
                                 3 no daemon
  flip status --dir D --id n1    one of several daemons of this machine`,
		Flags: append(socketFlags(), jsonFlag(), consistentFlag(),
			&cli.BoolFlag{Name: "check", Usage: "judge: one line and an exit code"}),
		Action: a.status,
	}
}

func (a *App) status(c *cli.Context) error {
	if err := atMost(c, 0); err != nil {
		return err
	}
	cl, err := a.ask(c)
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(c.Context, patience(c.Bool("consistent")))
	defer cancel()
	st, err := cl.Status(ctx, c.Bool("consistent"))
	if err != nil {
		return err
	}
	code, reasons := st.Check()
	switch {
	case c.Bool("json"):
		if err := printJSON(a.Stdout, st); err != nil {
			return err
		}
	case c.Bool("check"):
		a.judge(code, reasons)
	default:
		writeStatus(a.Stdout, a.painter(), st)
	}
	if c.Bool("check") && code != api.CheckOK {
		return verdict(code)
	}
	return nil
}

// patience is how long an answer is waited for: while there is no leader the daemon
// looks for one for up to six elections before it says so.
func patience(asksLeader bool) time.Duration {
	if asksLeader {
		return changeTimeout
	}
	return answerTimeout
}

func (a *App) judge(code int, reasons []string) {
	words := [...]string{api.CheckOK: "OK", api.CheckDegraded: "DEGRADED", api.CheckBroken: "BROKEN"}
	colours := [...]string{api.CheckOK: plain, api.CheckDegraded: yellow, api.CheckBroken: red}
	line := words[code]
	if len(reasons) == 0 {
		reasons = []string{"all owned and acquired, and a failover is possible"}
	}
	_, _ = fmt.Fprintln(a.Stdout, a.painter().line(colours[code], line+": "+strings.Join(reasons, "; ")))
}

func writeStatus(w io.Writer, p painter, st api.Status) {
	writeNode(w, p, st)
	_, _ = fmt.Fprintln(w)
	writeMembers(w, p, st)
	if len(st.Systems) > 0 {
		_, _ = fmt.Fprintln(w)
		writeSystems(w, p, st)
	}
	writeHeld(w, p, st)
	_, _ = fmt.Fprintln(w)
	writeAlarms(w, p, st)
}

// writeNode is the upper part: this node, then what all share.
func writeNode(w io.Writer, p painter, st api.Status) {
	n, cl := st.Node, st.Cluster
	t := &table{}
	t.add(bold, "node", fmt.Sprintf("%s: %s", n.ID, n.Phase))
	t.add(plain, "process", fmt.Sprintf("flip %s, pid %d, running for %s, instance %s", n.Version, n.PID, spoken(n.UptimeMS), or(n.Instance, "none yet")))
	if n.Ready {
		t.add(plain, "ready", "yes")
	} else {
		t.add(yellow, "ready", "not yet: "+or(strings.Join(n.Waiting, "; "), "it has not looked at the log so far"))
	}
	t.add(plain, "lease", leaseWords(n))
	writeAddresses(t, n)
	writeGuard(t, n.Guard)
	if cl.ID == "" {
		t.add(yellow, "cluster", "not founded yet")
	} else {
		t.add(plain, "cluster", fmt.Sprintf("%s, %d voters", cl.ID, len(cl.Voters)))
	}
	if cl.Leader == "" {
		t.add(red, "leader", "none")
	} else {
		t.add(plain, "leader", fmt.Sprintf("%s at %s", cl.Leader, cl.LeaderAddr))
	}
	t.add(plain, "log", fmt.Sprintf("read to index %d, %s", st.Index, currency(st.AgeMS)))
	t.add(quorumColour(cl.Quorum), "quorum", cl.Quorum.Words)
	t.add(plain, "timing", fmt.Sprintf("%s: heartbeat %s, lease (ttl) %s, Raft %s / %s", or(cl.Timing.Preset, "unknown"),
		spoken(cl.Timing.HeartbeatMS), spoken(cl.Timing.TTLMS), spoken(cl.Timing.RaftHeartbeatMS), spoken(cl.Timing.RaftElectionMS)))
	for _, m := range cl.Maintenance {
		t.add(yellow, "left alone", m.Words)
	}
	for _, d := range n.Drops {
		t.add(yellow, "dropped", fmt.Sprintf("%d from %s: %s", d.Count, or(string(d.Peer), "strangers"), d.Reason))
	}
	t.write(w, p)
}

// quorumColour marks a cluster in which nothing can ever fail over.
func quorumColour(q api.Quorum) string {
	if q.Votes > q.Others {
		return yellow
	}
	return plain
}

func currency(ageMS int64) string {
	if ageMS < 0 {
		return "not known to be current"
	}
	return "known to be current " + ago(ageMS)
}

func leaseWords(n api.Node) string {
	switch {
	case n.Lease.Running:
		return fmt.Sprintf("runs, %s left, epoch %d", spoken(n.Lease.LeftMS), n.Epoch)
	case n.Epoch == 0:
		return "none: not registered yet"
	default:
		return fmt.Sprintf("ended, epoch %d", n.Epoch)
	}
}

func ago(ms int64) string { return spoken(ms) + " ago" }

func writeMembers(w io.Writer, p painter, st api.Status) {
	header := []string{"MEMBER", "ADDRESS", "ROLE", "STATE", "EPOCH", "HEARD", "TCP", "UDP"}
	measured := slices.ContainsFunc(st.Members, func(m api.Member) bool { return m.RTTUS != nil })
	if measured {
		header = append(header, "RTT", "LOSS TO", "LOSS FROM")
	}
	gates := slices.ContainsFunc(st.Systems, func(s api.System) bool { return s.Action == fsm.ActionIP.String() })
	if gates {
		header = append(header, "GATE")
	}
	t := newTable(header...)
	shown, quiet := membersShown(st)
	for _, m := range shown {
		colour := plain
		if m.State != api.MemberUp {
			colour = yellow
		}
		cells := []string{
			string(m.Name), m.Address, roleWords(m), m.State, number(uint64(m.Epoch)), heard(st, m), wayWord(st, m, m.TCP), wayWord(st, m, m.UDP),
		}
		if measured {
			cells = append(cells, measuredWay(m)...)
		}
		if gates {
			cells = append(cells, gateOfMember(st, m))
		}
		t.add(colour, cells...)
	}
	t.write(w, p)
	if quiet > 0 {
		_, _ = fmt.Fprintf(w, "and %d more agents that are up: `flip member list` names all\n", quiet)
	}
}

// measuredWay is the round trip to a member, and how many heartbeats get lost on
// each way.
func measuredWay(m api.Member) []string {
	out := []string{"-", "-", "-"}
	if m.RTTUS != nil {
		out[0] = brief(*m.RTTUS)
	}
	for i, permille := range []*int64{m.LossPermille, m.LossFromPermille} {
		if permille != nil {
			out[1+i] = strings.TrimSuffix(fmt.Sprintf("%.1f", float64(*permille)/10), ".0") + " %"
		}
	}
	return out
}

func heard(st api.Status, m api.Member) string {
	switch {
	case m.Name == st.Node.ID:
		return "here"
	case m.HeardMS == nil && isAgentRole(m):
		return "-" // agents talk to voters alone
	case m.HeardMS == nil:
		return "never"
	default:
		return ago(*m.HeardMS)
	}
}

// findingWord is the short form, for the table; the alarms have the long one.
func findingWord(f api.Finding) string {
	words := map[string]string{
		"": "?", api.FindSelf: "-", api.FindKey: "another key", api.FindOldKey: "a rotated-away key", api.FindCluster: "another cluster",
		api.FindCert:   "certificate",
		api.FindVoters: "another voter list", api.FindWire: "another version", api.FindName: "another member",
	}
	return or(words[f.Code], f.Code)
}

func number(n uint64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatUint(n, 10)
}

func writeSystems(w io.Writer, p painter, st api.Status) {
	header := []string{"SYSTEM", "TYPE", "GUARANTEE", "ITEMS", "OWNED", "ACQUIRED", "OUTSTANDING", "UNHELD"}
	notes := slices.ContainsFunc(st.Systems, func(s api.System) bool { return systemNote(s, st.Partial) != "" })
	if notes {
		header = append(header, "NOTE")
	}
	t := newTable(header...)
	for _, s := range st.Systems {
		colour := plain
		switch {
		case s.Unheld > 0:
			colour = red
		case s.Acquired < s.Items, s.Maintenance, s.Braked, s.BrakedItems > 0:
			colour = yellow
		}
		t.add(colour, string(s.Name), s.Type, s.Guarantee, strconv.Itoa(s.Items), strconv.Itoa(s.Owned),
			strconv.Itoa(s.Acquired), strconv.Itoa(s.Outstanding), strconv.Itoa(s.Unheld), systemNote(s, st.Partial))
	}
	t.write(w, p)
}

// systemNote is what distinguishes a system: it is left alone, something of it does not
// move, programs hold it, a lost holder is switched off, or others bet on time. partial: of
// the members only this one is known.
func systemNote(s api.System, partial bool) string {
	var out []string
	if s.Maintenance {
		out = append(out, "maintenance")
	}
	if s.Braked {
		out = append(out, "braked")
	}
	if s.BrakedItems > 0 {
		out = append(out, fmt.Sprintf("%d braked", s.BrakedItems))
	}
	if s.Missing > 0 {
		out = append(out, fmt.Sprintf("%d copies missing", s.Missing))
	}
	if s.Held != nil && *s.Held > 0 {
		out = append(out, fmt.Sprintf("%d moves wait", *s.Held))
	}
	if s.Action == fsm.ActionClient.String() && !partial {
		out = append(out, programsOn(s.Claimed))
	}
	if s.Fence != "" {
		out = append(out, "fence")
	}
	if t := s.Takeover; t != nil {
		bet := "bets on " + notShorter(t.MS)
		if t.MS < t.SmallestSafeMS {
			bet += ", safe from " + notShorter(t.SmallestSafeMS) + " on"
		}
		out = append(out, bet)
	}
	return strings.Join(out, ", ")
}

// programsOn says which members have the program of a system, as far as it fits.
func programsOn(members []fsm.MemberID) string {
	const most = 5
	switch n := len(members); {
	case n == 0:
		return "no program has claimed it"
	case n > most:
		return fmt.Sprintf("programs on %d members", n)
	default:
		return "programs on " + joinNames(members)
	}
}

// notShorter is a time in seconds, rounded up: what is safe must not look shorter.
func notShorter(ms int64) string {
	tenths := (ms + 99) / 100
	return strings.TrimSuffix(fmt.Sprintf("%d.%d", tenths/10, tenths%10), ".0") + " s"
}

func writeAlarms(w io.Writer, p painter, st api.Status) {
	if len(st.Alarms) == 0 {
		_, _ = fmt.Fprintln(w, "Nothing is wrong.")
		return
	}
	_, _ = fmt.Fprintln(w, p.line(bold, "What is wrong, and what to do about it"))
	for _, al := range st.Alarms {
		colour := plain
		switch al.Severity {
		case api.Critical:
			colour = red
		case api.Warning:
			colour = yellow
		}
		_, _ = fmt.Fprintf(w, "  %s\n", p.line(colour, al.Severity+": "+al.What))
		if al.Do != "" {
			_, _ = fmt.Fprintf(w, "    -> %s\n", al.Do)
		}
	}
}
