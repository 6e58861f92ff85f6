package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/actions/doctor"
	"github.com/flip-ha/flip/fsm"
)

func doctorCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:      "doctor",
		Usage:     "what makes failovers slow here or a promise hollow, and what to do about it",
		ArgsUsage: "[FILE]",
		Description: `Looks at this machine as a member of the cluster: disk, scheduling, kernel, network,
systemd, rights, and the way to every other member. A line is a verdict, what was looked at
and what was found:

  OK     as it should be
  NOTE   worth knowing; nothing is to do
  SKIP   could not be looked at, or does not matter here
  WARN   the next failure may cost more time than promised
  BAD    a failover will not work, or a promise does not hold

It takes about 2 s, in which it writes and syncs a temporary file beside the data, and changes
nothing. With a daemon it also asks that; FILE is the daemon's, else ` + defaultFile + `.
Some of it only root can see. Exits 0 when nothing is to do, 1 on any WARN or BAD.

Examples:
  flip doctor                     this node
  flip doctor flip.json --id n1   as n1, before its daemon is started
  flip doctor --json | jq '.findings[] | select(.verdict == "bad")'`,
		Flags:  append(socketFlags(), jsonFlag()),
		Action: a.doctor,
	}
}

// examined is what `flip doctor --json` prints.
type examined struct {
	Node     fsm.MemberID     `json:"node"`
	File     string           `json:"file"`
	Daemon   bool             `json:"daemon"` // one answers
	Verdict  doctor.Verdict   `json:"verdict"`
	Findings []doctor.Finding `json:"findings"`
}

func (a *App) doctor(c *cli.Context) error {
	if err := atMost(c, 1); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(c.Context)
	defer stop()
	p, err := a.admit(ctx, c)
	if err != nil {
		return err
	}
	found := p.examine(ctx)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("look at this machine: %w", err)
	}
	out := examined{Node: p.self(), File: p.name, Daemon: p.daemon != nil, Verdict: doctor.Worst(found), Findings: found}
	if c.Bool("json") {
		if err := printJSON(a.Stdout, out); err != nil {
			return err
		}
	} else {
		writeFindings(a.Stdout, a.painter(), found)
	}
	if out.Verdict == doctor.Warn || out.Verdict == doctor.Bad {
		return verdict(exitFailed)
	}
	return nil
}

// verdictWords and verdictColours are how a verdict is shown.
var (
	verdictWords   = map[doctor.Verdict]string{doctor.OK: "OK", doctor.Note: "NOTE", doctor.Skip: "SKIP", doctor.Warn: "WARN", doctor.Bad: "BAD"}
	verdictColours = map[doctor.Verdict]string{doctor.Warn: yellow, doctor.Bad: red}
)

// writeFindings is a table in which what to do stands under what was found.
func writeFindings(w io.Writer, p painter, found []doctor.Finding) {
	t := &table{}
	for _, f := range found {
		t.add(plain, verdictWords[f.Verdict], strings.TrimSpace(f.Check+" "+f.On), f.Found)
	}
	var buf bytes.Buffer
	t.write(&buf, false)
	lines := strings.Split(strings.TrimSuffix(buf.String(), "\n"), "\n")
	for i, f := range found {
		_, _ = fmt.Fprintln(w, p.line(verdictColours[f.Verdict], lines[i]))
		if f.Do != "" {
			_, _ = fmt.Fprintln(w, "      do: "+f.Do)
		}
	}
	_, _ = fmt.Fprintln(w, "\n"+summary(found))
}

func summary(found []doctor.Finding) string {
	n := map[doctor.Verdict]int{}
	for _, f := range found {
		n[f.Verdict]++
	}
	var parts []string
	for _, kind := range []struct {
		v         doctor.Verdict
		one, many string
	}{{doctor.Bad, "bad", "bad"}, {doctor.Warn, "warning", "warnings"}, {doctor.Note, "note", "notes"}, {doctor.Skip, "skipped", "skipped"}} {
		if n[kind.v] > 0 {
			parts = append(parts, count(n[kind.v], kind.one, kind.many))
		}
	}
	head := "Nothing is to do"
	if n[doctor.Bad]+n[doctor.Warn] > 0 {
		head = "Something is to do"
	}
	if len(parts) == 0 {
		return head + "."
	}
	return head + ": " + strings.Join(parts, ", ") + "."
}

// examine runs all checks, one after the other: what is measured must not disturb
// what is measured beside it.
func (p *patient) examine(ctx context.Context) []doctor.Finding {
	out := p.configuration()
	out = append(out, p.disk(ctx)...)
	unit, units := p.unit(ctx)
	out = append(out, p.scheduling(ctx, unit)...)
	out = append(out, p.network()...)
	out = append(out, units...)
	out = append(out, p.rights()...)
	out = append(out, p.guard()...)
	return append(out, p.members(ctx)...)
}

func hostRoot() string { return string(os.PathSeparator) }
