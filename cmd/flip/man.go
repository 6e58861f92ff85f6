package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"
)

func manCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:      "man",
		Usage:     "write the manual pages into a directory, or flip(8) to stdout",
		ArgsUsage: "[DIR]",
		Hidden:    true, // for those who make packages
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "date", Usage: "the `DATE` of the pages, YYYY-MM-DD (default: $SOURCE_DATE_EPOCH, else none)"},
		},
		Action: a.man,
	}
}

func (a *App) man(c *cli.Context) error {
	if err := atMost(c, 1); err != nil {
		return err
	}
	date, err := a.manDate(c.String("date"))
	if err != nil {
		return err
	}
	pages := manPages(a.cli(), manNotes(), date, thisVersion().Version)
	dir := c.Args().First()
	if dir == "" {
		_, err := fmt.Fprint(a.Stdout, pages["flip.8"])
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write manual pages: %w", err)
	}
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write manual page: %w", err)
		}
	}
	return nil
}

// manDate never is today: two builds of one source are the same.
func (a *App) manDate(said string) (string, error) {
	if said != "" {
		if _, err := time.Parse(time.DateOnly, said); err != nil {
			return "", &usageError{what: "--date " + said + " is no date", hint: "for instance 2026-02-28"}
		}
		return said, nil
	}
	epoch := a.Env("SOURCE_DATE_EPOCH")
	if epoch == "" {
		return "", nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return "", &usageError{what: "SOURCE_DATE_EPOCH is " + epoch + ", not a number of seconds"}
	}
	return time.Unix(seconds, 0).UTC().Format(time.DateOnly), nil
}

// manPages are flip(8) and a page for each command that is not hidden, by file name.
func manPages(app *cli.App, notes map[string]sections, date, version string) map[string]string {
	pages := map[string]string{}
	var visible []*cli.Command
	for _, cmd := range app.Commands {
		if !cmd.Hidden && cmd.Name != "help" {
			visible = append(visible, cmd)
		}
	}
	for _, cmd := range visible {
		name := "flip-" + cmd.Name
		p := &page{name: name, date: date, version: version, notes: notes[cmd.Name]}
		pages[name+".8"] = p.command(cmd)
	}
	p := &page{name: "flip", date: date, version: version, notes: notes["flip"]}
	pages["flip.8"] = p.program(app, visible)
	return pages
}

// page is one manual page in the making.
type page struct {
	roff
	name, date, version string
	notes               sections
}

func (p *page) begin(usage string) {
	p.macro(".TH", strings.ToUpper(p.name), "8", p.date, "flip "+p.version, "System Administration")
	p.macro(".SH", "NAME")
	p.raw(roffName(p.name) + ` \- ` + roffProse(usage))
	p.macro(".SH", "SYNOPSIS")
	p.raw(".nh", ".ad l") // options stay whole
}

func (p *page) program(app *cli.App, commands []*cli.Command) string {
	p.begin(app.Usage)
	p.raw(`\fBflip\fR ` + synopsis(app.Flags) + ` \fICOMMAND\fR ...`)
	p.raw(".ad b", ".hy")
	about, examples := splitExamples(app.Description)
	p.described(about)
	p.macro(".SH", "COMMANDS")
	for _, cmd := range commands {
		p.raw(".TP", roffRef("flip-"+cmd.Name, "8"))
		p.prose(sentence(cmd.Usage))
	}
	p.options(app.Flags)
	p.end(examples, nil, app.Flags)
	return p.String()
}

func (p *page) command(cmd *cli.Command) string {
	p.begin(cmd.Usage)
	p.usageLine("flip "+cmd.Name, cmd)
	for _, sub := range cmd.Subcommands {
		if !sub.Hidden {
			p.raw(".br")
			p.usageLine("flip "+cmd.Name+" "+sub.Name, sub)
		}
	}
	p.raw(".ad b", ".hy")
	about, examples := splitExamples(cmd.Description)
	if strings.TrimSpace(about) == "" {
		about = sentence(cmd.Usage)
	}
	p.described(about)
	p.options(cmd.Flags)
	flags := cmd.Flags
	for _, sub := range cmd.Subcommands {
		if !sub.Hidden {
			examples += p.subcommand(cmd, sub)
			flags = append(flags[:len(flags):len(flags)], sub.Flags...)
		}
	}
	p.end(examples, exitStatus(cmd, flags), flags)
	return p.String()
}

// subcommand is a section of its command's page; its examples go with the others.
func (p *page) subcommand(cmd, sub *cli.Command) (examples string) {
	about, examples := splitExamples(sub.Description)
	p.macro(".SS", "flip "+cmd.Name+" "+sub.Name)
	p.blocks(sentence(sub.Usage)+"\n\n"+about, false)
	p.flagList(sub.Flags)
	return examples
}

func (p *page) usageLine(name string, cmd *cli.Command) {
	line := `\fB` + strings.ReplaceAll(roffCode(name), " ", `\ `) + `\fR`
	for _, part := range []string{synopsis(cmd.Flags), roffArgs(cmd.ArgsUsage)} {
		if part != "" {
			line += " " + part
		}
	}
	p.raw(line)
}

// described is what a command says of itself, and what the notes add.
func (p *page) described(about string) {
	p.macro(".SH", "DESCRIPTION")
	p.blocks(about, false)
	p.blocks(p.notes.take("DESCRIPTION"), false)
}

func (p *page) options(flags []cli.Flag) {
	p.macro(".SH", "OPTIONS")
	p.flagList(append(flags[:len(flags):len(flags)], &cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "show the help of this command"}))
}

func (p *page) flagList(flags []cli.Flag) {
	for _, f := range flags {
		o := optionOf(f)
		if o.hidden {
			continue
		}
		p.raw(".TP", o.roffNames())
		p.prose(sentence(o.usage))
	}
}

// end is what follows the options: the sections of the notes alone, then the usual
// ones.
func (p *page) end(examples string, exits []string, flags []cli.Flag) {
	last := map[string]string{}
	for _, name := range []string{"EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"} {
		last[name] = p.notes.take(name)
	}
	for _, s := range p.notes {
		if s.name != "DESCRIPTION" {
			p.section(s.name, s.text)
		}
	}
	if examples != "" {
		p.macro(".SH", "EXAMPLES")
		p.verbatim(examples)
	}
	if last["EXIT STATUS"] == "" {
		last["EXIT STATUS"] = strings.Join(exits, "\n")
	}
	p.section("EXIT STATUS", last["EXIT STATUS"])
	p.section("ENVIRONMENT", strings.TrimSpace(environment(flags)+"\n"+last["ENVIRONMENT"]))
	p.section("FILES", last["FILES"])
	if p.name != "flip" {
		last["SEE ALSO"] = strings.TrimSuffix("flip(8), "+last["SEE ALSO"], ", ")
	}
	p.section("SEE ALSO", last["SEE ALSO"])
}

func (p *page) section(name, text string) {
	if strings.TrimSpace(text) != "" {
		p.macro(".SH", name)
		p.blocks(text, name == "FILES")
	}
}

// exitStatus is the one of all commands: of those that ask a daemon there is more
// to go wrong.
func exitStatus(cmd *cli.Command, flags []cli.Flag) []string {
	out := []string{"- 0: all went well", "- 1: it failed", "- 2: the command line means nothing"}
	for _, f := range flags {
		if f.Names()[0] == "socket" && cmd.Name != "run" {
			return append(out, "- 3: the daemon does not answer", "- 4: there is no leader: only what changes something, or asks the leader first, needs one")
		}
	}
	return out
}

// splitExamples parts a description where its examples begin.
func splitExamples(text string) (about, examples string) {
	about, examples, _ = strings.Cut("\n"+text, "\nExamples:\n")
	if examples != "" {
		examples += "\n"
	}
	return about, examples
}

// sentence has a full stop.
func sentence(s string) string {
	if s == "" || s[0] > unicode.MaxASCII {
		return s
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}
